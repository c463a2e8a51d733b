"""Carry out a plan whose samples are series: one pass over the sources, every slab appended to every shard.

    slabs.jsonl     a line a slab: bytes and CRC-32C of each chunk, and the CRC-32C of each shard up to there

A line is written when all that it tells of stands in the shards, and where a chunk lies follows from the lengths
before it. So a conversion that was killed goes on behind the last line whose checksums the shards still have. When
all slabs are done each shard gets its index, and the journal of the conversion a line for it, as for a region.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from maelio.chunktable import entries
from maelio.converters.journal import Journal
from maelio.converters.moments import Moments, join, moments, nothing
from maelio.converters.plan import Plan
from maelio.converters.region import Done, Stopped, open_source, unwanted
from maelio.converters.samples import boxes
from maelio.converters.shard import padding
from maelio.converters.slabs import Read, Series, Slab
from maelio.errors import BadData
from maelio.store import ABSENT, Shard, StackedArray, pack_index

_NAME = "slabs.jsonl"
_READ = 2**22

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What a slab added to one shard: bytes and CRC-32C of its chunks, the shard's so far, moments of its variables."""

    lengths: list[int]
    checksums: list[int]
    crc32c: int
    moments: tuple[Moments, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A slab that stands in all shards. By shard: `lengths` and `checksums` of the chunks that it added, `crc32c` so far."""

    slab: Slab
    lengths: list[list[int]]
    checksums: list[list[int]]
    crc32c: list[int]
    moments: tuple[Moments, ...]

    def to_json(self) -> bytes:
        known = {
            "array": self.slab.array,
            "piece": self.slab.piece,
            "slab": self.slab.number,
            "lengths": self.lengths,
            "checksums": self.checksums,
            "crc32c": self.crc32c,
            "moments": [each.to_json() for each in self.moments],
        }
        return json.dumps(known).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> "Entry":
        known = json.loads(line)
        found = tuple(Moments.from_json(each) for each in known["moments"])
        slab = Slab(known["array"], known["piece"], known["slab"])
        return cls(slab, known["lengths"], known["checksums"], known["crc32c"], found)


class Shards:
    """How far the shards of one array have grown."""

    def __init__(self, series: Series, folder: Path) -> None:
        array = series.array
        self.array = array
        self.paths = [folder / array.shard_key(number) for number in range(array.shards)]
        self.ends = [0] * array.shards
        self.crc32c = [0] * array.shards
        self.index = np.full((array.shards, array.chunks_per_shard, 2), ABSENT)
        self.checksums = np.zeros((array.shards, array.chunks_per_shard), np.uint32)
        self.moments: list[list[Moments]] = [[] for _ in array.variables]

    def add(self, entry: Entry) -> None:
        slab, array = entry.slab, self.array
        for shard, lengths in enumerate(entry.lengths):
            for block, (length, checksum) in enumerate(zip(lengths, entry.checksums[shard], strict=True)):
                self.ends[shard] += padding(array, self.ends[shard])
                place = (block * array.pieces + slab.piece) * array.cuts + slab.number
                self.index[shard, place] = self.ends[shard], length
                self.checksums[shard, place] = checksum
                self.ends[shard] += length
        self.crc32c = list(entry.crc32c)
        for number, found in enumerate(entry.moments, slab.piece * array.chunk[1]):
            self.moments[number].append(found)

    def cut(self, shard: int) -> None:
        """Let the file end where the shard does: what follows was never committed."""
        self.paths[shard].parent.mkdir(parents=True, exist_ok=True)
        self.paths[shard].touch()
        os.truncate(self.paths[shard], self.ends[shard])

    def finish(self, shard: int) -> Shard:
        """Append the index."""
        index = pack_index(self.index[shard])
        with open(self.paths[shard], "r+b") as file:
            file.seek(self.ends[shard])
            file.write(index)
            file.truncate()
        checksum = crc32c(index, self.crc32c[shard])
        return Shard(bytes=self.ends[shard] + len(index), crc32c=f"{checksum:08x}")


def sweep(plan: Plan, journal: Journal, folder: Path, report: Callable[[int, int, int], None]) -> list[Done]:
    """Read all sources and write all shards, but for what is done. Calls `report(slabs, bytes, resumed slabs)`.

    Raises BadData: naming the file and the variable.
    """
    if plan.shards <= journal.done.keys():
        return [journal.done[key] for key in sorted(plan.shards)]
    shards = {name: Shards(series, folder) for name, series in plan.series.items()}
    slabs = [slab for series in plan.series.values() for slab in series.slabs]
    with ThreadPoolExecutor(plan.workers, "maelio-convert") as pool, open(folder / _NAME, "a+b") as log:
        log.seek(0)
        lines = [line for line in log if line.endswith(b"\n")]
        entries = _intact([Entry.from_json(line) for line in lines], shards, pool)
        log.truncate(sum(map(len, lines[: len(entries)])))
        for entry in entries:
            shards[entry.slab.array].add(entry)
        journal.committed += len(entries)
        _all(pool, (partial(held.cut, shard) for held in shards.values() for shard in range(len(held.paths))))
        done = sum(plan.series[entry.slab.array].bytes_of(entry.slab) for entry in entries)
        report(len(entries), done, len(entries))
        pass_ = _Pass(plan, pool)
        for number, slab in enumerate(slabs[len(entries) :], len(entries) + 1):
            entry = pass_.convert(slab, shards[slab.array])
            log.write(entry.to_json())
            log.flush()
            journal.committed += 1
            shards[slab.array].add(entry)
            done += plan.series[slab.array].bytes_of(slab)
            report(number, done, len(entries))
        finished = [one for name in shards for one in _finished(plan, shards[name], pool)]
    for one in finished:
        if journal.done.get((one.array, one.shard)) != one:
            journal.commit(one)
    (folder / _NAME).unlink()
    return finished


def _finished(plan: Plan, shards: Shards, pool: ThreadPoolExecutor) -> Iterator[Done]:
    """The moments of the whole array stand with its first shard."""
    array = shards.array
    level = plan.levels[array.name]
    levels = array.shape[array.dimensions.index(level)] if level else 1
    whole = tuple(join(parts, levels) for parts in shards.moments)
    none = tuple(nothing(levels) for _ in array.variables)
    files = _all(pool, (partial(shards.finish, shard) for shard in range(array.shards)))
    for shard, file in enumerate(files):
        chunks = entries(shards.index[shard], shards.checksums[shard])
        yield Done(array.name, shard, file, None, none if shard else whole, chunks)


class _Pass:
    """The slab in memory, and how far its variables are read."""

    def __init__(self, plan: Plan, pool: ThreadPoolExecutor) -> None:
        self._plan = plan
        self._pool = pool
        self._stop = threading.Event()
        self._memory = np.empty(plan.slab_bytes, np.uint8)
        self._read: dict[tuple[str, int], int] = {}  # by array and variable, the step behind the last one

    def convert(self, slab: Slab, shards: Shards) -> Entry:
        """Read a slab, and append it to every shard."""
        series = self._plan.series[slab.array]
        held = self._block(series, slab)
        try:
            _all(self._pool, self._reads(series, slab, held))
            blocks = (
                partial(self._write, series, slab, held, shards, number)
                for number in range(len(shards.paths))
            )
            added = _all(self._pool, blocks)
        except BaseException:
            self._stop.set()
            raise
        self._keep_waiting(series, slab, held)
        levels = len(added[0].moments[0].count)
        return Entry(
            slab,
            [each.lengths for each in added],
            [each.checksums for each in added],
            [each.crc32c for each in added],
            tuple(join(parts, levels) for parts in zip(*(each.moments for each in added), strict=True)),
        )

    def _block(self, series: Series, slab: Slab) -> NDArray[Any]:
        """Shape: (variable, step, *fields)."""
        shape = (len(series.variables_of(slab)), series.length + series.waiting, *series.field_shape)
        size = prod(shape) * series.array.dtype.itemsize
        return self._memory[:size].view(series.array.dtype).reshape(shape)

    def _reads(self, series: Series, slab: Slab, held: NDArray[Any]) -> Iterator[Callable[[], None]]:
        steps, variables = series.steps_of(slab), series.variables_of(slab)
        for number in series.feeds_of(slab):
            numbers = series.feeds[0][number].numbers
            block = held[numbers.start - variables.start : numbers.stop - variables.start]
            first = max(self._read.get((slab.array, number), 0), steps.start)
            for read in series.reads(number, first, steps.stop):
                yield partial(self._fill, series, read, block[:, read.step - steps.start :])
            self._read[slab.array, number] = series.end(number, steps.stop)

    def _fill(self, series: Series, read: Read, out: NDArray[Any]) -> None:
        """Fill the first steps of `out` (variable, step, *fields)."""
        if self._stop.is_set():
            raise Stopped
        source, feed = self._plan.sources[read.file], series.feeds[read.file][read.feed]
        box = np.moveaxis(out[:, : len(read.rows)], 0, 1)  # (step, variable, *fields)
        for places in read.within:
            cut = 2 + series.fields.index(feed.variable.dimensions[feed.drawn[1]])
            box = np.moveaxis(box, cut, 1)[:, places.start : places.stop]
        with open_source(source) as fd:
            feed.fill_box(fd, source, read.rows, read.within, box)

    def _write(self, series: Series, slab: Slab, held: NDArray[Any], shards: Shards, shard: int) -> Added:
        """Append the slab's chunks to one shard."""
        array = series.array
        steps, variables = series.steps_of(slab), series.variables_of(slab)
        level = self._plan.levels[array.name]
        level_axis = 1 + array.dimensions[2:].index(level) if level else None
        levels = array.shape[array.dimensions.index(level)] if level else 1
        tile = np.empty(array.chunk_shape, array.dtype)
        lengths: list[int] = []
        checksums: list[int] = []
        found = [nothing(levels) for _ in variables]
        end, checksum = shards.ends[shard], shards.crc32c[shard]
        rows = array.rows_of(shard)
        with open(shards.paths[shard], "r+b", buffering=2**20) as file:
            file.seek(end)
            for first in range(rows.start, rows.stop, array.rows_per_chunk):
                if self._stop.is_set():
                    raise Stopped
                block = range(first, min(first + array.rows_per_chunk, rows.stop))
                _cut_out(series, held[:, : len(steps)], block, tile)
                for place, number in enumerate(variables):
                    values = tile[: len(block), place, : len(steps)]
                    of_block = moments(values, level_axis)
                    if unwanted(of_block, self._plan.options):
                        _refuse(self._plan, series, values, block, steps, number)
                    found[place] = found[place].join(of_block)
                encoded = array.codec.encode(tile)
                before = bytes(padding(array, end))
                file.write(before)
                file.write(encoded)
                checksum = crc32c(encoded, crc32c(before, checksum))
                end += len(before) + len(encoded)
                lengths.append(len(encoded))
                checksums.append(crc32c(encoded))
        return Added(lengths, checksums, checksum, tuple(found))

    def _keep_waiting(self, series: Series, slab: Slab, held: NDArray[Any]) -> None:
        """What was read beyond the slab begins the next one."""
        stop, first = series.steps_of(slab).stop, series.variables_of(slab).start
        for number in series.feeds_of(slab):
            waiting = series.end(number, stop) - stop
            numbers = series.feeds[0][number].numbers
            block = held[numbers.start - first : numbers.stop - first]
            block[:, :waiting] = block[:, series.length : series.length + waiting]


def _cut_out(series: Series, held: NDArray[Any], samples: range, tile: NDArray[Any]) -> None:
    """Fill `tile` (sample, variable, step, *rest) with `samples` of `held` (variable, step, *fields); fill its rest."""
    array = series.array
    names = (*series.samples.dimensions, array.dimensions[2], *array.dimensions[3:])
    axes = [1 if name == array.dimensions[2] else 2 + series.fields.index(name) for name in names]
    ordered = held.transpose(0, *axes)  # (variable, *samples, step, *rest)
    steps = held.shape[1]
    if len(samples) < len(tile) or len(held) < tile.shape[1] or steps < tile.shape[2]:
        tile[...] = array.fill_value
    into = 0
    for box in boxes(series.samples.shape, samples):
        count = prod(map(len, box))
        for place, values in enumerate(ordered):
            target = tile[into : into + count, place, :steps]
            target.reshape(*map(len, box), *target.shape[1:])[...] = values[
                tuple(slice(taken.start, taken.stop) for taken in box)
            ]
        into += count


def _refuse(
    plan: Plan, series: Series, values: NDArray[Any], samples: range, steps: range, number: int
) -> None:
    """Raises BadData: naming the file, the variable and the place of the first value that is not wanted."""
    bad = ~np.isfinite(values) if "non-finite" in plan.options.on else np.isinf(values)
    sample, step, *_ = (int(index) for index in np.argwhere(bad)[0])
    (run,) = series.joined.take([range(steps[step], steps[step] + 1)]).runs
    feed = next(feed for feed in series.feeds[run.file] if number < feed.numbers.stop)
    place = np.unravel_index(samples[sample], series.samples.shape)
    at = [(series.joined.dimension, run.rows.start)]
    for name, index in zip(series.samples.dimensions, place, strict=True):
        part = feed.part(feed.variable.dimensions.index(name))
        at.append((name, int(part.indexes()[int(index)])))
    raise BadData(
        f"{plan.sources[run.file].path}: variable {series.array.variables[number]!r} is {values[bad][0]} at "
        f"{', '.join(f'{name} {index}' for name, index in at)}, wanted a finite value; --on non-finite=allow takes it"
    )


def _intact(entries: Sequence[Entry], shards: dict[str, Shards], pool: ThreadPoolExecutor) -> list[Entry]:
    """The first of `entries`, as far as every shard still has what they tell. Reads all shards once."""
    checks = (
        partial(_intact_in, entries, held.array, path, number)
        for held in shards.values()
        for number, path in enumerate(held.paths)
    )
    return list(entries[: min(_all(pool, checks), default=0)]) if entries else []


def _intact_in(entries: Sequence[Entry], array: StackedArray, path: Path, shard: int) -> int:
    """How many of `entries` one shard bears out."""
    end, checksum = 0, 0
    try:
        with open(path, "rb", buffering=0) as file:
            for number, entry in enumerate(entries):
                if entry.slab.array != array.name:
                    continue
                start = end
                for length in entry.lengths[shard]:
                    end += padding(array, end) + length
                left = end - start
                while left and (part := file.read(min(left, _READ))):
                    checksum, left = crc32c(part, checksum), left - len(part)
                if left or checksum != entry.crc32c[shard]:
                    return number
    except FileNotFoundError:
        return next(
            (number for number, entry in enumerate(entries) if entry.slab.array == array.name), len(entries)
        )
    return len(entries)


def _all(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]]) -> list[T]:
    """The results in order. What the first failing task raises, once those that have begun are at their end."""
    running: list[Future[T]] = [pool.submit(task) for task in tasks]
    try:
        return [future.result() for future in running]
    except BaseException:
        for future in running:
            future.cancel()
        raise
