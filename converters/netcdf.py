"""NetCDF files: described by their own library, read by byte tables where those are known.

What lies in HDF5 is opened in a process of its own (`hdf5.py`), never in this one.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import h5py
import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters import netcdf3, netcdf4
from maelio.converters.groups import Level, path_of, pointed_at, visible
from maelio.converters.hdf5 import hdf5
from maelio.converters.isolation import Died
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Held, Slow, Storage, Unreadable
from maelio.errors import BadData, BadRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

library = threading.RLock()  # netCDF-C and HDF5 crash when two threads are inside, in whatever files

_SHOWN = 12  # groups that a message names
_DAMAGED = (OSError, RuntimeError, ValueError, TypeError, AttributeError, KeyError)  # of attributes, filters
_SMALL = 2**12  # bytes that are read at once: to open the file again costs more
_FILE_TO_HEADERS = 100  # bytes of a file for each of its headers, or far more


def describe(path: Path, kind: Literal["netcdf3", "netcdf4"], group: str = "") -> Source:
    """Open a file once and note what a plan needs, of its root or of a `group`: coordinates with their values.

    Raises:
        BadData: damaged, or cut short.
        BadRequest: there is no such group, or all variables are in groups and none was named.
    """
    if kind == "netcdf3":
        return _describe(path, kind, group)
    return apart(path, path.stat().st_size // _FILE_TO_HEADERS, _describe, path, kind, group)


def apart(path: Path, nbytes: int, function: Callable[..., T], *arguments: Any) -> T:
    """What a function of a module returns that reads so much of a NetCDF4 file, in the process for that.

    Raises BadData: HDF5 died of it, or took too long. And what the function raises.
    """
    try:
        return hdf5.call(nbytes, function, *arguments)
    except Died as death:
        raise BadData(f"{path}: cannot be read as NetCDF: {death}") from None


def _describe(path: Path, kind: Literal["netcdf3", "netcdf4"], group: str) -> Source:
    size, modified_ns = extent(path)
    classic = (
        netcdf3.tables(path) if kind == "netcdf3" else None
    )  # first: the library takes damaged lengths for true
    own = dimensions(path, group)
    if kind == "netcdf4":
        for place in own:
            netcdf4.check_types(path, place)
    with ExitStack() as stack:
        levels = [
            Level(place, names, stack.enter_context(open_raw(path, place))) for place, names in own.items()
        ]
        places = visible(levels)
        raw = {name: level.dataset.variables[name] for name, level in places.items()}
        if kind == "netcdf4" and not group:
            _tell_groups(path, any_variables=bool(raw))
        tables: Mapping[str, tuple[np.dtype[Any], Storage]] = (
            classic
            if classic is not None
            else netcdf4.tables(path, {name: (places[name].group, raw[name].shape) for name in raw})
        )
        describing = {name for variable in raw.values() for name in pointed_at(variable)}
        return Source(
            path=path,
            format=kind,
            bytes=size,
            modified_ns=modified_ns,
            attributes=dict(levels[-1].dataset.attrs),
            unlimited=frozenset(
                str(name) for level in levels for name in level.dataset.encoding.get("unlimited_dims", ())
            ),
            variables={
                name: describe_variable(
                    path,
                    name,
                    variable,
                    *_place(path, tables, name, variable, describes=name in describing),
                    group=places[name].group,
                )
                for name, variable in raw.items()
            },
        )


def dimensions(path: Path, group: str) -> dict[str, frozenset[str]]:
    """The groups from the root to `group`, and the dimensions that each defines."""
    if not group:
        return {"": frozenset()}
    found: dict[str, frozenset[str]] = {}
    with library, netCDF4.Dataset(path) as file:
        for place in path_of(group):
            try:
                found[place] = frozenset(file[f"/{place}"].dimensions if place else file.dimensions)
            except (IndexError, AttributeError):
                known = ", ".join(sorted(_groups(file))) or "none"
                raise BadRequest(f"{path}: no group {place!r}; there are {known}") from None
    return found


def _groups(file: netCDF4.Dataset) -> Iterator[str]:
    for group in file.groups.values():
        yield group.path.strip("/")
        yield from _groups(group)


def _tell_groups(path: Path, *, any_variables: bool) -> None:
    groups = netcdf4.groups(path)
    if not groups:
        return
    more = f" and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    names = ", ".join(groups[:_SHOWN]) + more
    if not any_variables:
        raise BadRequest(f"{path}: its variables are in groups; name one with --group: {names}")
    log.warning("%s: groups are not read, --group takes one: %s", path, names)


@contextmanager
def open_raw(path: Path, group: str = "") -> Iterator[xr.Dataset]:
    """A file, or a group of it, through its own library, nothing decoded; one thread of the process at a time.

    Raises BadData: the library cannot open it.
    """
    with library, _opened(path, group) as raw:
        yield raw


def _opened(path: Path, group: str) -> xr.Dataset:
    try:
        return xr.open_dataset(
            path,
            engine="netcdf4",
            group=group or None,
            decode_cf=False,
            cache=False,
            create_default_indexes=False,
        )
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadData(f"{path} cannot be opened as NetCDF: {reason}") from error


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    variables = [source.variables[name] for name in names]
    if source.format == "netcdf3":
        return _read_whole(source.path, variables)
    nbytes = sum(prod(variable.shape) * variable.stored.itemsize for variable in variables)
    return apart(source.path, nbytes, _read_whole, source.path, variables)


def _read_whole(path: Path, variables: Sequence[Variable]) -> dict[str, NDArray[Any]]:
    by_group: defaultdict[str, list[Variable]] = defaultdict(list)
    for variable in variables:
        by_group[variable.group].append(variable)
    values = {}
    for group, members in by_group.items():
        with open_raw(path, group) as raw:
            for variable in members:
                with _named(path, variable.name):
                    values[variable.name] = _values(path, variable, raw, {})
    return values


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded, through the library. Raises BadData: it died of it."""
    if source.format == "netcdf3":
        return _read_box(source.path, variable, box)
    sizes = zip(variable.dimensions, variable.shape, strict=True)
    count = prod(len(range(size)[box.get(dimension, slice(None))]) for dimension, size in sizes)
    return hdf5.call(count * variable.stored.itemsize, _read_box, source.path, variable, box)


