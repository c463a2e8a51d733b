"""Columns of the atmosphere, as the inputs of a radiation scheme: profiles on levels and half levels, and scalars.

`Columns` are those of MAELSTROM; `Profiles` are of equal length, so that a sample is one array of 5.5 kB.

Source: the NetCDF files of MAELSTROM's radiation emulation: names, dimensions, 16960 columns a file. Stored as
archives store: float32, zlib 4 after shuffle, and here on a lattice of 1/256.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np

PROFILES = {"level": 137, "half_level": 138}
DIMENSIONS = {
    **dict.fromkeys(("q", "o3_mmr", "cloud_fraction", "q_liquid", "q_ice", "re_liquid"), ("column", "level")),
    **dict.fromkeys(("temperature_hl", "pressure_hl"), ("column", "half_level")),
    **dict.fromkeys(("flux_dn_sw", "flux_up_sw", "flux_dn_lw", "flux_up_lw"), ("column", "half_level")),
    **dict.fromkeys(("skin_temperature", "cos_solar_zenith_angle", "lat", "lon"), ("column",)),
}
PROFILE_NAMES = tuple(f"p{number}" for number in range(10))
_CHUNK = 6784  # columns


@dataclass(frozen=True, slots=True)
class Columns:
    """`files` of `columns` each."""

    files: int
    columns: int = 16960

    @property
    def bytes(self) -> int:
        return self.files * self.columns * 4 * sum(PROFILES.get(last, 1) for *_, last in DIMENSIONS.values())

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.nc" for number in range(self.files)]

    def write(self, path: Path, number: int) -> None:
        _write(path, number, self.columns, DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Profiles:
    """`files` of `columns` each: ten variables on 137 levels."""

    files: int
    columns: int = 16960

    @property
    def bytes(self) -> int:
        return self.files * self.columns * 4 * len(PROFILE_NAMES) * PROFILES["level"]

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.nc" for number in range(self.files)]

    def write(self, path: Path, number: int) -> None:
        _write(path, number, self.columns, dict.fromkeys(PROFILE_NAMES, ("column", "level")))


def _write(path: Path, number: int, columns: int, names: Mapping[str, tuple[str, ...]]) -> None:
    random = np.random.default_rng(number)
    sizes = {"column": columns, **PROFILES}
    with netCDF4.Dataset(path, "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
        for name, dimensions in names.items():
            shape = tuple(sizes[dimension] for dimension in dimensions)
            chunks = (min(columns, _CHUNK), *shape[1:])
            variable = file.createVariable(
                name, "f4", dimensions, zlib=True, complevel=4, shuffle=True, chunksizes=chunks
            )
            walk = random.normal(size=shape).cumsum(axis=-1 if len(shape) > 1 else 0)
            variable[:] = np.rint(walk * 2.0**8) * 2.0**-8
