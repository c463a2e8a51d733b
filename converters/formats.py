"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maelio.converters import netcdf, xarrays
from maelio.converters.origin import Located
from maelio.converters.problems import Problem, failure, problem, refuse
from maelio.converters.signature import KnownFormat, Unknown, identify
from maelio.converters.source import Described, Source, Variable
from maelio.converters.storage import (
    MOST_AT_ONCE,
    Chunks,
    Held,
    Messages,
    Part,
    Parts,
    Rows,
    Slow,
    Unreadable,
    read_rows,
    take,
)
from maelio.errors import BadData, BadRequest, Missing, NotFound, NotPermitted
from maelio.packed import copies
from maelio.zarr_chunks import ZarrChunks

log = logging.getLogger(__name__)

_DECODING = 32  # bytes a value: float64 inside eccodes, the array it returns, both once more, what is shared


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs; no field value is read.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: nothing here and no engine of xarray reads it, or it is damaged, or cut short.
        Inconsistent: the messages of a GRIB file do not make whole variables.
    """
    (found,) = describe_all([Located(path)])
    if found.problems or found.source is None:
        refuse(found.problems)
    return found.source


def describe_all(
    located: Sequence[Located],
    samples: str | None = None,
    variables: Sequence[str] | None = None,
    group: str = "",
    *,
    keep_last: bool = False,
) -> list[Described]:
    """`describe` for files that shall make one dataset; what is wrong with one of them does not stop the others.

    All are read from the same `group`. GRIB has no dimensions of its own: which are made, and whether messages
    miss, depends on the dimension `samples` (default: what the files differ in) and on the wanted `variables`
    (default: all). Of messages that occur twice the first is taken, or the last.

    Raises BadRequest: there is no such group, or the format has none; a variable is not in the first GRIB file.
    """
    described = [_describe(each, group) for each in located]
    gribs = [each.path.absolute() for each, found in zip(located, described, strict=True) if found is None]
    of_gribs = iter(_describe_gribs(gribs, samples, variables, keep_last=keep_last))
    whole = (next(of_gribs) if found is None else found for found in described)
    return [_with_origin(found, each) for found, each in zip(whole, located, strict=True)]


def _describe(located: Located, group: str) -> Described | None:
    """None: it is GRIB, which is described together with others."""
    path = located.path.absolute()
    try:
        kind = _identified(path)
        if group and kind not in ("netcdf4", "zarr"):
            raise BadRequest(f"{path} has no group {group!r}: only NetCDF4 and Zarr have groups")
        match kind:
            case "grib":
                return None
            case "zarr":
                from maelio.converters import zarrs  # zarr takes a sixth of a second to load

                return Described(zarrs.describe(path, group, located.origin))
            case "netcdf3" | "netcdf4" as version:
                return Described(netcdf.describe(path, version, group))
            case Unknown() as refusal:
                return Described(_describe_unknown(path, refusal))
    except (NotFound, NotPermitted, BadData) as error:
        return Described(None, (failure(path, error),))


def _with_origin(found: Described, located: Located) -> Described:
    return (
        found if found.source is None else replace(found, source=replace(found.source, origin=located.origin))
    )


def _identified(path: Path) -> KnownFormat | Unknown:
    try:
        return identify(path)
    except Unknown as refusal:
        return refusal


def _describe_unknown(path: Path, refusal: Unknown) -> Source:
    try:
        source = xarrays.describe(path)
    except BadData as error:
        raise BadData(f"{refusal}; xarray: {xarrays.brief(error.__cause__ or error)}") from error
    log.warning("%s is read slowly, by an engine of xarray: nothing here knows the format", path)
    return source


def _describe_gribs(
    paths: Sequence[Path], samples: str | None, variables: Sequence[str] | None, *, keep_last: bool
) -> Sequence[Described]:
    if not paths:
        return []
    from maelio.converters import grib  # eccodes takes a quarter of a second to load

    return grib.describe_all(paths, samples, variables, keep_last=keep_last)


def undecodable(source: Source, names: Iterable[str]) -> Iterator[Problem]:
    """Those of the variables that no library here can decompress; each says what to install."""
    for name in names:
        if (variable := source.variables.get(name)) and isinstance(variable.storage, Unreadable):
            found = problem("filter", source.path, f"is {variable.storage.reason}", variable=name)
            yield replace(found, kind=Missing)


def read_whole(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded: coordinates and the like. Raises BadData: one cannot be read."""
    storages = {name: source.variables[name].storage for name in names}
    held = {name: storage.values for name, storage in storages.items() if isinstance(storage, Held)}
    others = [name for name in storages if name not in held]
    if not others:
        return held
    if source.format == "grib":
        raise BadData(f"{source.path}: variable {others[0]!r} is a field, wanted a coordinate")
    return held | _library(source).read_raw(source, others)


def read_stored(
    fd: int,
    source: Source,
    variable: Variable,
    axis: int,
    rows: range,
    out: NDArray[Any],
    parts: Parts = MappingProxyType({}),
) -> None:
    """Fill `out` with values as they are stored: `rows` along `axis`, `parts` along other axes.

    `fd` is the open file. Dimensions that the source has flipped are read from their last index to the first.

    Raises BadData, OSError, RuntimeError: they cannot be read.
    """
    turned = [number for number, name in enumerate(variable.dimensions) if name in source.flipped]
    if turned:
        out = np.flip(out, tuple(turned))
        parts = {number: part.mirrored if number in turned else part for number, part in parts.items()}
    wanted = {**parts, axis: Part(variable.shape[axis], (rows,))}
    match variable.along(variable.dimensions[axis]):
        case Rows() | Chunks() | ZarrChunks() as storage:
            read_rows(fd, storage, variable.stored, axis, rows, out, parts)
        case Messages() as storage:
            from maelio.converters.messages import read_messages

            read_messages(fd, storage, wanted, out)
        case Held(held):
            out[...] = take(held, wanted)
        case Slow():
            spans = {variable.dimensions[number]: part.span for number, part in wanted.items()}
            box = {dimension: slice(span.start, span.stop) for dimension, span in spans.items()}
            values = _library(source).read_slowly(source, variable, box)
            out[...] = take(values, {number: part.within_span for number, part in wanted.items()})
        case Unreadable(reason):
            raise Missing(reason)


def reading_bytes(variable: Variable, axis: int, rows: int) -> int:
    """The most that `read_stored` holds for so many rows along `axis`, besides the array that it fills."""
    item = variable.stored.itemsize
    row = prod(size for number, size in enumerate(variable.shape) if number != axis) * item
    match variable.along(variable.dimensions[axis]):
        case Chunks() as storage:
            return copies(storage.filters) * prod(storage.shape) * item
        case ZarrChunks() as storage:
            return copies(storage.filters) * storage.bytes + storage.index_bytes
        case Rows() as storage:
            return max(min(rows * storage.stride, MOST_AT_ONCE), row)
        case Messages() as storage:
            return 4 * storage.largest + _DECODING * prod(variable.shape[storage.fields.ndim :])
        case Held() | Slow() | Unreadable():
            return 2 * rows * row  # around the wanted part, and that part


class Library(Protocol):
    """What a module of a format has, beside `describe`."""

    def read_raw(self, source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]: ...

    def read_slowly(self, source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]: ...


def _library(source: Source) -> Library:
    match source.format:
        case "zarr":
            from maelio.converters import zarrs

            return zarrs
        case "xarray":
            return xarrays
        case _:
            return netcdf
