"""Decide everything before a byte is written: which rows of which files make which shard.

    files      0: rows 0..11        1: rows 0..11        2: rows 0..11
    samples    0 ................................................... 36
    regions    |   shard 0 of fields   |   shard 1 of fields   | ...

A region is one shard: the unit of memory, of retry and of commit. Where samples are whole series along the
dimension that joins the files, there are no regions: `slabs` has the picture. The plan is a value; `describe` prints it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from pydantic import JsonValue

from maelio.converters.moments import scratch_bytes
from maelio.converters.options import Options
from maelio.converters.samples import Box, Samples, boxes
from maelio.converters.slabs import Series, cut_along
from maelio.converters.source import Reduced, Source
from maelio.converters.steps import Feed, feeds, filling_bytes
from maelio.converters.storage import Part, Slow
from maelio.converters.times import Joined
from maelio.files import show_bytes
from maelio.store import StackedArray

_HEADERS = 8192  # of compressed chunks, at most
_JOURNAL = 2  # what is told of a region that is done: a conversion that tells less is not gone on with
_HOLES = 1.5  # malloc keeps what is freed in pieces that the next request may not fit: 1.3 to 1.45 observed


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file that become samples `into`, `into` + 1, ... of a region.

    Where samples are drawn from several dimensions, `within` are the indexes taken of all but the first.
    """

    file: int
    rows: range
    into: int
    within: Box = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *map(len, self.within))

    @property
    def samples(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Region:
    """One shard of one array, and where its samples come from; `feeds` say how, by file and variable.

    `options` say which values are refused.
    """

    array: StackedArray
    shard: int
    samples: Samples
    pieces: tuple[Piece, ...]
    feeds: Sequence[Sequence[Feed]]
    options: Options

    @property
    def rows(self) -> range:
        return self.array.rows_of(self.shard)

    @property
    def bytes(self) -> int:
        return len(self.rows) * self.array.row_bytes


@dataclass(frozen=True)
class Plan:
    """All that a conversion will do. `levels` names the vertical dimension of an array, where it has one.

    `joined` are the rows of the files: along the first of the samples' dimensions, or along another, and samples are
    series then. `parts` are what is taken of other dimensions, where it is not everything. `accepted`: problems of the
    sources that a policy takes, and what is done about each, a line each. `carried_bytes` are of coordinates and the
    like, which are held from the beginning to the end.
    """

    joined: Joined
    samples: Samples
    sources: tuple[Source, ...]
    arrays: tuple[StackedArray, ...]
    levels: Mapping[str, str | None]
    options: Options
    parts: Mapping[str, Part] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    carried_bytes: int = 0

    @property
    def regions(self) -> tuple[Region, ...]:
        if self.series:
            return ()
        return tuple(
            Region(
                array,
                shard,
                self.samples,
                tuple(pieces(array.rows_of(shard), self.joined, self.samples)),
                self.feeds[array.name],
                self.options,
            )
            for array in self.arrays
            for shard in range(array.shards)
        )

    @property
    def shards(self) -> frozenset[tuple[str, int]]:
        """Every shard of every array, by name and number."""
        return frozenset((array.name, shard) for array in self.arrays for shard in range(array.shards))

    @cached_property
    def feeds(self) -> Mapping[str, Sequence[tuple[Feed, ...]]]:
        """How the variables of each array come out of each file."""
        return {
            array.name: [
                feeds(array, source, self.samples.dimensions, array.dimensions[2:], self.parts, self.options)
                for source in self.sources
            ]
            for array in self.arrays
        }

    @cached_property
    def series(self) -> Mapping[str, Series]:
        """The arrays as series along the joined dimension. Empty where they are cut into regions."""
        if self.joined.dimension in self.samples.dimensions:
            return {}
        return {
            array.name: as_series(array, self.sources, self.joined, self.samples, self.parts, self.options)
            for array in self.arrays
        }

    @property
    def bytes(self) -> int:
        return sum(array.samples * array.row_bytes for array in self.arrays)

    @property
    def workers(self) -> int:
        """Threads that work: as many as asked for, as there are regions, and as the memory holds."""
        fitting = (self.options.memory - self.held_bytes) // self.worker_bytes
        return max(1, min(self.options.threads, len(self.regions) or self.options.threads, fitting))

    @property
    def slab_bytes(self) -> int:
        """Of a slab of series, which all workers share."""
        return max((each.slab_bytes for each in self.series.values()), default=0)

    @property
    def held_bytes(self) -> int:
        """What is held whatever the workers do."""
        return self.carried_bytes + self.slab_bytes

    @property
    def worker_bytes(self) -> int:
        return max(map(self.worker_bytes_of, self.arrays))

    def worker_bytes_of(self, array: StackedArray) -> int:
        """What one worker holds while it makes a shard of `array`, or its part of a slab."""
        if self.series:
            return self.series[array.name].worker_bytes
        return worker_bytes(array, self.samples, self.feeds[array.name][0])

    @property
    def peak_bytes(self) -> int:
        """The most that is held at once: computed here, kept by `region` and `sweep`."""
        return self.held_bytes + self.workers * self.worker_bytes

    @property
    def digest(self) -> str:
        """Same digest, same bytes: what a resumed conversion is recognised by."""
        identity = {
            "sources": [
                (source.identity, sorted(source.flipped), sorted(source.absent)) for source in self.sources
            ],
            "messages": self.options.on.get("duplicate"),
            "joined": repr(self.joined),
            "group": self.options.group,
            "samples": repr(self.samples),
            "parts": sorted(map(repr, self.parts.items())),
            "reduce": sorted(map(repr, self.options.reduce.items())),
            "bounds": sorted(map(repr, self.options.max_error.items())),
            "arrays": [[repr(array)] for array in self.arrays],
            "journal": _JOURNAL,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def derived(self) -> list[str]:
        """Variables that are made of others, and how."""
        variables = [self.sources[0].variables[name] for name in self.stacked]
        return [
            f"{variable.name} is the {made.statistic} of {made.of.name} over {made.dimension!r}"
            for variable in variables
            if isinstance(made := variable.storage, Reduced)
        ]

    def slow(self) -> dict[str, str]:
        """Variables that go through their file's own library, and why."""
        return {
            f"{source.path.name}:{name}": storage.reason
            for source in self.sources
            for name in self.stacked
            if isinstance(storage := source.variables[name].along(self.joined.dimension), Slow)
        }

    @property
    def stacked(self) -> tuple[str, ...]:
        return tuple(name for array in self.arrays for name in array.variables)

    def recorded(self) -> dict[str, JsonValue]:
        """The options, and what was accepted: what a store says about how it was made."""
        return {**self.options.recorded(), "accepted": [*self.accepted]}

    def to_json(self) -> dict[str, JsonValue]:
        return {
            "sources": [source.identity[0] for source in self.sources],
            "sample_dimensions": dict(zip(self.samples.dimensions, self.samples.shape, strict=True)),
            "samples": self.samples.count,
            "joined_along": self.joined.dimension,
            "decoded_bytes": self.bytes,
            "peak_bytes": self.peak_bytes,
            **self.recorded(),
            "arrays": [
                {
                    "name": array.name,
                    "dimensions": [*array.dimensions],
                    "shape": [*array.shape],
                    "dtype": array.dtype.name,
                    "variables": [*array.variables],
                    "chunk_shape": [*array.chunk_shape],
                    "chunk_bytes": array.chunk_bytes,
                    "shards": array.shards,
                    "rows_per_shard": array.rows_per_shard,
                }
                for array in self.arrays
            ],
            "slow": dict(self.slow()),
        }

    def describe(self) -> str:
        size = f"{show_bytes(self.bytes)} decoded, format {self.options.format}, codec {self.options.codec}"
        lines = [f"{len(self.sources)} file(s), {self.samples}, {size}"]
        for array in self.arrays:
            shape = ", ".join(
                f"{name}: {size}" for name, size in zip(array.dimensions, array.shape, strict=True)
            )
            shard = f"{array.rows_per_shard} samples, {show_bytes(array.rows_per_shard * array.row_bytes)}"
            lines.append(f"{array.name} {array.dtype} ({shape}): {', '.join(array.variables)}")
            lines.append(f"    chunk {array.chunk_shape} of {show_bytes(array.chunk_bytes)}")
            lines.append(f"    {array.shards} shard(s) of {shard}")
        lines += [f"derived: {text}" for text in self.derived()]
        lines += [f"accepted: {note}" for note in self.accepted]
        if lossy := self.options.lossy():
            lines.append(f"lossy: {'; '.join(lossy)}")
        lines += [f"slow: {name} through its own library ({reason})" for name, reason in self.slow().items()]
        work = f"{len(self.regions)} region(s)"
        if self.series:
            slabs = sum(len(each.slabs) for each in self.series.values())
            steps = max(each.length for each in self.series.values())
            work = f"one pass in {slabs} slab(s) of up to {steps} steps of {self.joined.dimension!r}"
        lines.append(f"{work}, {self.workers} thread(s), at most {show_bytes(self.peak_bytes)} of memory")
        return "\n".join(lines)


def as_series(
    array: StackedArray,
    sources: Sequence[Source],
    joined: Joined,
    samples: Samples,
    parts: Mapping[str, Part],
    options: Options,
) -> Series:
    """`array` as series along the joined dimension, cut as it says."""
    dimensions = sources[0].variables[array.variables[0]].dimensions
    fields = tuple(name for name in dimensions if name != joined.dimension)
    each = []
    for source in sources:
        cut = cut_along(
            [source.variables[name] for name in array.variables], fields, {*parts, *source.flipped}
        )
        drawn = [joined.dimension, *([cut] if cut else [])]
        rest = [name for name in fields if name != cut]
        each.append(feeds(array, source, drawn, rest, parts, options))
    whole = Series(array, samples, joined, each, fields)
    return replace(whole, reading_bytes=whole.most_read())


def pieces(numbers: range, joined: Joined, samples: Samples) -> Iterator[Piece]:
    """Where the samples with these `numbers`, a region's, come from."""
    into = 0
    for rows, *within in boxes(samples.shape, numbers):
        for run in joined.take([rows]).runs:
            piece = Piece(run.file, run.rows, into, tuple(within))
            yield piece
            into += piece.samples


def worker_bytes(array: StackedArray, samples: Samples, feeds: Sequence[Feed]) -> int:
    """Memory of one worker: the block, one chunk to encode, and what filling it or its statistics need."""
    block = array.rows_per_shard * array.row_bytes
    encoding = 2 * array.chunk_bytes + _HEADERS
    filling = int(_HOLES * filling_bytes(array, samples, feeds))
    return block + encoding + max(filling, scratch_bytes(block // array.dtype.itemsize))
