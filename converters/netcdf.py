"""NetCDF files: described by their own library, read by byte tables where those are known."""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters import netcdf3, netcdf4
from maelio.converters.groups import Level, path_of, visible
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Held, Slow, Storage, Unreadable
from maelio.errors import BadData, BadRequest

log = logging.getLogger(__name__)

library = threading.RLock()  # netCDF-C and HDF5 crash when two threads are inside, in whatever files

_SHOWN = 12  # groups that a message names


def describe(path: Path, kind: Literal["netcdf3", "netcdf4"], group: str = "") -> Source:
    """Open a file once and note what a plan needs, of its root or of a `group`: coordinates with their values.

    Raises:
        BadData: damaged, or cut short.
        BadRequest: there is no such group, or all variables are in groups and none was named.
    """
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
                    path, name, variable, *_place(path, tables, name, variable), group=places[name].group
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
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # the last: attributes
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadData(f"{path} cannot be opened as NetCDF: {reason}") from error


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    by_group: defaultdict[str, list[Variable]] = defaultdict(list)
    for name in names:
        by_group[source.variables[name].group].append(source.variables[name])
    values = {}
    for group, variables in by_group.items():
        with open_raw(source.path, group) as raw:
            for variable in variables:
                with _named(source.path, variable.name):
                    values[variable.name] = _values(source, variable, raw, {})
    return values


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded, through the library."""
    with open_raw(source.path, variable.group) as raw:
        return _values(source, variable, raw, box)


def _values(source: Source, variable: Variable, raw: xr.Dataset, box: Mapping[str, slice]) -> NDArray[Any]:
    if _by_h5py(variable.storage):
        at = tuple(box.get(dimension, slice(None)) for dimension in variable.dimensions)
        with h5py.File(source.path, "r") as file:
            return np.asarray(netcdf4.dataset(file, variable.group, variable.name)[at])
    values: NDArray[Any] = raw.variables[variable.name].isel(box).values
    return values


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise BadData(f"{path}: variable {name!r} cannot be read: {error}") from error


def _place(
    path: Path, tables: Mapping[str, tuple[np.dtype[Any], Storage]], name: str, raw: xr.Variable
) -> tuple[np.dtype[Any], Storage]:
    stored, storage = tables.get(name) or (raw.dtype, Slow("no fixed place in the file"))
    if raw.dims == (name,) and not isinstance(storage, Unreadable) and not _by_h5py(storage):
        with _named(path, name):
            storage = Held(raw.values)
    return stored, storage


def _by_h5py(storage: object) -> bool:
    return isinstance(storage, Slow) and storage.by_h5py
