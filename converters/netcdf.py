"""NetCDF files: described by their own library, read by byte tables where those are known."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters import netcdf3, netcdf4
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Held, Slow, Storage
from maelio.errors import BadData


def describe(path: Path, kind: Literal["netcdf3", "netcdf4"]) -> Source:
    """Open a file once and note what a plan needs, the values of coordinates included: opening costs more than they.

    Raises BadData: damaged, or cut short.
    """
    size, modified_ns = extent(path)
    with open_raw(path) as raw:
        names = [str(name) for name in raw.variables]
        shapes = {name: raw.variables[name].shape for name in names}
        tables: Mapping[str, tuple[np.dtype[Any], Storage]] = (
            netcdf3.tables(path) if kind == "netcdf3" else _tables(path, shapes)
        )
        return Source(
            path=path,
            format=kind,
            bytes=size,
            modified_ns=modified_ns,
            attributes=dict(raw.attrs),
            unlimited=frozenset(map(str, raw.encoding.get("unlimited_dims", ()))),
            variables={
                name: describe_variable(path, name, raw.variables[name], *_place(path, tables, name, raw))
                for name in names
            },
        )


def _tables(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[np.dtype[Any], Storage]]:
    try:
        return netcdf4.tables(path, shapes)
    except (OSError, RuntimeError, ValueError, KeyError, OverflowError) as error:  # what h5py finds damaged
        raise BadData(f"{path} has HDF5 headers that cannot be read: {error}") from error


_library = threading.RLock()  # netCDF-C and HDF5 crash when two threads are inside, in whatever files


@contextmanager
def open_raw(path: Path) -> Iterator[xr.Dataset]:
    """The file through its own library, nothing decoded; one thread of the process at a time.

    Raises BadData: the library cannot open it.
    """
    with _library, _opened(path) as raw:
        yield raw


def _opened(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(
            path, engine="netcdf4", decode_cf=False, cache=False, create_default_indexes=False
        )
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # the last: attributes
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadData(f"{path} cannot be opened as NetCDF: {reason}") from error


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    with open_raw(source.path) as raw:
        return {name: _values(source.path, name, raw) for name in names}


def _values(path: Path, name: str, raw: xr.Dataset) -> NDArray[Any]:
    try:
        values: NDArray[Any] = raw.variables[name].values
    except (OSError, RuntimeError) as error:
        raise BadData(f"{path}: variable {name!r} cannot be read: {error}") from error
    return values


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded, through the library."""
    with open_raw(source.path) as raw:
        values: NDArray[Any] = raw.variables[variable.name].isel(box).values
        return values


def _place(
    path: Path, tables: Mapping[str, tuple[np.dtype[Any], Storage]], name: str, raw: xr.Dataset
) -> tuple[np.dtype[Any], Storage]:
    stored, storage = tables.get(name) or (raw.variables[name].dtype, Slow("no fixed place in the file"))
    if raw.variables[name].dims == (name,):
        storage = Held(_values(path, name, raw))
    return stored, storage
