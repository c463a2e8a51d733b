"""A synthetic data set with the shape and the storage of an archive's: smooth fields on a 16-bit lattice.

Source: measured on ERA5-like files: four float32 variables, zlib 4 after shuffle, chunks of (12, 91, 180).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
from numpy.typing import NDArray

_VARIABLES = {  # mean, deviation and lattice step, in the unit
    "t2m": ("K", 280.0, 15.0, 2.0**-9),
    "u10": ("m s-1", 0.0, 6.0, 2.0**-10),
    "msl": ("Pa", 1e5, 1200.0, 2.0**-3),
    "tp": ("m", 0.0, 1e-3, 2.0**-22),
}


@dataclass(frozen=True, slots=True)
class WorkSet:
    """`files` of `steps` six-hourly fields each, on a grid of (latitude, longitude)."""

    files: int = 8
    steps: int = 24
    latitudes: int = 361
    longitudes: int = 720

    @property
    def bytes(self) -> int:
        """Decoded."""
        return self.files * self.steps * len(_VARIABLES) * self.latitudes * self.longitudes * 4

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.nc" for number in range(self.files)]


def make(folder: Path, work: WorkSet) -> list[Path]:
    """Write what is not there yet; returns the files in order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(work.paths(folder)):
        if not path.exists():
            part = path.with_suffix(".part")
            _write(part, work, number)
            part.rename(path)
    return work.paths(folder)


def _write(path: Path, work: WorkSet, number: int) -> None:
    random = np.random.default_rng(number)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("latitude", work.latitudes)
        file.createDimension("longitude", work.longitudes)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 2000-01-01"
        time[:] = 6 * (np.arange(work.steps) + number * work.steps)
        chunks = (min(12, work.steps), min(91, work.latitudes), min(180, work.longitudes))
        for name, (unit, mean, deviation, step) in _VARIABLES.items():
            variable = file.createVariable(
                name,
                "f4",
                ("time", "latitude", "longitude"),
                zlib=True,
                complevel=4,
                shuffle=True,
                chunksizes=chunks,
            )
            variable.units = unit
            for row, field in enumerate(_smooth(random, work)):
                variable[row] = np.rint((mean + deviation * field) / step) * step


def _smooth(random: np.random.Generator, work: WorkSet) -> Iterator[NDArray[np.float64]]:
    """Fields with a spectrum that falls as the square of the wave number; zero mean, unit deviation."""
    rows, columns = work.latitudes, work.longitudes
    north, east = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    amplitude = 1 / (north**2 + east**2 + 1e-4)
    for _ in range(work.steps):
        noise = random.normal(size=(2, *amplitude.shape))
        field = np.fft.irfft2((noise[0] + 1j * noise[1]) * amplitude, s=(rows, columns))
        yield field / field.std()
