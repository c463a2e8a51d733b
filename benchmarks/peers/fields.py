"""Fields on a map, with the values and the storage of an archive's: smooth, on a 16-bit lattice, in NetCDF4.

Source: measured on ERA5-like files: four float32 variables, zlib 4 after shuffle, chunks of (12, 91, 180).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

VARIABLES = {  # unit, and mean, deviation and lattice step in it
    "t2m": ("K", 280.0, 15.0, 2.0**-9),
    "u10": ("m s-1", 0.0, 6.0, 2.0**-10),
    "msl": ("Pa", 1e5, 1200.0, 2.0**-3),
    "tp": ("m", 0.0, 1e-3, 2.0**-22),
}


@dataclass(frozen=True, slots=True)
class Fields:
    """`files` of `steps` six-hourly fields each, on a grid of (latitude, longitude)."""

    files: int
    steps: int = 24
    latitudes: int = 361
    longitudes: int = 720

    @property
    def bytes(self) -> int:
        return self.files * self.steps * len(VARIABLES) * self.latitudes * self.longitudes * 4

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.nc" for number in range(self.files)]

    def write(self, path: Path, number: int) -> None:
        random = np.random.default_rng(number)
        with netCDF4.Dataset(path, "w") as file:
            time = _coordinate(file, "time", "hours since 2000-01-01", None)
            time[:] = 6 * (np.arange(self.steps) + number * self.steps)
            _coordinate(file, "latitude", "degrees_north", np.linspace(90, -90, self.latitudes))
            _coordinate(file, "longitude", "degrees_east", np.arange(self.longitudes) * 360 / self.longitudes)
            for name, (unit, mean, deviation, step) in VARIABLES.items():
                variable = file.createVariable(
                    name,
                    "f4",
                    ("time", "latitude", "longitude"),
                    zlib=True,
                    complevel=4,
                    shuffle=True,
                    chunksizes=(min(12, self.steps), min(91, self.latitudes), min(180, self.longitudes)),
                )
                variable.units = unit
                for row in range(self.steps):
                    field = smooth(random, self.latitudes, self.longitudes)
                    variable[row] = np.rint((mean + deviation * field) / step) * step


def _coordinate(file: netCDF4.Dataset, name: str, unit: str, values: NDArray[np.float64] | None) -> Any:
    """Of unlimited length without `values`."""
    file.createDimension(name, None if values is None else len(values))
    coordinate = file.createVariable(name, "f8", (name,))
    coordinate.units = unit
    coordinate.standard_name = name
    if values is not None:
        coordinate[:] = values
    return coordinate


def smooth(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """A field with a spectrum that falls as the square of the wave number; zero mean, unit deviation."""
    north, east = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    amplitude = 1 / (north**2 + east**2 + 1e-4)
    noise = random.normal(size=(2, *amplitude.shape))
    field = np.fft.irfft2((noise[0] + 1j * noise[1]) * amplitude, s=(rows, columns))
    return np.asarray(field / field.std())
