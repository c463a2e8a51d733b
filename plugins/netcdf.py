"""NetCDF files as one dataset of xarray, lazily, and their texts by h5py.

The NetCDF library ends the process when texts were read of a file that is open twice, and one of the two is closed and
opened again (netCDF4 1.7.4). Two datasets of the same files are two such.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    import xarray as xr

_OF_HDF5 = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")


def open_files(
    files: Sequence[Path],
    chunks: Any,
    *,
    preprocess: "Callable[[xr.Dataset], xr.Dataset] | None" = None,
    **options: Any,
) -> "xr.Dataset":
    """As `xarray.open_mfdataset`, whose `options` these are; values are read when they are used, texts now."""
    import xarray as xr

    def with_texts(data: xr.Dataset) -> xr.Dataset:
        whole = data.assign(texts(Path(data.encoding["source"]))) if named else data
        return preprocess(whole) if preprocess else whole

    named = list(texts(files[0]))
    found: xr.Dataset = xr.open_mfdataset(
        files, chunks=chunks, engine="netcdf4", drop_variables=named, preprocess=with_texts, **options
    )
    return found


def texts(path: Path) -> "dict[str, xr.Variable]":
    """All variables of the root whose values are texts of any length; none, where the file is of an older format."""
    import xarray as xr

    if not h5py.is_hdf5(path):
        return {}
    with h5py.File(path) as file:
        return {
            name: xr.Variable(_dimensions(name, each), np.asarray(each.asstr()[...], str), _attributes(each))
            for name, each in file.items()
            if isinstance(each, h5py.Dataset) and h5py.check_string_dtype(each.dtype) and each.ndim
        }


def _dimensions(name: str, values: Any) -> tuple[str, ...]:
    """Of a variable that is itself a dimension there is none to point to."""
    return tuple(scales[0].name.rpartition("/")[2] if len(scales) else name for scales in values.dims)


def _attributes(values: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.attrs.items()
        if name not in _OF_HDF5 and not name.startswith("_Netcdf4")
    }
