"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import NDArray

from maelio.converters import netcdf, zarrs
from maelio.converters.signature import identify
from maelio.converters.source import Source, Variable
from maelio.converters.storage import Part, Parts, Slow, read_rows


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
    storage = variable.along(variable.dimensions[axis])
    if isinstance(storage, Slow):
        wanted = {**parts, axis: Part(rows.stop, (rows,))}
        spans = {variable.dimensions[number]: part.span for number, part in wanted.items()}
        box = {dimension: slice(span.start, span.stop) for dimension, span in spans.items()}
        out[...] = _within_box(_library(source).read_slowly(source, variable, box), wanted)
    else:
        read_rows(fd, storage, variable.stored, axis, rows, out, parts)


def _within_box(values: NDArray[Any], parts: Parts) -> NDArray[Any]:
    for axis, part in parts.items():
        if len(part.ranges) > 1:
            values = values.take(part.indexes(part.span.start), axis)
    return values


class Library(Protocol):
    """What a module of a format has, beside `describe`."""

    def read_raw(self, source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]: ...

    def read_slowly(self, source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]: ...


def _library(source: Source) -> Library:
    return zarrs if source.format == "zarr" else netcdf
