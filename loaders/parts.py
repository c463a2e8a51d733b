"""Which part of its rows a tensor of a batch holds, and which inner chunks of the store that takes.

    row (variable, level, latitude)      chunks of (2, all, all)      asked: variables 1 and 4, levels 0 to 9

    0 1 | 2 3 | 4 5                      chunk 0: [1:2, 0:10] to [0:1]       chunk 1 is not read
      ^         ^                        chunk 2: [0:1, 0:10] to [1:2]

Arithmetic alone: no file is opened.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.store import StackedArray

Runs = tuple[range, ...]
Slices = tuple[slice, ...]

_WASTE_BYTES = 2**15  # reading these costs less than a call to read what lies behind them


@dataclass(frozen=True, slots=True)
class Box:
    """``out[target] = chunk[source]``, along (variable, *rest)."""

    source: Slices
    target: Slices


@dataclass(frozen=True, slots=True)
class Piece:
    """What the inner chunk `number` of a row gives to it. `whole`: all of the chunk, as it is stored."""

    number: int
    boxes: tuple[Box, ...]
    whole: bool


@dataclass(frozen=True)
class Part:
    """The indexes `runs` of each axis (variable, *rest) of the rows of `array`, in that order.

    `drawn` are the sizes of windows that stand elsewhere in every sample, by axis; `runs` are then all
    indexes in which they may stand. `shape` is of one row as delivered, `held` before windows are drawn.
    """

    array: StackedArray
    runs: tuple[Runs, ...]
    drawn: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def whole(cls, array: StackedArray) -> "Part":
        return cls(array, tuple((range(size),) for size in array.row_shape))

    @property
    def held(self) -> tuple[int, ...]:
        return tuple(sum(map(len, runs)) for runs in self.runs)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.drawn.get(axis, size) for axis, size in enumerate(self.held))

    @property
    def row_bytes(self) -> int:
        return prod(self.shape) * self.array.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        return prod(self.held) * self.array.dtype.itemsize

    @property
    def room(self) -> tuple[int, ...]:
        """For each drawn window, in the order of the axes, the places in which it may begin."""
        return tuple(self.held[axis] - size + 1 for axis, size in sorted(self.drawn.items()))

    @cached_property
    def indexes(self) -> tuple[NDArray[np.int64], ...]:
        """The indexes of each axis, in the order of the tensor."""
        return tuple(np.concatenate([np.array(run, np.int64) for run in runs]) for runs in self.runs)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(self.array.variables[number] for number in self.indexes[0].tolist())

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The chunks that a row takes, before windows are drawn."""
        return pieces(self.array, self.runs)

    def pieces_at(self, corner: Sequence[int]) -> tuple[Piece, ...]:
        """The chunks that a row takes whose windows begin at `corner`."""
        begin = dict(zip(sorted(self.drawn), corner, strict=True))
        return pieces(
            self.array,
            tuple(
                (range(runs[0].start + begin[axis], runs[0].start + begin[axis] + self.drawn[axis]),)
                if axis in begin
                else runs
                for axis, runs in enumerate(self.runs)
            ),
        )

    def window(self, corner: Sequence[int]) -> Slices:
        """The window that begins at `corner`, of a row as `held`."""
        begin = dict(zip(sorted(self.drawn), corner, strict=True))
        return tuple(
            slice(begin[axis], begin[axis] + self.drawn[axis]) if axis in begin else slice(None)
            for axis in range(len(self.runs))
        )


def runs_of(indexes: Sequence[int]) -> Runs:
    """Consecutive indexes as ranges, in order."""
    found: list[range] = []
    for index in indexes:
        if found and found[-1].stop == index:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return tuple(found)


def pieces(array: StackedArray, runs: Sequence[Runs]) -> tuple[Piece, ...]:
    """The inner chunks of a row that hold `runs`, in order, and what each gives."""
    chunk = array.chunk_shape[1:]
    grid = [ceil(size / along) for size, along in zip(array.row_shape, chunk, strict=True)]
    boxes: dict[int, list[Box]] = {}
    for cells in product(*(tuple(_cells(*axis)) for axis in zip(runs, chunk, strict=True))):
        place, source, target = zip(*cells, strict=True)
        boxes.setdefault(int(np.ravel_multi_index(place, grid)), []).append(Box(source, target))
    everything = tuple(slice(0, size) for size in chunk)
    return tuple(
        Piece(number, tuple(found), whole=[box.source for box in found] == [everything])
        for number, found in sorted(boxes.items())
    )


def _cells(runs: Runs, chunk: int) -> Iterator[tuple[int, slice, slice]]:
    """Along one axis: the chunk, what is taken of it, and where that goes."""
    done = 0
    for run in runs:
        for first in range(run.start - run.start % chunk, run.stop, chunk):
            begin, end = max(run.start, first), min(run.stop, first + chunk)
            yield first // chunk, slice(begin - first, end - first), slice(done, done + end - begin)
            done += end - begin


def spans(source: Slices, shape: Sequence[int], itemsize: int) -> list[tuple[int, int]]:
    """Ranges of the values of a C-contiguous chunk that cover ``chunk[source]``, and little else."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    sizes = [along.stop - along.start for along in source]

    def hull(axis: int) -> int:
        """From the first to behind the last value, with one index along every axis before `axis`."""
        inner = zip(sizes[axis:], strides[axis:], strict=True)
        last: int = sum((size - 1) * stride for size, stride in inner)
        return last + 1

    axis = next(a for a in range(len(shape) + 1) if (hull(a) - prod(sizes[a:])) * itemsize <= _WASTE_BYTES)
    first = sum(along.start * stride for along, stride in zip(source, strides, strict=True))
    begins = [
        first + sum(step * stride for step, stride in zip(steps, strides, strict=False))
        for steps in np.ndindex(*sizes[:axis])
    ]
    return [(begin, begin + hull(axis)) for begin in begins]


def extents(part: Part, alone: bool) -> Iterator[tuple[int, int, int]]:
    """Of each chunk of a row that holds some of `part`: its number, the first byte to read, and how many; 0: all.

    `alone`: the bytes that are wanted are read alone; none where windows are drawn, which stand elsewhere each time.
    """
    if alone and part.drawn:
        return
    size = part.array.dtype.itemsize
    for piece in part.pieces:
        if piece.whole or not alone:
            yield piece.number, 0, 0
        else:
            for box in piece.boxes:
                for begin, end in spans(box.source, part.array.chunk_shape[1:], size):
                    yield piece.number, begin * size, (end - begin) * size


def corners(samples: NDArray[np.int64], *, seed: int, epoch: int, room: Sequence[int]) -> NDArray[np.int64]:
    """Where the windows of each sample begin: a function of its number, the seed and the epoch alone.

    Shape: (sample, window), each from 0 up to below its `room`. Source: the mixing function of SplitMix64,
    Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators", as published by Vigna.
    """
    key = _mix(_mix(np.array([seed % 2**64], np.uint64)) + np.uint64(epoch))
    windows: NDArray[np.uint64] = np.arange(1, len(room) + 1, dtype=np.uint64)
    keys = _mix(key + samples.astype(np.uint64))[:, None] + windows
    uniform = (_mix(keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    drawn: NDArray[Any] = np.floor(uniform * np.array(room, np.float64))
    return drawn.astype(np.int64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = state + np.uint64(0x9E3779B97F4A7C15)  # of arrays: wraps around, as it should
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