def _read_box(path: Path, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    with open_raw(path, variable.group) as raw:
        return _values(path, variable, raw, box)


def _values(path: Path, variable: Variable, raw: xr.Dataset, box: Mapping[str, slice]) -> NDArray[Any]:
    if _by_h5py(variable.storage):
        at = tuple(box.get(dimension, slice(None)) for dimension in variable.dimensions)
        with h5py.File(path, "r") as file:
            return np.asarray(netcdf4.dataset(file, variable.group, variable.name)[at])
    try:
        values: NDArray[Any] = raw.variables[variable.name].isel(box).values
    except IndexError as error:  # a failed read, as xarray tells it
        raise RuntimeError(str(error)) from error
    return values


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, IndexError) as error:
        raise BadData(f"{path}: variable {name!r} cannot be read: {error}") from error


def _place(
    path: Path,
    tables: Mapping[str, tuple[np.dtype[Any], Storage]],
    name: str,
    raw: xr.Variable,
    *,
    describes: bool,
) -> tuple[np.dtype[Any], Storage]:
    """The stored dtype, and where the values are; those of coordinates, and small ones of what describes others, are held."""
    stored, storage = tables.get(name) or (raw.dtype, Slow("no fixed place in the file"))
    if isinstance(storage, Unreadable) or _by_h5py(storage):
        return stored, storage
    if raw.dims == (name,):
        with _named(path, name):
            storage = Held(raw.values)
    elif describes and raw.nbytes <= _SMALL:
        with suppress(OSError, RuntimeError, IndexError):  # told if it is wanted
            storage = Held(raw.values)
    return stored, storage


def _by_h5py(storage: object) -> bool:
    return isinstance(storage, Slow) and storage.by_h5py
