"""NetCDF files of stand-ins: written piece by piece, contiguous and uncompressed unless said, there when whole."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import netCDF4
import numpy as np
from numpy.typing import ArrayLike

from maelio.converters.netcdf import library
from maelio.files import replacing


@contextmanager
def new_netcdf(
    path: Path,
    dimensions: Mapping[str, int],
    *,
    format: Literal["NETCDF4", "NETCDF3_64BIT_OFFSET"] = "NETCDF4",
    **attributes: Any,
) -> Iterator[netCDF4.Dataset]:
    """A file to fill, by one thread of the process at a time; it has its name when the block ends without an error."""
    with library, replacing(path) as part, netCDF4.Dataset(part, "w", format=format) as file:
        file.set_fill_off()  # every value is written, and once
        for name, size in dimensions.items():
            file.createDimension(name, size)
        file.setncatts(attributes)
        yield file


def declare(
    file: netCDF4.Dataset,
    name: str,
    dtype: str | type[str],
    dimensions: tuple[str, ...],
    **attributes: Any,
) -> Any:
    """A variable to fill, values as they are stored. `fill=` is its `_FillValue`."""
    fill = attributes.pop("fill", None)
    variable = file.createVariable(name, dtype, dimensions, fill_value=fill)
    variable.set_auto_maskandscale(False)
    variable.setncatts(attributes)
    return variable


def put(
    file: netCDF4.Dataset,
    name: str,
    dtype: str | type[str],
    dimensions: tuple[str, ...],
    values: ArrayLike,
    **attributes: Any,
) -> None:
    """A variable and all of its values."""
    stored = np.asarray(values, object) if dtype is str else np.asarray(values, dtype)
    declare(file, name, dtype, dimensions, **attributes)[...] = stored
