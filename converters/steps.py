"""From values as a file holds them to values as a block holds them: small steps in a chain, decided before reading.

    read -> unpack or mask -> reduce -> round or cast

A chain knows the memory of each of its steps, and the plan's limit counts that: a step cannot forget it. Where
no step needs memory of its own, values are read straight into the block and changed there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maelio.converters.formats import read_stored, reading_bytes
from maelio.converters.options import Options
from maelio.converters.reduction import Reduce
from maelio.converters.rounding import SCRATCH_BYTES, round_within
from maelio.converters.samples import Box, Samples
from maelio.converters.source import Reduced, Source, Variable, decode, plain_variable
from maelio.converters.storage import Chunked, Part, Parts
from maelio.errors import BadData, NotFound, NotPermitted
from maelio.store import StackedArray

Field = NDArray[Any]

_AT_ONCE = 64 * 2**20  # bytes, at most, of the rows that are reduced together


class Step(Protocol):
    """One field to the next, which may be the same array, changed."""

    def __call__(self, field: Field) -> Field: ...

    def scratch(self, values: int) -> int:
        """Bytes that are held besides a field of so many values, the next field among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Unpack:
    """Integers with scale, offset and fill values as floats: see `decode`."""

    variable: Variable

    def __call__(self, field: Field) -> Field:
        held = self.variable
        raw = plain_variable(held.dimensions, field, held.attributes)
        values: Field = decode(held.name, raw).values
        return values

    def scratch(self, values: int) -> int:
        return 2 * values * self.variable.decoded.itemsize


@dataclass(frozen=True, slots=True)
class Mask:
    """NaN in place of the values that stand for "missing", where they are."""

    fills: tuple[Any, ...]

    def __call__(self, field: Field) -> Field:
        for fill in self.fills:
            field[field == fill] = np.nan
        return field

    def scratch(self, values: int) -> int:
        return values


class Finish(Protocol):
    """The last step: a field into its place `out` in the block, of the same shape, any dtype and strides."""

    def __call__(self, field: Field, out: Field) -> None: ...

    @property
    def scratch(self) -> int:
        """Bytes that are held besides both."""


@dataclass(frozen=True, slots=True)
class Stay:
    """The field was read into its place."""

    scratch: int = 0

    def __call__(self, field: Field, out: Field) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Cast:
    """Raises FloatingPointError: a value overflows."""

    scratch: int = 0

    def __call__(self, field: Field, out: Field) -> None:
        with np.errstate(over="raise"):
            out[...] = field


@dataclass(frozen=True, slots=True)
class Round:
    """See `round_within`. Raises BadData."""

    bound: float
    scratch: int = SCRATCH_BYTES

    def __call__(self, field: Field, out: Field) -> None:
        round_within(field, self.bound, out)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """`read` is the dtype that reading gives. `direct`: all happens in the block, nothing else is needed.

    `finish` has a last step for each variable that is made: one, or the statistics of `reduce` in their order.
    """

    read: np.dtype[Any]
    direct: bool
    steps: tuple[Step, ...]
    reduce: Reduce | None
    finish: tuple[Finish, ...]

    def run(self, read: Callable[[Field], None], shape: tuple[int, ...], outs: Sequence[Field]) -> None:
        """Let `read` fill a field of `shape`, the file's dimensions, and make each of `outs`, any strides, of it.

        Raises FloatingPointError, BadData: a value does not fit its place.
        """
        field = outs[0] if self.direct else np.empty(shape, self.read)
        with np.errstate(over="raise"):
            read(field)
        for step in self.steps:
            field = step(field)
        made = self.reduce(field) if self.reduce else (field,)
        for values, finish, out in zip(made, self.finish, outs, strict=True):
            finish(values, out)

    def scratch(self, values: int) -> int:
        """Bytes that are held besides `outs` and by reading itself, for a field of so many values."""
        buffer = 0 if self.direct else values * self.read.itemsize
        steps = sum(step.scratch(values) for step in self.steps)
        reducing = self.reduce.scratch(values) if self.reduce else 0
        return buffer + steps + reducing + max(finish.scratch for finish in self.finish)


