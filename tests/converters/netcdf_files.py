"""Small NetCDF files with every storage the fast path knows, and some that it does not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import netCDF4
import numpy as np
from numpy.typing import NDArray

Kind = Literal["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]


def write_netcdf(
    path: Path,
    fields: Mapping[str, NDArray[Any]],
    *,
    first: float = 0.0,
    times: Sequence[float] | None = None,
    units: str = "hours since 2000-01-01",
    calendar: str = "360_day",
    latitudes: Sequence[float] | None = None,
    kind: Kind = "NETCDF4",
    unlimited: bool = True,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    **storage: Any,
) -> Path:
    """Fields of shape (time, latitude, longitude) with coordinates, time bounds and a scalar height."""
    samples, rows, columns = next(iter(fields.values())).shape
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.Conventions = "CF-1.11"
        file.createDimension("time", None if unlimited else samples)
        for name, size in (("latitude", rows), ("longitude", columns), ("bnds", 2)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time.calendar, time.bounds = units, calendar, "time_bnds"
        time[:] = np.arange(samples) + first if times is None else times
        file.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = time[:][:, None] + [-0.5, 0.5]
        file.createVariable("latitude", "f4", ("latitude",))[:] = (
            np.linspace(60, 30, rows) if latitudes is None else latitudes
        )
        file.createVariable("longitude", "f4", ("longitude",))[:] = np.linspace(0, 20, columns)
        height = file.createVariable("height", "f8", ())
        height.units, height[...] = "m", 2.0
        for name, values in fields.items():
            extra = dict((attributes or {}).get(name, {}))
            fill = extra.pop("_FillValue", None)
            variable = file.createVariable(
                name, values.dtype, ("time", "latitude", "longitude"), fill_value=fill, **storage
            )
            variable.set_auto_maskandscale(False)
            variable.setncatts({"units": "K", "coordinates": "height", **extra})
            variable[:] = values
    return path


def damage(path: Path, name: str) -> None:
    """Overwrite the middle of the first chunk of a NetCDF4 variable with zeros."""
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 3)
        file.write(bytes(chunk.size // 3))
