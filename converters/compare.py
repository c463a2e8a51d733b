"""Do two datasets, each a store or source files, hold the same? Value by value, a block at a time.

Stores are read through xarray's engine and files through their own library, NetCDF4 in a process of its own: nothing
here knows how a conversion reads or writes, so that it may judge one.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, product
from math import isfinite, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.attributes import natural
from maelio.converters.expected import Side as Reader
from maelio.converters.expected import expected
from maelio.converters.groups import Level, visible
from maelio.converters.hdf5 import hdf5
from maelio.converters.isolation import Died
from maelio.converters.locate import named
from maelio.converters.netcdf import apart, dimensions
from maelio.converters.netcdf4 import check_tables, check_types
from maelio.converters.origin import Located
from maelio.converters.remote import located
from maelio.converters.signature import KnownFormat, Unknown, identify
from maelio.converters.source import extent
from maelio.converters.xarrays import brief
from maelio.converters.zarrs import is_consolidated
from maelio.errors import BadData, BadRequest, Inconsistent, MaelioError
from maelio.store import open_store

BLOCK_VALUES = 2**21  # held at once, from each side

_ENGINES = {"netcdf3": "netcdf4", "netcdf4": "netcdf4"}  # of xarray, by what a file is
_DAMAGED = (OSError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, OverflowError)
_NUMBERS = "fiub"
_TEXT = "SUTO"  # one text may be any of these dtypes


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two datasets differ; `variable` is None for the dataset's own attributes.

    Of values, `found` and `wanted` are those `where` they lie farthest apart, or one is missing; `count` of
    `values` differ, by at most `largest`, in the variable's unit (None where no pair of them is numbers).
    """

    variable: str | None
    what: str
    found: str
    wanted: str
    where: str | None = None
    count: int | None = None
    values: int | None = None
    largest: float | None = None

    def __str__(self) -> str:
        facts = f"found {self.found}, wanted {self.wanted}"
        name = "dataset" if self.variable is None else self.variable
        if self.count is None:
            return f"{name}: {self.what}: {facts}"
        by = "" if self.largest is None else f", by {self.largest:g} at most"
        at = f" at {self.where}" if self.where else ""
        return f"{name}: {self.count} of {self.values} values differ{by};{at} {facts}"


def compare(
    wanted: object, found: object, *, within: Mapping[str, float] | None = None, group: str = ""
) -> list[Difference]:
    """Names, dimensions, attributes, calendars and values. Empty where nothing differs.

    A side is a store, a file, or files that follow each other in time, put in order as `convert` does it, named as
    `locate.named` has it; URLs are fetched into a temporary folder. Of files, a `group` may be compared.
    Where a store has statistics over a dimension that the other side still has, those of the other side are compared
    with them, within what rounding explains. NaN equals NaN. A variable in `within` may be off by that much, in its
    unit, and have another dtype.

    Raises:
        BadRequest: a variable of `within` is not there, or its tolerance is not a number.
        NotFound, NotPermitted, BadData, Inconsistent: a side cannot be read.
    """
    tolerances = dict(within or {})
    with TemporaryDirectory(prefix="maelio-") as folder:
        one, other = _open(wanted, Path(folder, "wanted"), group), _open(found, Path(folder, "found"), group)
        left, right = expected(one, other, other.store), expected(other, one, one.store)
        try:
            _check_tolerances(left, tolerances)
            return list(_differences(left, right, tolerances))
        finally:
            for part in (*one.parts, *other.parts):
                part.close()
            if any((*one.elsewhere, *other.elsewhere)):
                hdf5.call(0, _close_all)


def _check_tolerances(side: Reader, tolerances: Mapping[str, float]) -> None:
    for name, tolerance in tolerances.items():
        if name not in side.model.variables:
            known = ", ".join(map(str, side.model.data_vars))
            raise BadRequest(
                f"{side.name}: no variable {name!r} to compare within {tolerance}; there are {known}"
            )
        if not (isfinite(tolerance) and tolerance >= 0):
            raise BadRequest(f"tolerance {tolerance} for {name!r}: wanted a number from 0 on")


