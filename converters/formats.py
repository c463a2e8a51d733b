"""One question, asked of whatever format a file has: what is in it, and how are its values read?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from maelio.converters import netcdf, zarrs
from maelio.converters.signature import identify
from maelio.converters.source import Source, Variable
from maelio.converters.storage import Slow, read_rows


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
    fd: int, source: Source, variable: Variable, axis: int, rows: range, out: NDArray[Any]
) -> None:
    """Fill `out`, the variable's shape with `rows` along `axis`, with values as they are stored.

    `fd` is the open file. Raises BadData, OSError, RuntimeError: they cannot be read.
    """
    storage = variable.along(variable.dimensions[axis])
    if isinstance(storage, Slow):
        out[...] = _library(source).read_slowly(source, variable, axis, rows)
    else:
        read_rows(fd, storage, variable.stored, axis, rows, out)


class Library(Protocol):
    """What a module of a format has, beside `describe`."""

    def read_raw(self, source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]: ...

    def read_slowly(self, source: Source, variable: Variable, axis: int, rows: range) -> NDArray[Any]: ...


def _library(source: Source) -> Library:
    return zarrs if source.format == "zarr" else netcdf
