"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import NDArray

from maelio.converters import netcdf, zarrs
from maelio.converters.signature import identify
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
    read_rows,
    take,
)

_DECODING = 24  # bytes a value inside eccodes: float64 on the way, the array it returns, both once more


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs; no field value is read.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: of no format known here, damaged, or cut short.
        Inconsistent: the messages of a GRIB file do not make whole variables.
    """
    return describe_all([path])[0]


def describe_all(
    paths: Sequence[Path], samples: str | None = None, variables: Sequence[str] | None = None
) -> list[Source]:
    """`describe` for files that shall make one dataset.

    GRIB has no dimensions of its own: which are made, and whether messages miss, depends on the dimension
    `samples` (default: what the files differ in) and on the wanted `variables` (default: all).
    """
    paths = [path.absolute() for path in paths]
    formats = [identify(path) for path in paths]
    gribs = [path for path, kind in zip(paths, formats, strict=True) if kind == "grib"]
    described = iter(_describe_gribs(gribs, samples, variables))
    sources = []
    for path, kind in zip(paths, formats, strict=True):
        match kind:
            case "grib":
                sources.append(next(described))
            case "zarr":
                sources.append(zarrs.describe(path))
            case "netcdf3" | "netcdf4" as version:
                sources.append(netcdf.describe(path, version))
    return sources


def _describe_gribs(
    paths: Sequence[Path], samples: str | None, variables: Sequence[str] | None
) -> Sequence[Source]:
    if not paths:
        return []
    from maelio.converters.grib import describe_all

    return describe_all(paths, samples, variables)


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


def reading_bytes(variable: Variable, axis: int, rows: int) -> int:
    """The most that `read_stored` holds for so many rows along `axis`, besides the array that it fills."""
    item = variable.stored.itemsize
    row = prod(size for number, size in enumerate(variable.shape) if number != axis) * item
    match variable.along(variable.dimensions[axis]):
        case Chunks() as storage:
            return 4 * prod(storage.shape) * item  # as stored, inflated, framed, unshuffled
        case Rows() as storage:
            return max(min(rows * storage.stride, MOST_AT_ONCE), row)
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
