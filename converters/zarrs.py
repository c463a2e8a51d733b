"""Zarr groups, version 2 and 3, as sources: chunk by chunk where the codecs are known, else through zarr-python.

A store of maelio's own is the dataset it was made from, and a group behind a URL is read by zarr-python.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from maelio.converters.origin import Origin, public
from maelio.converters.remote import failure
from maelio.converters.signature import is_zarr
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Slow, Storage
from maelio.errors import BadData, BadRequest
from maelio.store import is_store, open_store
from maelio.xarray_engine import undecoded
from maelio.zarr_chunks import Unknown, ZarrChunks, zarr_chunks

log = logging.getLogger(__name__)

# Of groups that zarr-python reads by itself, their open arrays
_arrays: WeakKeyDictionary[Source, dict[str, zarr.Array[Any]] | None] = WeakKeyDictionary()


def describe(path: Path, group: str = "", origin: Origin | None = None) -> Source:
    """Read the metadata of a group, or of a `group` in it, and tell which chunks are not there.

    Zarr reads those as the fill value. With an `origin`, `path` holds its root metadata alone, and values are
    read from there.

    Raises BadData: it does not open; BadRequest: there is no such group.
    """
    if origin is None:
        path = path / group.strip("/")
    if not is_zarr(path):
        raise BadRequest(f"{path} is no Zarr group")
    size, modified_ns = extent(path)
    with _opened(path, origin) as raw:
        names = list(map(str, raw.variables))
        if not (is_store(path) or is_consolidated(path)):
            names.sort()  # a folder has no order, and zarr-python lists it in another one every time
        known = {} if origin is not None or is_store(path) else _chunks(path)
        variables = {
            name: describe_variable(path, name, variable, variable.dtype, _storage(variable, known.get(name)))
            for name, variable in ((name, raw.variables[name]) for name in names)
        }
        attributes = dict(raw.attrs)
    if origin is not None:
        if not variables:
            raise BadData(
                f"{public(origin.url)}: no arrays; a server that lists no folders needs consolidated metadata"
            )
        log.warning("%s: chunks that are missing there read as the fill value", public(origin.url))
    elif not (path / "maelio.json").exists():
        _tell_missing_chunks(path)
    return Source(
        path=path,
        format="zarr",
        bytes=size,
        modified_ns=modified_ns,
        attributes=attributes,
        unlimited=frozenset(),
        variables=variables,
        origin=origin,
    )


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    with _opened(source.path, source.origin) as raw:
        return {name: _values(source, name, raw.variables[name]) for name in names}


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded; several threads may read at once."""
    if source not in _arrays:
        _arrays[source] = {} if source.origin is None and not is_store(source.path) else None
    if (opened := _arrays[source]) is not None:
        return _part(source, opened, variable, box)
    with _opened(source.path, source.origin) as raw:
        return _values(source, variable.name, raw.variables[variable.name].isel(box))


def _part(
    source: Source, opened: dict[str, zarr.Array[Any]], variable: Variable, box: Mapping[str, slice]
) -> NDArray[Any]:
    """Without xarray, which would open the group again for every box. What was `opened` stays so."""
    try:
        if variable.name not in opened:
            opened[variable.name] = zarr.open_array(source.path / variable.name, mode="r")
        array = opened[variable.name]
        return np.asarray(array[tuple(box.get(dimension, slice(None)) for dimension in variable.dimensions)])
    except _errors(None) as error:
        raise BadData(f"{source.path}: variable {variable.name!r} cannot be read: {error}") from error


def _values(source: Source, name: str, variable: xr.Variable) -> NDArray[Any]:
    try:
        values: NDArray[Any] = variable.values
    except _errors(source.origin) as error:
        if source.origin is not None:
            raise failure(source.origin.url, error, f"variable {name!r}") from error
        raise BadData(f"{source.path}: variable {name!r} cannot be read: {error}") from error
    return values


@contextmanager
def _opened(path: Path, origin: Origin | None) -> Iterator[xr.Dataset]:
    try:
        if is_store(path):
            raw = undecoded(open_store(path))
        else:
            where = str(path) if origin is None else origin.url
            raw = xr.open_zarr(
                where,
                chunks=None,
                decode_cf=False,
                consolidated=is_consolidated(path),
                create_default_indexes=False,
            )
    except _errors(origin) as error:
        if origin is not None and not isinstance(error, KeyError | TypeError | ValueError):
            raise failure(origin.url, error) from error
        raise BadData(f"{path} cannot be opened as Zarr: {str(error).partition(chr(10))[0]}") from error
    with raw:
        yield raw


def _errors(origin: Origin | None) -> type[Exception] | tuple[type[Exception], ...]:
    """What reading raises: behind a URL, whatever the file system likes."""
    return (OSError, RuntimeError, ValueError, KeyError, TypeError) if origin is None else Exception


def is_consolidated(path: Path) -> bool:
    """Whether the root metadata has that of all arrays. Raises BadData: it is not JSON."""
    return (path / ".zmetadata").exists() or bool(_root(path).get("consolidated_metadata"))


def _root(path: Path) -> dict[str, Any]:
    """The root metadata of version 3; empty for version 2."""
    file = path / "zarr.json"
    try:
        root: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    except ValueError as error:
        raise BadData(f"{file} is not JSON: {error}") from error
    return root


def _chunks(path: Path) -> dict[str, ZarrChunks | Slow]:
    """Where the chunks of each array of a local group lie."""
    found: dict[str, ZarrChunks | Slow] = {}
    for name, array in zarr.open_group(path, mode="r").arrays():
        try:
            found[name] = zarr_chunks(array.metadata.to_dict(), name, array.dtype, array.fill_value)
        except Unknown as unknown:
            found[name] = Slow(f"Zarr: {unknown}")
    return found


def _storage(variable: xr.Variable, found: ZarrChunks | Slow | None) -> Storage:
    match found:
        case None:
            return Slow("Zarr")
        case ZarrChunks() if (variable.shape, variable.dtype.newbyteorder("=")) != (
            found.array,
            found.dtype.newbyteorder("="),
        ):
            return Slow(f"Zarr: xarray makes {variable.dtype} {variable.shape} of it")
        case _:
            return found


def _tell_missing_chunks(path: Path) -> None:
    for name, array in zarr.open_group(path, mode="r").arrays():
        if array.nchunks_initialized < array.nchunks:
            missing = array.nchunks - array.nchunks_initialized
            log.warning(
                "%s: %d of %d chunks of %r are not there and read as the fill value %r",
                path, missing, array.nchunks, name, array.fill_value,
            )  # fmt: skip
