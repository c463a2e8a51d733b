"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import NDArray

from maelio.converters import netcdf, zarrs
from maelio.converters.signature import identify
from maelio.converters.source import Source, Variable
from maelio.converters.storage import Chunks, Part, Parts, Rows, Slow, read_rows, take


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs; no field value is read.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: of no format known here, damaged, or cut short.
    """
    path = path.absolute()
    match identify(path):
        case "zarr":
            return zarrs.describe(path)
        case "netcdf3" | "netcdf4" as version:
            return netcdf.describe(path, version)


def read_whole(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded: coordinates and the like. Raises BadData: one cannot be read."""
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
    match variable.along(variable.dimensions[axis]):
        case Rows() | Chunks() as storage:
            read_rows(fd, storage, variable.stored, axis, rows, out, parts)
        case Slow():
            wanted = {**parts, axis: Part(variable.shape[axis], (rows,))}
            spans = {variable.dimensions[number]: part.span for number, part in wanted.items()}
            box = {dimension: slice(span.start, span.stop) for dimension, span in spans.items()}
            values = _library(source).read_slowly(source, variable, box)
            out[...] = take(values, {number: part.within_span for number, part in wanted.items()})


class Library(Protocol):
    """What a module of a format has, beside `describe`."""

    def read_raw(self, source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]: ...

    def read_slowly(self, source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]: ...


def _library(source: Source) -> Library:
    return zarrs if source.format == "zarr" else netcdf
