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
from maelio.converters.problems import Problem, problem
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Slow, Storage
from maelio.errors import BadData


def describe(path: Path, kind: Literal["netcdf3", "netcdf4"]) -> Source:
    """Open a file once and note what a plan needs.

    Raises BadData: damaged, or cut short.
    """
    size, modified_ns = extent(path)
    with open_raw(path) as raw:
        names = [str(name) for name in raw.variables]
        shapes = {name: raw.variables[name].shape for name in names}
        tables: Mapping[str, tuple[np.dtype[Any], Storage]] = (
            netcdf3.tables(path) if kind == "netcdf3" else netcdf4.tables(path, shapes)
        )
        return Source(
            path=path,
            format=kind,
            bytes=size,
            modified_ns=modified_ns,
            attributes=dict(raw.attrs),
            unlimited=frozenset(map(str, raw.encoding.get("unlimited_dims", ()))),
            variables={
                name: describe_variable(
                    path, name, raw.variables[name], *_table(tables, name, raw.variables[name])
                )
                for name in names
            },
        )


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
        return xr.open_dataset(path, engine="netcdf4", decode_cf=False, cache=False)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadData(f"{path} cannot be opened as NetCDF: {reason}") from error


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    values = {}
    with open_raw(source.path) as raw:
        for name in names:
            try:
                values[name] = raw.variables[name].values
            except (OSError, RuntimeError) as error:
                raise BadData(f"{source.path}: variable {name!r} cannot be read: {error}") from error
    return values


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded, through the library."""
    with open_raw(source.path) as raw:
        values: NDArray[Any] = raw.variables[variable.name].isel(box).values
        return values


_decoded: set[int] = set()  # filters of HDF5 that have decoded a value; plug-ins do not come and go


def undecodable(source: Source, names: Iterable[str]) -> Iterator[Problem]:
    """Variables whose HDF5 filter the library does not have: it is asked for one value."""
    suspects = [
        (name, variable.storage.filter)
        for name in names
        if (variable := source.variables.get(name)) is not None
        and isinstance(variable.storage, Slow)
        and variable.storage.filter is not None
        and variable.storage.filter[0] not in _decoded
    ]
    if not suspects:
        return
    with open_raw(source.path) as raw:
        for name, (number, called) in suspects:
            held = raw.variables[name]
            if not held.size:
                continue
            try:
                held[(0,) * held.ndim].values  # noqa: B018
                _decoded.add(number)
            except (OSError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                yield problem(
                    "filter", source.path,
                    f"is compressed by HDF5 filter {number}{f' ({called})' if called else ''}, which does not decode here: {reason}",
                    "a filter that this machine's NetCDF library has", variable=name,
                )  # fmt: skip


def _table(
    tables: Mapping[str, tuple[np.dtype[Any], Storage]], name: str, raw: xr.Variable
) -> tuple[np.dtype[Any], Storage]:
    return tables.get(name) or (raw.dtype, Slow("no fixed place in the file"))
