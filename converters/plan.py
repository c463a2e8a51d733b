"""Decide everything before a byte is written: which rows of which files make which shard.

    files      0: rows 0..11        1: rows 0..11        2: rows 0..11
    samples    0 ................................................... 36
    regions    |   shard 0 of fields   |   shard 1 of fields   | ...

A region is one shard: the unit of memory, of retry and of commit. The plan is a value; `describe` prints it.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pydantic import JsonValue

from maelio.codecs import Codec, CodecName
from maelio.converters import layout
from maelio.converters.dimensions import Samples
from maelio.converters.source import Source, Variable
from maelio.converters.storage import Chunks, Slow
from maelio.errors import BadRequest
from maelio.files import show_bytes
from maelio.store import VARIABLE, StackedArray

_NAMES = {1: "scalars", 2: "profiles"}  # by number of dimensions without `variable`; others are "fields"
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a conversion.

    `samples`: the dimension that training draws samples from (default: time). `variables`: keep only these.
    `shard_bytes`, `memory`: bytes of a shard, and the most that all `threads` together may hold.
    """

    samples: str | None = None
    variables: tuple[str, ...] | None = None
    codec: CodecName = "lz4"
    shard_bytes: int = 64 * 2**20
    memory: int = 2 * 2**30
    threads: int = 2
    allow_gaps: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file that become rows `into`, `into` + 1, ... of a region."""

    file: int
    rows: range
    into: int


@dataclass(frozen=True, slots=True)
class Region:
    """One shard of one array, and where its rows come from."""

    array: StackedArray
    shard: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> range:
        return self.array.rows_of(self.shard)

    @property
    def bytes(self) -> int:
        return len(self.rows) * self.array.row_bytes


@dataclass(frozen=True)
class Plan:
    """All that a conversion will do. `levels` names the vertical dimension of an array, where it has one."""

    samples: Samples
    sources: tuple[Source, ...]
    arrays: tuple[StackedArray, ...]
    levels: Mapping[str, str | None]
    options: Options

    @property
    def regions(self) -> tuple[Region, ...]:
        starts = self.samples.starts
        return tuple(
            Region(array, shard, tuple(pieces(array.rows_of(shard), starts)))
            for array in self.arrays
            for shard in range(array.shards)
        )

    @property
    def bytes(self) -> int:
        return sum(array.samples * array.row_bytes for array in self.arrays)

    @property
    def peak_bytes(self) -> int:
        """The most that the workers hold together: computed here, kept by `regions`."""
        workers = min(self.options.threads, len(self.regions))
        return workers * max(worker_bytes(array, self.sources[0]) for array in self.arrays)

    @property
    def digest(self) -> str:
        """Same digest, same bytes: what a resumed conversion is recognised by."""
        identity = {
            "sources": [(str(source.path), source.bytes, source.modified_ns) for source in self.sources],
            "samples": self.samples.dimension,
            "arrays": [[repr(array)] for array in self.arrays],
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def slow(self) -> dict[str, str]:
        """Variables that go through their file's own library, and why."""
        return {
            f"{source.path.name}:{name}": storage.reason
            for source in self.sources
            for name in self.stacked
            if isinstance(storage := source.variables[name].along(self.samples.dimension), Slow)
        }

    @property
    def stacked(self) -> tuple[str, ...]:
        return tuple(name for array in self.arrays for name in array.variables)

    def to_json(self) -> dict[str, JsonValue]:
        return {
            "sources": [str(source.path) for source in self.sources],
            "sample_dimension": self.samples.dimension,
            "samples": self.samples.count,
            "decoded_bytes": self.bytes,
            "peak_bytes": self.peak_bytes,
            "codec": self.options.codec,
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
        count = f"{self.samples.count} samples along {self.samples.dimension!r}"
        size = f"{show_bytes(self.bytes)} decoded, codec {self.options.codec}"
        count = f"{self.samples.count} samples along {self.samples.dimension!r}"
        size = f"{show_bytes(self.bytes)} decoded, codec {self.options.codec}"
        lines = [f"{len(self.sources)} file(s), {count}, {size}"]
        for array in self.arrays:
            shape = ", ".join(
                f"{name}: {size}" for name, size in zip(array.dimensions, array.shape, strict=True)
            )
            shard = f"{array.rows_per_shard} samples, {show_bytes(array.rows_per_shard * array.row_bytes)}"
            lines.append(f"{array.name} {array.dtype} ({shape}): {', '.join(array.variables)}")
            lines.append(f"    chunk {array.chunk_shape} of {show_bytes(array.chunk_bytes)}")
            lines.append(f"    {array.shards} shard(s) of {shard}")
        lines += [f"slow: {name} through its own library ({reason})" for name, reason in self.slow().items()]
        lines.append(
            f"{len(self.regions)} region(s), {min(self.options.threads, len(self.regions))} thread(s), "
            f"at most {show_bytes(self.peak_bytes)} of memory"
        )
        return "\n".join(lines)


def pieces(rows: range, starts: Sequence[int]) -> Iterator[Piece]:
    """Cut global `rows` where files begin; `starts` are the first rows of the files and the end of the last."""
    row = rows.start
    while row < rows.stop:
        file = bisect_right(starts, row) - 1
        stop = min(rows.stop, starts[file + 1])
        yield Piece(file, range(row - starts[file], stop - starts[file]), row - rows.start)
        row = stop


def make_plan(sources: Sequence[Source], samples: Samples, stacked: Sequence[str], options: Options) -> Plan:
    """Group the `stacked` variables into arrays and cut those into shards that fit the memory.

    Raises:
        BadRequest: not even shards of one chunk fit `options.memory`.
    """
    if options.threads < 1 or options.shard_bytes < 1:
        raise BadRequest(f"threads={options.threads}, shard size {options.shard_bytes}: wanted 1 or more")
    first = sources[0]
    groups: dict[tuple[tuple[str, ...], str], list[Variable]] = {}
    for name in stacked:
        variable = first.variables[name]
        groups.setdefault((variable.dimensions, variable.decoded.str), []).append(variable)
    arrays: list[StackedArray] = []
    taken = {*first.variables, *first.sizes}
    for variables in groups.values():
        name = _free_name(_NAMES.get(len(variables[0].dimensions), "fields"), taken)
        axis = _free_name(VARIABLE if len(groups) == 1 else f"{name}_{VARIABLE}", taken)
        arrays.append(_array(name, axis, variables, samples, options))
        taken |= {name, axis}
    levels = {array.name: _level(array, first) for array in arrays}
    return _fit(Plan(samples, tuple(sources), tuple(arrays), levels, options))


def _array(
    name: str, axis: str, variables: Sequence[Variable], samples: Samples, options: Options
) -> StackedArray:
    model = variables[0]
    rest = [
        (dimension, size)
        for dimension, size in zip(model.dimensions, model.shape, strict=True)
        if dimension != samples.dimension
    ]
    dtype = model.decoded
    row_bytes = len(variables) * prod(size for _, size in rest) * dtype.itemsize
    chunk_rows = layout.rows_per_chunk(row_bytes, samples.count)
    return StackedArray(
        name=name,
        variables=tuple(variable.name for variable in variables),
        dimensions=(samples.dimension, axis, *(dimension for dimension, _ in rest)),
        shape=(samples.count, len(variables), *(size for _, size in rest)),
        dtype=dtype,
        chunk=(chunk_rows, layout.variables_per_chunk(row_bytes, len(variables))),
        rows_per_shard=layout.rows_per_shard(
            row_bytes,
            samples.count,
            chunk_rows,
            options.shard_bytes,
            _source_rows(variables, samples.dimension),
        ),
        codec=Codec(options.codec),
    )


def _fit(plan: Plan) -> Plan:
    """Fewer rows a shard, down to one chunk, until the workers' memory fits."""
    while plan.peak_bytes > plan.options.memory:
        worst = max(plan.arrays, key=lambda array: worker_bytes(array, plan.sources[0]))
        if worst.rows_per_shard == worst.rows_per_chunk:
            raise BadRequest(
                f"{plan.options.threads} thread(s) need {show_bytes(plan.peak_bytes)} for {worst.name!r}, the limit "
                f"is {show_bytes(plan.options.memory)}; raise --memory or take fewer --threads"
            )
        chunks = worst.rows_per_shard // worst.rows_per_chunk
        smaller = replace(worst, rows_per_shard=chunks // 2 * worst.rows_per_chunk)
        plan = replace(plan, arrays=tuple(smaller if array is worst else array for array in plan.arrays))
    return plan


def worker_bytes(array: StackedArray, source: Source) -> int:
    """Memory of one worker: the block, one chunk to encode, and one source chunk on its way in."""
    block = array.rows_per_shard * array.row_bytes
    encoding = 2 * (array.chunk_bytes + _PAGE)
    incoming = 0
    for name in array.variables:
        variable = source.variables[name]
        part = block // len(array.variables)
        raw = part * variable.stored.itemsize // array.dtype.itemsize
        chunk = 0
        if isinstance(variable.storage, Chunks):
            chunk = 4 * prod(variable.storage.shape) * variable.stored.itemsize
        whole = isinstance(variable.along(array.dimensions[0]), Slow) or variable.packed
        incoming = max(incoming, chunk + (raw + 2 * part if whole else min(raw, 16 * 2**20)))
    return block + encoding + incoming


def _source_rows(variables: Sequence[Variable], dimension: str) -> int:
    lengths = [
        variable.storage.shape[variable.dimensions.index(dimension)]
        for variable in variables
        if isinstance(variable.storage, Chunks)
    ]
    return max(lengths, default=1)


def _level(array: StackedArray, source: Source) -> str | None:
    """The vertical dimension, by its coordinate's `axis` or `positive` (CF 1.11, section 4.3)."""
    for dimension in array.dimensions[2:]:
        coordinate = source.variables.get(dimension)
        attributes: Mapping[str, Any] = coordinate.attributes if coordinate else {}
        if attributes.get("axis") == "Z" or "positive" in attributes:
            return dimension
    return None


def _free_name(name: str, taken: AbstractSet[str]) -> str:
    candidates = (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def select(
    source: Source, wanted: Sequence[str] | None, dimension: str, plain: set[str]
) -> tuple[list[str], list[str]]:
    """Names to stack, and names to carry along as they are.

    Stacked are numeric data variables with the sample dimension, in the file's order; coordinates, bounds,
    grid mappings, times and text are carried along. With `wanted`, other data variables are left out.

    Raises:
        BadRequest: a wanted variable is not there or cannot be stacked, or nothing can be.
    """
    stackable = [
        name
        for name, variable in source.variables.items()
        if dimension in variable.dimensions
        and name not in plain
        and variable.decoded.kind in "fiu"
        and " since " not in str(variable.attributes.get("units", ""))
    ]
    for name in wanted or ():
        if name not in source.variables:
            known = ", ".join(sorted(set(source.variables) - plain))
            raise BadRequest(f"{source.path}: no variable {name!r}; there are {known}")
        if name not in stackable:
            raise BadRequest(f"{source.path}: variable {name!r} is not numeric data along {dimension!r}")
    if not stackable:
        raise BadRequest(f"{source.path}: no numeric variable has the sample dimension {dimension!r}")
    stacked = [name for name in stackable if wanted is None or name in wanted]
    carried = [
        name for name in source.variables if name not in stackable and (wanted is None or name in plain)
    ]
    return stacked, carried
