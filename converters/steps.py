"""From values as a file holds them to values as a block holds them: small steps in a chain, decided before reading.

    read -> unpack or mask -> round or cast

A chain knows the memory of each of its steps, and the plan's limit counts that: a step cannot forget it. Where
no step needs memory of its own, values are read straight into the block and changed there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.formats import read_stored, reading_bytes
from maelio.converters.options import Options
from maelio.converters.rounding import SCRATCH_BYTES, round_within
from maelio.converters.samples import Box, Samples
from maelio.converters.source import Source, Variable, decode
from maelio.converters.storage import Part, Parts
from maelio.errors import BadData
from maelio.store import StackedArray

Field = NDArray[Any]


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
        raw = xr.Variable(held.dimensions, field, dict(held.attributes))
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
    """`read` is the dtype that reading gives. `direct`: all happens in the block, nothing else is needed."""

    read: np.dtype[Any]
    direct: bool
    steps: tuple[Step, ...]
    finish: Finish

    def run(self, read: Callable[[Field], None], out: Field) -> None:
        """Let `read` fill a field of the file's dimensions, and make `out`, any strides, of it.

        Raises FloatingPointError, BadData: a value does not fit `out`.
        """
        field = out if self.direct else np.empty(out.shape, self.read)
        with np.errstate(over="raise"):
            read(field)
        for step in self.steps:
            field = step(field)
        self.finish(field, out)

    def scratch(self, values: int) -> int:
        """Bytes that are held besides `out` and by reading itself, for a field of so many values."""
        buffer = 0 if self.direct else values * self.read.itemsize
        return buffer + sum(step.scratch(values) for step in self.steps) + self.finish.scratch


def chain(variable: Variable, dtype: np.dtype[Any], bound: float | None) -> Chain:
    """How values of `variable` become `dtype`, none farther off than `bound` in the variable's unit."""
    steps: tuple[Step, ...] = ()
    if variable.packed:
        steps = (Unpack(variable),)
    elif variable.fills:
        steps = (Mask(variable.fills),)
    # reading casts, but what is looked at or rounded must not have been cast before
    direct = not variable.packed and (variable.decoded == dtype or (not steps and bound is None))
    native = variable.stored.newbyteorder("=")
    finish: Finish = Cast()
    if bound is not None:
        finish = Round(bound)
    elif direct:
        finish = Stay()
    return Chain(native, direct, steps, finish)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """What fills variable `number` of an array from one file.

    `axes` are the file's axes in the order of a block: those of the samples, `drawn` of them, then the others. Of
    axes in `parts` only those are taken.
    """

    number: int
    variable: Variable
    axes: tuple[int, ...]
    drawn: int
    parts: Parts
    chain: Chain

    def fill(self, fd: int, source: Source, rows: range, within: Box, out: Field) -> None:
        """Fill `out` (sample, *rest) with `rows` along the samples' first axis, `within` along their others.

        `fd` is the open file. Raises BadData: naming the file and the variable.
        """
        split = out.reshape(len(rows), *map(len, within), *out.shape[1:])  # a view
        in_file = split.transpose(np.argsort(self.axes))
        self.read(fd, source, rows, {**self.parts, **self.taken(within)}, in_file)

    def taken(self, within: Box) -> dict[int, Part]:
        """Of each of the samples' axes but the first, what `within` takes of what is taken at all."""
        return {
            axis: self.parts.get(axis, _whole(self.variable.shape[axis])).take(places)
            for axis, places in zip(self.axes[1 : self.drawn], within, strict=True)
        }

    def read(self, fd: int, source: Source, rows: range, parts: Parts, out: Field) -> None:
        """Fill `out`, which has the file's dimensions, with `rows` of the first sample axis and `parts` of others."""

        def read(field: Field) -> None:
            read_stored(fd, source, self.variable, self.axes[0], rows, field, parts)

        name = self.variable.name
        try:
            self.chain.run(read, out)
        except FloatingPointError:
            raise BadData(f"{source.path}: variable {name!r} has values that overflow {out.dtype}") from None
        except (BadData, OSError, RuntimeError) as error:
            raise BadData(f"{source.path}: variable {name!r}: {error}") from error

    def bytes(self, rows: int, values: int) -> int:
        """The most that reading `rows` rows, of which `values` values are taken, holds besides the block."""
        return reading_bytes(self.variable, self.axes[0], rows) + self.chain.scratch(values)


def feeds(
    array: StackedArray, source: Source, samples: Samples, parts: Mapping[str, Part], options: Options
) -> tuple[Feed, ...]:
    """How each variable of `array` comes out of `source`."""
    return tuple(
        _feed(number, source.variables[name], array, samples, parts, options.max_error.get(name))
        for number, name in enumerate(array.variables)
    )


def _feed(
    number: int,
    variable: Variable,
    array: StackedArray,
    samples: Samples,
    parts: Mapping[str, Part],
    bound: float | None,
) -> Feed:
    names = (*samples.dimensions, *array.dimensions[2:])
    return Feed(
        number=number,
        variable=variable,
        axes=tuple(variable.dimensions.index(name) for name in names),
        drawn=len(samples.dimensions),
        parts={axis: parts[name] for axis, name in enumerate(variable.dimensions) if name in parts},
        chain=chain(variable, array.dtype, bound),
    )


def _whole(size: int) -> Part:
    return Part(size, (range(size),))


def filling_bytes(array: StackedArray, samples: Samples, feeds: Sequence[Feed]) -> int:
    """The most that filling one shard holds besides its block: one variable is on its way at a time."""
    rows = max(1, array.rows_per_shard // samples.width)  # whole ones; parts of one are read apart
    values = array.rows_per_shard * array.row_bytes // array.dtype.itemsize // len(array.variables)
    return max(feed.bytes(rows, values) for feed in feeds)