@dataclass(frozen=True, eq=False)
class _Side:
    """Datasets that follow each other along `dimension`, as one; no values are held.

    `elsewhere`: of each, where it is if another process shall read its values.
    """

    name: str
    parts: tuple[xr.Dataset, ...]
    elsewhere: tuple["_Apart | None", ...]
    dimension: str | None = None
    starts: tuple[int, ...] = field(default=(0,))
    store: Path | None = None

    @property
    def model(self) -> xr.Dataset:
        return self.parts[0]

    def shape(self, name: str) -> tuple[int, ...]:
        variable = self.model.variables[name]
        return tuple(
            self.starts[-1] if dimension == self.dimension else size
            for dimension, size in zip(variable.dims, variable.shape, strict=True)
        )

    def values_read(self, name: str) -> int:
        return 1

    def read(self, name: str, window: Mapping[str, range]) -> NDArray[Any]:
        """The values of `window`, one range for each dimension of the variable."""
        dimensions = tuple(map(str, self.model.variables[name].dims))
        if self.dimension not in dimensions:
            return self._read(0, name, window)
        rows = window[self.dimension]
        found = []
        for number, (first, stop) in enumerate(pairwise(self.starts)):
            here = range(max(rows.start, first) - first, min(rows.stop, stop) - first)
            if here:
                found.append(self._read(number, name, {**window, self.dimension: here}))
        return np.concatenate(found, dimensions.index(self.dimension))

    def _read(self, number: int, name: str, window: Mapping[str, range]) -> NDArray[Any]:
        variable, where = self.parts[number].variables[name], self.elsewhere[number]
        box = {dimension: slice(rows.start, rows.stop) for dimension, rows in window.items()}
        try:
            if where is None:
                return np.asarray(variable.isel(box).values)
            nbytes = prod(map(len, window.values())) * variable.dtype.itemsize
            return hdf5.call(nbytes, _read_apart, where, name, box)
        except (Died, OSError, RuntimeError, ValueError, OverflowError, IndexError) as error:
            path = where.place.path if where else self.name
            raise BadData(f"{path}: variable {name!r} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Apart:
    """A file, or a group of it; `extent` tells it from another one at its place."""

    place: Located
    group: str
    extent: tuple[int, int]


def _read_apart(where: _Apart, name: str, box: Mapping[str, slice]) -> NDArray[Any]:
    return np.asarray(_kept_open(where).variables[name].isel(box).values)


@lru_cache(maxsize=64)
def _kept_open(where: _Apart) -> xr.Dataset:
    return _opened(where.place, where.group)


def _close_all() -> None:
    """Nobody else may write to a file while HDF5 has it open."""
    _kept_open.cache_clear()
    gc.collect()


def _open(side: object, folder: Path, group: str) -> _Side:
    places = located(named(side), folder, group)
    paths = [place.path for place in places]
    parts = [_dataset(place, group) for place in places]
    elsewhere = [
        _Apart(place, group, extent(place.path)) if _known(place.path) == "netcdf4" else None
        for place in places
    ]
    name = str(paths[0])
    if len(parts) == 1:
        store = paths[0] if _engine(paths[0]) == "maelio" else None
        return _Side(name, (parts[0],), (elsewhere[0],), store=store)
    dimension = _joined(paths, parts)
    order = list(range(len(parts)))
    if dimension in parts[0].indexes:
        try:
            order.sort(key=lambda number: parts[number].indexes[dimension][0])
        except TypeError as error:
            raise Inconsistent(f"{name} and the files beside it differ in calendar: {error}") from error
    starts = np.cumsum([0, *(parts[number].sizes[dimension] for number in order)])
    return _Side(
        name,
        tuple(parts[number] for number in order),
        tuple(elsewhere[number] for number in order),
        dimension,
        tuple(starts.tolist()),
    )


def _dataset(place: Located, group: str) -> xr.Dataset:
    path = place.path
    if _known(path) == "netcdf4":
        return apart(path, path.stat().st_size, _look_over, place, group)
    return _opened(place, group)


def _look_over(place: Located, group: str) -> xr.Dataset:
    """A NetCDF4 file of which all headers are whole; where that goes to another process, nobody has it open."""
    check_types(place.path, "")
    check_tables(place.path)
    opened = _opened(place, group)
    opened.set_close(None)
    return opened


def _opened(place: Located, group: str) -> xr.Dataset:
    path = place.path
    engine = _engine(path)
    try:
        if engine == "zarr":
            where = path / group.strip("/") if place.origin is None else place.origin.url
            consolidated = place.origin is not None and is_consolidated(
                path
            )  # a server need not list folders
            opened: xr.Dataset = xr.open_zarr(
                where, chunks=None, consolidated=consolidated, decode_timedelta=False
            )
            return opened
        if group and engine == "netcdf4":
            return _group(path, group)
        return xr.open_dataset(path, engine=engine, cache=False, decode_timedelta=False)
    except _DAMAGED as error:
        if isinstance(error, MaelioError):
            raise
        raise BadData(f"{path} cannot be opened: {brief(error)}") from error


def _group(path: Path, group: str) -> xr.Dataset:
    """A group, with what describes it in the groups around it."""
    check_types(path, group)
    levels = [
        Level(
            place,
            own,
            xr.open_dataset(path, engine="netcdf4", group=place or None, decode_cf=False, cache=False),
        )
        for place, own in dimensions(path, group).items()
    ]
    variables = {name: level.dataset.variables[name] for name, level in visible(levels).items()}
    merged = xr.Dataset(variables, attrs=levels[-1].dataset.attrs)
    decoded = xr.decode_cf(merged, decode_timedelta=False)

    def close() -> None:
        for level in levels:
            level.dataset.close()

    decoded.set_close(close)
    return decoded


def _engine(path: Path) -> str | None:
    """Of xarray; None where it shall find one itself."""
    kind = _known(path)
    if kind is None:
        return None
    if kind != "zarr":
        if kind not in _ENGINES:
            raise BadRequest(f"{path}: {kind} files are not compared; compare a store that was made of them")
        return _ENGINES[kind]
    try:
        open_store(path)
    except BadData:
        return "zarr"
    return "maelio"


def _known(path: Path) -> KnownFormat | None:
    try:
        return identify(path)
    except Unknown:
        return None


def _joined(paths: Sequence[Path], parts: Sequence[xr.Dataset]) -> str:
    """The dimension along which files follow each other: the one with times, else the unlimited one."""
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        if missing := first.variables.keys() ^ part.variables.keys():
            raise Inconsistent(f"{path}: variable {min(map(str, missing))!r} is not in all of the files")
    times = [str(name) for name in first.dims if name in first.indexes and _is_time(first.variables[name])]
    unlimited = sorted(map(str, first.encoding.get("unlimited_dims", ())))
    for candidates in (times, unlimited):
        if len(candidates) == 1:
            return candidates[0]
    raise BadRequest(
        f"{paths[0]}: several files, but no dimension of times along which they follow each other"
    )


def _is_time(variable: xr.Variable) -> bool:
    return "calendar" in variable.encoding or variable.dtype.kind == "M"


def _differences(wanted: Reader, found: Reader, within: Mapping[str, float]) -> Iterator[Difference]:
    yield from _attributes(None, found.model.attrs, wanted.model.attrs)
    for name in map(
        str, (*wanted.model.variables, *(found.model.variables.keys() - wanted.model.variables.keys()))
    ):
        there = [("present" if name in side.model.variables else "missing") for side in (found, wanted)]
        if there[0] != there[1]:
            yield Difference(name, "variable", there[0], there[1])
        else:
            yield from _of_variable(name, wanted, found, within.get(name))


def _of_variable(name: str, wanted: Reader, found: Reader, within: float | None) -> Iterator[Difference]:
    one, other = found.model.variables[name], wanted.model.variables[name]
    yield from _attributes(name, one.attrs, other.attrs)
    if _is_time(one) and _is_time(other):
        calendars = one.encoding.get("calendar"), other.encoding.get("calendar")
        if calendars[0] != calendars[1]:
            yield Difference(name, "calendar", str(calendars[0]), str(calendars[1]))
            return
    if not _same_kind(one.dtype, other.dtype):
        yield Difference(name, "dtype", str(one.dtype), str(other.dtype))
        return
    if (
        within is None
        and one.dtype.newbyteorder("=") != other.dtype.newbyteorder("=")
        and one.dtype.kind not in _TEXT
    ):
        yield Difference(name, "dtype", str(one.dtype), str(other.dtype))
    sizes = [
        {
            str(dimension): size
            for dimension, size in zip(side.model.variables[name].dims, side.shape(name), strict=True)
        }
        for side in (found, wanted)
    ]
    if list(sizes[0].items()) != list(sizes[1].items()):
        yield Difference(name, "dimensions", _sizes(sizes[0]), _sizes(sizes[1]))
        return
    if different := _values(name, wanted, found, sizes[1], within):
        yield different


def _same_kind(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    return (
        any(one.kind in kinds and other.kind in kinds for kinds in (_NUMBERS, _TEXT))
        or one.kind == other.kind
    )


def _sizes(sizes: Mapping[str, int]) -> str:
    return f"({', '.join(f'{name}: {size}' for name, size in sizes.items())})"


def _attributes(
    name: str | None, found: Mapping[Any, Any], wanted: Mapping[Any, Any]
) -> Iterator[Difference]:
    one, other = natural(found), natural(wanted)
    for key in (*other, *(key for key in one if key not in other)):
        if key not in one or key not in other or one[key] != other[key]:
            left, right = (repr(side[key]) if key in side else "nothing" for side in (one, other))
            yield Difference(name, f"attribute {key!r}", left, right)


def _values(
    name: str, wanted: Reader, found: Reader, sizes: Mapping[str, int], within: float | None
) -> Difference | None:
    count, largest, farthest = 0, None, -1.0
    place: tuple[int, ...] = ()
    pair: tuple[Any, Any] = (None, None)
    chunk = tuple(max(_chunk(side, name, dimension) for side in (found, wanted)) for dimension in sizes)
    most = BLOCK_VALUES // max(side.values_read(name) for side in (found, wanted))
    for block in blocks(tuple(sizes.values()), chunk, max(1, most)):
        window = dict(zip(sizes, block, strict=True))
        one, other = found.read(name, window), wanted.read(name, window)
        differs = unequal(one, other)
        if not differs.any():
            continue
        apart = distances(one[differs], other[differs])
        if within is not None:
            beyond = ~(apart <= within)  # so written, NaN is beyond too
            differs[differs] = beyond
            apart = apart[beyond]
        if not len(apart):
            continue
        count += len(apart)
        if not np.isnan(apart).all():
            largest = max(float(np.nanmax(apart)), -1.0 if largest is None else largest)
        far = np.where(np.isnan(apart), np.inf, apart)
        at = int(far.argmax())
        if far[at] > farthest:
            farthest = float(far[at])
            local = np.argwhere(differs)[at]
            place = tuple(rows.start + int(index) for rows, index in zip(block, local, strict=True))
            pair = one[tuple(local)], other[tuple(local)]
    if not count:
        return None
    where = ", ".join(
        f"{dimension}={_label(wanted, dimension, index)}"
        for dimension, index in zip(sizes, place, strict=True)
    )
    return Difference(
        variable=name,
        what="values",
        found=str(pair[0]),
        wanted=str(pair[1]),
        where=where or None,
        count=count,
        values=prod(sizes.values()),
        largest=largest,
    )


def _chunk(side: Reader, name: str, dimension: str) -> int:
    return int(side.model.variables[name].encoding.get("preferred_chunks", {}).get(dimension, 1))


def _label(side: Reader, dimension: str, index: int) -> str:
    """The coordinate at `index`, or the index itself where there is none."""
    if dimension not in side.model.variables:
        return str(index)
    (value,) = side.read(dimension, {dimension: range(index, index + 1)})
    return str(value).removesuffix(".000000000")  # of datetime64


def blocks(shape: Sequence[int], chunk: Sequence[int], most: int) -> Iterator[tuple[range, ...]]:
    """Cut an array into boxes of at most `most` values: whole chunks where those fit, in C order.

    Every index is in exactly one box.
    """
    sizes = [max(1, min(wanted, size)) for wanted, size in zip(chunk, shape, strict=True)]
    for axis in range(len(sizes)):
        sizes[axis] = max(1, min(sizes[axis], sizes[axis] * most // prod(sizes)))
    for axis in reversed(range(len(sizes))):
        sizes[axis] = min(shape[axis], sizes[axis] * max(1, most // max(prod(sizes), 1)))
    axes = (
        [range(first, min(first + size, whole)) for first in range(0, whole, max(size, 1))]
        for size, whole in zip(sizes, shape, strict=True)
    )
    return product(*axes)


def unequal(found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays of one shape differ; what is missing in both does not."""
    differs = np.asarray(found != wanted, bool)
    if differs.any():
        differs &= ~(_missing(found) & _missing(wanted))
    return differs


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """NaN and NaT alone differ from themselves; so asked, any object may be."""
    itself = values
    return np.asarray(values != itself, bool)


def distances(found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """How far apart unequal values are; NaN where they are not two numbers."""
    if found.dtype.kind not in _NUMBERS or wanted.dtype.kind not in _NUMBERS:
        return np.full(len(found), np.nan)
    if found.dtype == wanted.dtype and found.dtype.kind in "iu":
        apart = np.where(found > wanted, found - wanted, wanted - found)  # modulo 2**n: right as unsigned
        return np.asarray(apart.view(f"u{apart.itemsize}"), np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.abs(found.astype(np.float64) - wanted.astype(np.float64)))
