"""A part of a dataset by labels, as `Dataset.sel` takes it: text to indexes, before any field is read.

    time=2000-01-01:2000-12-31      from the first to the last, both included
    time=2000-01,2000-07            all of two months
    level=850,500,250               these labels, in this order
    x=0:100                         positions, the end not included: x has no coordinate
    x=0:100:4                       every fourth of them; of labels too: latitude=60:30:2
    time=2000-01:2000-03,2001-01    ranges and labels, one behind the other

Labels are looked up by xarray's own indexes, so that the result is that of `Dataset.sel`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.storage import Part
from maelio.errors import BadRequest

Positions = NDArray[np.int64]

_DATE = re.compile(r"[+-]?\d{4,}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?)?")
_STEP = re.compile(r"0*[1-9]\d*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def subset(
    select: Mapping[str, str], sizes: Mapping[str, int], coordinates: Mapping[str, xr.Variable]
) -> dict[str, Positions]:
    """The indexes that `select` takes of each dimension it names, in the order in which it asks for them.

    `sizes` are of all dimensions; `coordinates` are not decoded.

    Raises BadRequest: there is no such dimension or label, or nothing is left; the message says what there is.
    """
    taken = {}
    for dimension, text in select.items():
        if dimension not in sizes:
            raise BadRequest(f"--select {dimension}={text}: no such dimension; there are {', '.join(sizes)}")
        coordinate = coordinates.get(dimension)
        if coordinate is not None and coordinate.dims != (dimension,):
            coordinate = None
        taken[dimension] = _positions(dimension, text, sizes[dimension], coordinate)
    return taken


def runs(positions: Positions) -> tuple[range, ...]:
    """Consecutive indexes as ranges, in order."""
    if not len(positions):
        return ()
    cuts = np.flatnonzero(np.diff(positions) != 1) + 1
    return tuple(range(int(part[0]), int(part[-1]) + 1) for part in np.split(positions, cuts))


def part(positions: Positions, size: int) -> Part:
    return Part(size, runs(positions))


def as_range(text: str) -> tuple[str, str] | None:
    """`start:stop`, where both are dates or both are numbers and each may be left out; None for anything else.

    `2000-01-01T06:00` has a colon and is no range: its two sides are not of one kind.
    """
    for at in (number for number, letter in enumerate(text) if letter == ":"):
        sides = text[:at].strip(), text[at + 1 :].strip()
        if any(all(not side or kind.fullmatch(side) for side in sides) for kind in (_DATE, _NUMBER)):
            return sides
    return None


def as_slice(text: str) -> tuple[str, str, int | None] | None:
    """As `as_range`, with a step behind it or None: every how manieth. What can be read without a step has none.

    `2000-01-01T00:2000-01-01T18:30` ends at half past six.
    """
    if sides := as_range(text):
        return (*sides, None)
    between, _, step = text.rpartition(":")
    if (sides := as_range(between)) and _STEP.fullmatch(step.strip()):
        return (*sides, int(step))
    return None


def _positions(dimension: str, text: str, size: int, coordinate: xr.Variable | None) -> Positions:
    index = _index(dimension, size, coordinate)
    times = dimension in index.coords and index[dimension].dtype.kind in "MO" and _is_time(coordinate)
    found = []
    for label in (_wanted(each.strip(), times, index) for each in text.split(",")):
        try:
            found.append(np.atleast_1d(index.sel({dimension: label}).values))
        except (KeyError, IndexError, ValueError, TypeError):
            found.append(np.empty(0, np.int64))
        if not found[-1].size:
            raise BadRequest(
                f"--select {dimension}={text}: {_shown(label)} not found; {dimension!r} {_extent(index, dimension)}"
            )
    return np.concatenate(found)


def _wanted(text: str, times: bool, index: xr.DataArray) -> Any:
    """A range or a label, as `sel` takes it so that a range comes out."""
    if between := as_slice(text):
        start, stop, step = between
        first, last = (_label(side, times, index) if side else None for side in (start, stop))
        return slice(first, last, step)
    if times:
        return slice(text, text)  # `2000-01` is all of January
    return [_label(text, times, index)]


def _index(dimension: str, size: int, coordinate: xr.Variable | None) -> xr.DataArray:
    """Positions, found by the decoded coordinate where there is one."""
    positions = xr.Dataset({"position": (dimension, np.arange(size, dtype=np.int64))})
    if coordinate is not None:
        positions = xr.decode_cf(positions.assign({dimension: coordinate}), decode_timedelta=False)
    return positions["position"]


def _is_time(coordinate: xr.Variable | None) -> bool:
    return coordinate is not None and " since " in str(coordinate.attrs.get("units", ""))


def _label(text: str, times: bool, index: xr.DataArray) -> Any:
    if times or not _NUMBER.fullmatch(text):
        return text
    (dimension,) = index.dims
    if dimension in index.coords and index[dimension].dtype.kind not in "fiu":
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _shown(label: Any) -> str:
    if not isinstance(label, slice):
        return ", ".join(map(str, label))
    if label.start == label.stop:
        return str(label.start)
    between = ":".join("" if side is None else str(side) for side in (label.start, label.stop))
    return between if label.step is None else f"{between}:{label.step}"


def _extent(index: xr.DataArray, dimension: str) -> str:
    if dimension not in index.coords:
        return f"has no coordinate and positions 0 to {index.size - 1}"
    values = index[dimension].values
    if index.size <= 12 and values.dtype.kind in "fiuUSO" and not hasattr(values[0], "calendar"):
        return f"has {', '.join(map(str, values))}"
    first, last = (str(value).removesuffix(".000000000") for value in (values[0], values[-1]))
    return f"runs from {first} to {last}"
