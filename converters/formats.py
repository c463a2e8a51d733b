"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maelio.converters import netcdf, zarrs
from maelio.converters.problems import Problem, failure, refuse
from maelio.converters.signature import identify
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
    read_rows,
    take,
)
from maelio.errors import BadData, NotFound, NotPermitted

_DECODING = 24  # bytes a value inside eccodes: float64 on the way, the array it returns, both once more


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs; no field value is read.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: of no format known here, damaged, or cut short.
        Inconsistent: the messages of a GRIB file do not make whole variables.
    """
    (found,) = describe_all([path])
    if found.problems or found.source is None:
        refuse(found.problems)
    return found.source


def describe_all(
    paths: Sequence[Path],
    samples: str | None = None,
    variables: Sequence[str] | None = None,
    *,
    keep_last: bool = False,
) -> list[Described]:
    """`describe` for files that shall make one dataset; what is wrong with one of them does not stop the others.

    GRIB has no dimensions of its own: which are made, and whether messages miss, depends on the dimension
    `samples` (default: what the files differ in) and on the wanted `variables` (default: all). Of messages that
    occur twice the first is taken, or the last.

    Raises BadRequest: a wanted variable is not in the first GRIB file.
    """
    described = {path.absolute(): _describe(path.absolute()) for path in paths}
    gribs = [path for path, found in described.items() if found is None]
    if gribs:
        from maelio.converters import grib  # eccodes takes a quarter of a second to load

        found = grib.describe_all(gribs, samples, variables, keep_last=keep_last)
        described |= dict(zip(gribs, found, strict=True))
    return [each for path in paths if (each := described[path.absolute()])]


def _describe(path: Path) -> Described | None:
    """None: it is GRIB, which is described together with others."""
    try:
        match identify(path):
            case "grib":
                return None
            case "zarr":
                return Described(zarrs.describe(path))
            case "netcdf3" | "netcdf4" as version:
                return Described(netcdf.describe(path, version))
    except (NotFound, NotPermitted, BadData) as error:
        return Described(None, (failure(path, error),))


def undecodable(source: Source, names: Iterable[str]) -> Iterator[Problem]:
    """Those of the variables that no library here can decompress."""
    if source.format == "netcdf4":
        yield from netcdf.undecodable(source, names)


def read_whole(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded: coordinates and the like. Raises BadData: one cannot be read."""
    if source.format == "grib":
        from maelio.converters.grib import read_held  # eccodes takes a quarter of a second to load

        return read_held(source, names)
    return _library(source).read_raw(source, names)


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
            return 2 * storage.largest + _DECODING * prod(variable.shape[storage.fields.ndim :])
        case Held() | Slow():
            return 2 * rows * row  # around the wanted part, and that part


class Library(Protocol):
    """What a module of a format has, beside `describe`."""

    def read_raw(self, source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]: ...

    def read_slowly(self, source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]: ...


def _library(source: Source) -> Library:
    return zarrs if source.format == "zarr" else netcdf
