"""Samples that are whole series: the sources are read once, slab by slab, and every slab goes to every shard.

    steps     0 .............................. T     of the joined dimension, in files of any length
    slabs     |    0    |    1    |    2    |3 |     as many steps as the memory holds, of all samples
    shard 0   chunks 0 | chunks 1 | chunks 2 | chunks 3 | index
    shard 1   chunks 0 | chunks 1 | chunks 2 | chunks 3 | index

So a shard is only ever appended to, and no copy of the data stands between sources and store. A source chunk that
holds steps of two slabs is decoded once: what belongs to the second waits in memory. Pure arithmetic; `sweep`
carries it out.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod

from maelio.converters import layout
from maelio.converters.moments import scratch_bytes
from maelio.converters.options import Options
from maelio.converters.samples import Box, Samples
from maelio.converters.source import Variable
from maelio.converters.steps import Feed
from maelio.converters.storage import Slow
from maelio.converters.times import Joined, Run
from maelio.errors import BadRequest
from maelio.files import show_bytes
from maelio.store import StackedArray

READ_VALUES = 2**18  # of one task, where source chunks are smaller
_SHARE = 0.6  # of the memory for a slab, where that is enough: the rest lets several threads work
_HEADERS = 8192  # of compressed chunks, at most


@dataclass(frozen=True, slots=True)
class Read:
    """`rows` of a file that are the steps from `step` on; `within` of the dimension that the feed is cut along."""

    file: int
    feed: int
    rows: range
    step: int
    within: Box


@dataclass(frozen=True, slots=True)
class Slab:
    """The steps of slab `number`, of the variables of `piece`: what is read, written and committed together."""

    array: str
    piece: int
    number: int


@dataclass(frozen=True)
class Series:
    """An array of samples that are series along the joined dimension, and how its values come out of each file.

    Shape of the array: (sample, variable, step, *rest). `fields` are its other dimensions in the order of the files;
    the feeds of a file may be cut along one of them, so that threads share a step. `reading_bytes`: the most that one
    thread holds to fill its part.
    """

    array: StackedArray
    samples: Samples
    joined: Joined
    feeds: Sequence[Sequence[Feed]]
    fields: tuple[str, ...]
    reading_bytes: int = 0

    @property
    def steps(self) -> int:
        return self.joined.count

    @property
    def length(self) -> int:
        """Steps of a slab."""
        return self.array.chunk_shape[2]

    @property
    def slabs(self) -> tuple[Slab, ...]:
        """In the order in which shards get them."""
        return tuple(
            Slab(self.array.name, piece, number)
            for piece in range(self.array.pieces)
            for number in range(self.array.cuts)
        )

    @cached_property
    def field_shape(self) -> tuple[int, ...]:
        """Of one step of one variable, as the files have it."""
        sizes = dict(zip(self.samples.dimensions, self.samples.shape, strict=True))
        sizes |= dict(zip(self.array.dimensions[3:], self.array.shape[3:], strict=True))
        return tuple(sizes[name] for name in self.fields)

    @property
    def field_values(self) -> int:
        return prod(self.field_shape)

    def steps_of(self, slab: Slab) -> range:
        return range(slab.number * self.length, min((slab.number + 1) * self.length, self.steps))

    def variables_of(self, slab: Slab) -> range:
        width = self.array.chunk[1]
        return range(slab.piece * width, min((slab.piece + 1) * width, self.array.shape[1]))

    def feeds_of(self, slab: Slab) -> range:
        """Numbers of the feeds that fill its variables."""
        variables = self.variables_of(slab)
        found = [number for number, feed in enumerate(self.feeds[0]) if feed.numbers.start in variables]
        return range(found[0], found[-1] + 1)

    @property
    def widths(self) -> Iterator[int]:
        """How many variables may take turns, the most first: so many divide them, and no feed is divided."""
        count = self.array.shape[1]
        for width in range(count, 0, -1):
            whole = all(
                feed.numbers.start // width == (feed.numbers.stop - 1) // width for feed in self.feeds[0]
            )
            if count % width == 0 and whole:
                yield width

    def bytes_of(self, slab: Slab) -> int:
        """Decoded, without what waits for the next slab."""
        values = len(self.variables_of(slab)) * len(self.steps_of(slab)) * self.field_values
        return values * self.array.dtype.itemsize

    def chunk_steps(self, file: int, number: int) -> int:
        """Steps of a source chunk of feed `number`."""
        feed = self.feeds[file][number]
        chunks = feed.variable.chunks
        return chunks[feed.drawn[0]] if chunks else 1

    @cached_property
    def longest_chunk(self) -> int:
        numbers = range(len(self.feeds[0]))
        return max(self.chunk_steps(run.file, number) for run in self.joined.runs for number in numbers)

    @cached_property
    def longest_run(self) -> int:
        return max(len(run.rows) for run in self.joined.runs)

    def end(self, number: int, stop: int) -> int:
        """The step behind the source chunk of feed `number` that holds the step before `stop`."""
        if not 0 < stop < self.steps:
            return stop
        row, run, left = self._locate(stop - 1)
        chunk = self.chunk_steps(run.file, number)
        return stop + min(left, (row // chunk + 1) * chunk - row) - 1

    def _locate(self, step: int) -> tuple[int, Run, int]:
        """The row that a step is in its file, the run that it belongs to, and the steps from it to the run's end."""
        at = bisect_right(self._starts, step) - 1
        run = self.joined.runs[at]
        return run.rows.start + step - self._starts[at], run, self._starts[at + 1] - step

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return self.joined.starts

    @cached_property
    def waiting(self) -> int:
        """The most steps that wait in memory for the next slab."""
        ends = range(self.length, self.steps, self.length)
        return max(
            (self.end(number, end) - end for number in range(len(self.feeds[0])) for end in ends), default=0
        )

    @property
    def slab_bytes(self) -> int:
        return (
            (self.length + self.waiting) * self.array.chunk[1] * self.field_values * self.array.dtype.itemsize
        )

    @property
    def worker_bytes(self) -> int:
        """The most that one thread holds besides the slab: what it reads through, or a chunk on its way out."""
        values = prod(self.array.chunk_shape)
        writing = 3 * self.array.chunk_bytes + _HEADERS + scratch_bytes(values)
        return max(writing, self.reading_bytes)

    def most_read(self) -> int:
        return max(self._reading_bytes(feed) for feeds in self.feeds for feed in feeds)

    def _reading_bytes(self, feed: Feed) -> int:
        rows, size, whole = self._task(feed)
        values = ceil(rows * self.field_values * size / whole)
        reading = feed.bytes(rows, values)
        if isinstance(feed.variable.along(self.joined.dimension), Slow):  # it is asked for the wanted box
            reading = ceil(reading * size / whole)
        return reading

    def reads(self, number: int, first: int, stop: int) -> Iterator[Read]:
        """All steps of feed `number` from `first` up to the end of the source chunk that holds the last one.

        Each source chunk is in one of them, but for one that `first` cuts.
        """
        last = self.end(number, stop)
        while first < last:
            row, run, left = self._locate(first)
            feed = self.feeds[run.file][number]
            rows, size, whole = self._task(feed)
            count = min(left, last - first, rows - row % rows)
            for place in range(0, whole, size):
                within = (range(place, min(place + size, whole)),) if len(feed.drawn) > 1 else ()
                yield Read(run.file, number, range(row, row + count), first, within)
            first += count

    def _task(self, feed: Feed) -> tuple[int, int, int]:
        """What one thread reads at once, in whole source chunks: rows, and how many of how many indexes along its cut."""
        chunks = feed.variable.chunks
        rows = chunks[feed.drawn[0]] if chunks else 1
        rows = max(rows, min(self.longest_run, READ_VALUES // self.field_values) // rows * rows)
        if len(feed.drawn) == 1:
            return rows, 1, 1
        axis = feed.drawn[1]
        whole = len(feed.part(axis))
        if not chunks or axis in feed.parts:
            return rows, whole, whole
        count = ceil(whole / chunks[axis])
        at_once = max(1, READ_VALUES * count // (rows * self.field_values))
        return rows, min(whole, at_once * chunks[axis]), whole


def cut_along(variables: Iterable[Variable], fields: Sequence[str], but: Collection[str]) -> str | None:
    """Which of `fields` threads share: the one with the most chunks, if any has several; none of `but`."""
    most, found = 1, None
    for held in (variable.held for variable in variables):
        for name in fields:
            axis = held.dimensions.index(name)
            count = ceil(held.shape[axis] / held.chunks[axis]) if held.chunks else 1
            if count > most and name not in but:
                most, found = count, name
    return found


def plan_series(whole: Series, options: Options, memory: int) -> Series:
    """Cut `whole`, an array in one slab, so that it fits `memory`.

    Slabs are as long as fits, in whole source chunks, and of equal length as far as that goes; where all variables
    together do not fit, they take turns.

    Raises BadRequest: not even the steps of one source chunk fit.
    """
    for width in whole.widths:
        for share in (_SHARE, 1.0):
            if found := _longest(whole, width, share, options, memory):
                return found
    least = _cut(whole, min(whole.widths), whole.longest_chunk, options)
    raise BadRequest(
        f"one thread needs {show_bytes(least.slab_bytes + least.worker_bytes)} for {whole.joined.dimension} 0 to "
        f"{least.length + least.waiting - 1} of {whole.array.name!r}, which source chunks hold together; the limit is "
        f"{show_bytes(options.memory)}; raise --memory"
    )


def _longest(whole: Series, width: int, share: float, options: Options, memory: int) -> Series | None:
    """The fewest slabs whose steps take up to `share` of the memory."""
    chunk = whole.longest_chunk
    step_bytes = width * whole.field_values * whole.array.dtype.itemsize
    chunks = min(int(memory * share) // (chunk * step_bytes), ceil(whole.steps / chunk))
    while chunks > 0:
        slabs = ceil(whole.steps / (chunks * chunk))
        even = ceil(ceil(whole.steps / slabs) / chunk)
        for candidate in dict.fromkeys((even, chunks)):
            found = _cut(whole, width, candidate * chunk, options)
            fits = found.slab_bytes + found.worker_bytes <= memory
            if fits and found.slab_bytes <= memory * share:
                return found
        chunks -= max(1, chunks // 16)
    return None


def _cut(whole: Series, width: int, steps: int, options: Options) -> Series:
    array = whole.array
    steps = min(steps, whole.steps)
    cut_bytes = width * steps * prod(array.shape[3:]) * array.dtype.itemsize
    rows = layout.series_per_chunk(cut_bytes, array.row_bytes, array.samples, whole.samples.width)
    made = replace(
        array,
        chunk=(rows, width),
        length=steps if steps < whole.steps else None,
        rows_per_shard=layout.rows_per_shard(array.row_bytes, array.samples, rows, options.shard_bytes, 1),
    )
    return replace(whole, array=made)
