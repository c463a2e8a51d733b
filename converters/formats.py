"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import NDArray

from maelio.converters import netcdf, xarrays, zarrs
from maelio.converters.origin import Located
from maelio.converters.signature import KnownFormat, Unknown, identify
from maelio.converters.source import Source, Variable
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
from maelio.errors import BadData, BadRequest, Missing

log = logging.getLogger(__name__)

_DECODING = 32  # bytes a value: float64 inside eccodes, the array it returns, both once more, what is shared


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs; no field value is read.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: nothing here and no engine of xarray reads it, or it is damaged, or cut short.
        Inconsistent: the messages of a GRIB file do not make whole variables.
    """
    return describe_all([Located(path)])[0]


def describe_all(
    located: Sequence[Located],
    samples: str | None = None,
    variables: Sequence[str] | None = None,
    group: str = "",
) -> list[Source]:
    """`describe` for files that shall make one dataset, all of them read from the same `group`.

    GRIB has no dimensions of its own: which are made, and whether messages miss, depends on the dimension
    `samples` (default: what the files differ in) and on the wanted `variables` (default: all).

    Raises BadRequest: there is no such group, or the format has none.
    """
    paths = [each.path.absolute() for each in located]
    formats = [_identified(path) for path in paths]
    gribs = [path for path, kind in zip(paths, formats, strict=True) if kind == "grib"]
    described = iter(_describe_gribs(gribs, samples, variables))
    sources = []
    for path, kind, each in zip(paths, formats, located, strict=True):
        if group and kind not in ("netcdf4", "zarr"):
            raise BadRequest(f"{path} has no group {group!r}: only NetCDF4 and Zarr have groups")
        match kind:
            case "grib":
                source = next(described)
            case "zarr":
                source = zarrs.describe(path, group, each.origin)
            case "netcdf3" | "netcdf4" as version:
                source = netcdf.describe(path, version, group)
            case Unknown() as refusal:
                source = _describe_unknown(path, refusal)
        sources.append(replace(source, origin=each.origin))
    return sources


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
    paths: Sequence[Path], samples: str | None, variables: Sequence[str] | None
) -> Sequence[Source]:
    if not paths:
        return []
    from maelio.converters.grib import describe_all

    return describe_all(paths, samples, variables)


def check_readable(sources: Sequence[Source], names: Iterable[str]) -> None:
    """Raises Missing: naming the file, the variable, and what to install so that it can be read."""
    for source in sources:
        for name in names:
            if (variable := source.variables.get(name)) and isinstance(variable.storage, Unreadable):
                raise Missing(f"{source.path}: variable {name!r}: {variable.storage.reason}")


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

    `fd` is the open file. Raises BadData, OSError, RuntimeError: they cannot be read.
    """
    wanted = {**parts, axis: Part(variable.shape[axis], (rows,))}
    match variable.along(variable.dimensions[axis]):
        case Rows() | Chunks() as storage:
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
            return 4 * prod(storage.shape) * item  # as stored, inflated, framed, unshuffled
        case Rows():
            return max(min(rows * row, MOST_AT_ONCE), row)
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
            return zarrs
        case "xarray":
            return xarrays
        case _:
            return netcdf