def chain(
    variable: Variable, dtype: np.dtype[Any], bounds: Sequence[float | None], reduce: Reduce | None = None
) -> Chain:
    """How values of `variable` become `dtype`, or statistics of them do.

    None of what is made is farther off than its bound in `bounds`, in the variable's unit.
    """
    steps: tuple[Step, ...] = ()
    if variable.packed:
        steps = (Unpack(variable),)
    elif variable.fills:
        steps = (Mask(variable.fills),)
    # reading casts, but what is looked at or rounded must not have been cast before
    alone = reduce is None and not variable.packed
    direct = alone and (variable.decoded == dtype or (not steps and bounds == [None]))
    unrounded: Finish = Stay() if direct else Cast()
    finish = tuple(unrounded if bound is None else Round(bound) for bound in bounds)
    return Chain(variable.stored.newbyteorder("="), direct, steps, reduce, finish)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """What fills the variables `numbers` of an array: from `variable` of one file, read once.

    `drawn` are the file's axes of the samples. `axes` are the axes of what is made in the order of a block: those
    of the samples, then the others. Of axes in `parts` only those are taken. No more than `rows_at_once` are on their
    way at a time.
    """

    numbers: slice
    variable: Variable
    drawn: tuple[int, ...]
    axes: tuple[int, ...]
    parts: Parts
    rows_at_once: int | None
    chain: Chain

    def fill(self, fd: int, source: Source, rows: range, within: Box, out: Field) -> None:
        """Fill `out` (sample, variable, *rest): `rows` along the samples' first axis, `within` along their others.

        `fd` is the open file. Raises BadData: naming the file and the variable; NotFound, NotPermitted: a server says so.
        """
        self.fill_box(fd, source, rows, within, out.reshape(len(rows), *map(len, within), *out.shape[1:]))

    def fill_box(self, fd: int, source: Source, rows: range, within: Box, out: Field) -> None:
        """The same, into `out` (row, *within, variable, *rest), any strides."""
        count = self.rows_at_once or len(rows)
        for first in range(0, len(rows), count):
            self._fill(fd, source, rows[first : first + count], within, out[first : first + count])

    def _fill(self, fd: int, source: Source, rows: range, within: Box, out: Field) -> None:
        parts = {**self.parts, **self.taken(within)}

        def read(field: Field) -> None:
            read_stored(fd, source, self.variable, self.drawn[0], rows, field, parts)

        shape = taken_shape(self.variable, {**parts, self.drawn[0]: _whole(len(rows))})
        places = np.moveaxis(out, 1 + len(within), 0).transpose(0, *(1 + np.argsort(self.axes)))
        name = self.variable.name
        try:
            self.chain.run(read, shape, tuple(places))
        except FloatingPointError:
            raise BadData(f"{source.path}: variable {name!r} has values that overflow {out.dtype}") from None
        except (NotFound, NotPermitted):  # a server's answer, which names all that
            raise
        except (BadData, OSError, RuntimeError) as error:
            raise BadData(f"{source.path}: variable {name!r}: {error}") from error

    def part(self, axis: int) -> Part:
        """What is taken of an axis of the file."""
        return self.parts.get(axis) or _whole(self.variable.shape[axis])

    def taken(self, within: Box) -> dict[int, Part]:
        """Of each of the samples' axes but the first, what `within` takes of what is taken at all."""
        return {
            axis: self.part(axis).take(places) for axis, places in zip(self.drawn[1:], within, strict=True)
        }

    def bytes(self, rows: int, values: int) -> int:
        """The most that making `values` values of `rows` rows holds besides the block."""
        at_once = min(rows, self.rows_at_once or rows)
        members = self.chain.reduce.members if self.chain.reduce else 1
        held = self.chain.scratch(values * at_once // rows * members)
        return reading_bytes(self.variable, self.drawn[0], at_once) + held


def taken_shape(variable: Variable, parts: Parts) -> tuple[int, ...]:
    return tuple(len(parts[axis]) if axis in parts else size for axis, size in enumerate(variable.shape))


def feeds(
    array: StackedArray,
    source: Source,
    drawn: Sequence[str],
    rest: Sequence[str],
    parts: Mapping[str, Part],
    options: Options,
) -> tuple[Feed, ...]:
    """How the variables of `array` come out of `source`: those made of the same one by one feed.

    Of the dimensions of its blocks `drawn` are the samples', the others are `rest`.
    """
    made = [source.variables[name] for name in array.variables]
    found: list[Feed] = []
    for _, group in groupby(enumerate(made), lambda numbered: id(numbered[1].held)):
        numbers, variables = zip(*group, strict=True)
        into = slice(numbers[0], numbers[-1] + 1)
        found.append(_feed(into, variables, array.dtype, drawn, rest, parts, options))
    return tuple(found)


def _feed(
    numbers: slice,
    variables: Sequence[Variable],
    dtype: np.dtype[Any],
    drawn: Sequence[str],
    rest: Sequence[str],
    parts: Mapping[str, Part],
    options: Options,
) -> Feed:
    held = variables[0].held
    axes = tuple(held.dimensions.index(name) for name in drawn)
    taken = {axis: parts[name] for axis, name in enumerate(held.dimensions) if name in parts}
    bounds = [options.max_error.get(variable.name) for variable in variables]
    reduce, rows_at_once = None, None
    if statistics := [v.storage for v in variables if isinstance(v.storage, Reduced)]:
        over = held.dimensions.index(statistics[0].dimension)
        shape = taken_shape(held, taken)
        most = min(_AT_ONCE, options.memory // 8)
        rows_at_once = _rows_at_once(held, axes[0], prod(shape) // max(shape[axes[0]], 1), most)
        reduce = Reduce(
            over, shape[over], tuple(each.statistic for each in statistics), options.on.get("non-finite")
        )
    return Feed(
        numbers=numbers,
        variable=held,
        drawn=axes,
        axes=tuple(variables[0].dimensions.index(name) for name in (*drawn, *rest)),
        parts=taken,
        rows_at_once=rows_at_once,
        chain=chain(held, dtype, bounds, reduce),
    )


def _rows_at_once(variable: Variable, axis: int, row_values: int, most: int) -> int:
    """Rows of at most `most` bytes together, one at least: whole chunks of the file where those fit."""
    rows = max(1, most // (row_values * variable.stored.itemsize))
    if isinstance(variable.storage, Chunked) and rows >= (chunk := variable.storage.shape[axis]):
        return rows // chunk * chunk
    return rows


def _whole(size: int) -> Part:
    return Part(size, (range(size),))


def filling_bytes(array: StackedArray, samples: Samples, feeds: Sequence[Feed]) -> int:
    """The most that filling one shard holds besides its block: one feed works at a time."""
    rows = max(1, array.rows_per_shard // samples.width)  # whole ones; parts of one are read apart
    values = array.rows_per_shard * array.row_bytes // array.dtype.itemsize // len(array.variables)
    return max(feed.bytes(rows, values) for feed in feeds)
