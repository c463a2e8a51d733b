"""One variable as a Zarr store of maps, a few steps a chunk, of which training wants the series of every place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numcodecs import Blosc

from maelio.benchmarks.peers.fields import smooth

NAME = "t2m"
_CHUNK = 4  # steps


@dataclass(frozen=True, slots=True)
class Maps:
    """`steps` six-hourly fields of (latitude, longitude), Zarr version 2, which all tools read; Blosc lz4.

    `memory` is the cap, in bytes, under which they are to be rearranged in chunks of all times of a `tile` of
    (latitude, longitude).
    """

    steps: int
    memory: int
    latitudes: int = 361
    longitudes: int = 720
    tile: tuple[int, int] = (19, 36)

    @property
    def bytes(self) -> int:
        return self.steps * self.latitudes * self.longitudes * 4

    def paths(self, folder: Path) -> list[Path]:
        return [folder / "maps.zarr"]

    def write(self, path: Path, number: int) -> None:
        random = np.random.default_rng(number)
        group = zarr.open_group(path, mode="w", zarr_format=2)
        sizes = {"time": self.steps, "latitude": self.latitudes, "longitude": self.longitudes}
        coordinates = {
            "time": (6.0 * np.arange(self.steps), "hours since 2000-01-01"),
            "latitude": (np.linspace(90, -90, self.latitudes), "degrees_north"),
            "longitude": (np.arange(self.longitudes) * 360 / self.longitudes, "degrees_east"),
        }
        for name, (values, unit) in coordinates.items():
            coordinate = group.create_array(name, shape=values.shape, dtype="f8", compressors=None)
            coordinate[:] = values
            coordinate.attrs.update({"_ARRAY_DIMENSIONS": [name], "units": unit, "standard_name": name})
        fields = group.create_array(
            NAME,
            shape=tuple(sizes.values()),
            dtype="f4",
            chunks=(_CHUNK, self.latitudes, self.longitudes),
            compressors=Blosc("lz4", 5, Blosc.SHUFFLE),
        )
        fields.attrs.update({"_ARRAY_DIMENSIONS": [*sizes], "units": "K"})
        for first in range(0, self.steps, _CHUNK):
            steps = [
                smooth(random, self.latitudes, self.longitudes)
                for _ in range(min(_CHUNK, self.steps - first))
            ]
            fields[first : first + _CHUNK] = np.rint((280 + 15 * np.stack(steps)) * 2.0**9) * 2.0**-9
