"""Make a plan: group variables into arrays, cut those into shards, and keep within the memory."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from math import isfinite, prod
from types import MappingProxyType
from typing import Any

import numpy as np

from maelio.codecs import Codec
from maelio.converters import layout
from maelio.converters.options import Options
from maelio.converters.plan import Plan, as_series
from maelio.converters.samples import Samples
from maelio.converters.slabs import plan_series
from maelio.converters.source import Source, Variable
from maelio.converters.storage import Chunked, Part
from maelio.converters.times import Joined
from maelio.errors import BadRequest
from maelio.files import show_bytes
from maelio.store import VARIABLE, StackedArray

_LARGEST_RECORD = 2**31 - 2**20  # a message of Protocol Buffers has less than 2 GiB
SAMPLE = "sample"  # the axis of samples that are drawn from several dimensions
_NAMES = {1: "scalars", 2: "profiles"}  # by number of axes without `variable`; others are "fields"


def make_plan(
    sources: Sequence[Source],
    joined: Joined,
    samples: Samples,
    stacked: Sequence[str],
    options: Options,
    parts: Mapping[str, Part] = MappingProxyType({}),
    carried_bytes: int = 0,
) -> Plan:
    """Group the `stacked` variables into arrays and cut those into shards that fit the memory beside what is carried.

    Raises:
        BadRequest: not even shards of one chunk fit `options.memory`, or a chunk is too large for the format;
            or an error bound is for no float variable, or no bound.
    """
    if options.threads < 1 or options.shard_bytes < 1:
        raise BadRequest(f"threads={options.threads}, shard size {options.shard_bytes}: wanted 1 or more")
    first = sources[0]
    _check_bounds(first, stacked, options.max_error)
    groups: dict[tuple[tuple[str, ...], str], list[Variable]] = {}
    for name in stacked:
        variable = first.variables[name]
        groups.setdefault((variable.dimensions, _dtype(variable, options).str), []).append(variable)
    arrays: list[StackedArray] = []
    taken = {*first.variables, *first.sizes}
    sample = samples.dimensions[0] if len(samples.dimensions) == 1 else free_name(SAMPLE, taken)
    taken.add(sample)
    for variables in groups.values():
        rank = 1 + len(variables[0].dimensions) - len(samples.dimensions)
        name = free_name(_NAMES.get(rank, "fields"), taken)
        axis = free_name(VARIABLE if len(groups) == 1 else f"{name}_{VARIABLE}", taken)
        arrays.append(_array(name, (sample, axis), variables, joined, samples, options, parts))
        taken |= {name, axis}
    if joined.dimension not in samples.dimensions:
        left = options.memory - carried_bytes
        arrays = [
            plan_series(as_series(array, sources, joined, samples, parts, options), options, left).array
            for array in arrays
        ]
    _check_records(arrays)
    levels = {array.name: _level(array, first) for array in arrays}
    plan = Plan(
        joined, samples, tuple(sources), tuple(arrays), levels, options, parts, carried_bytes=carried_bytes
    )
    return plan if plan.series else _fit(plan)


def _array(
    name: str,
    axes: tuple[str, str],
    variables: Sequence[Variable],
    joined: Joined,
    samples: Samples,
    options: Options,
    parts: Mapping[str, Part],
) -> StackedArray:
    model = variables[0]
    rest = [
        (dimension, len(parts[dimension]) if dimension in parts else size)
        for dimension, size in zip(model.dimensions, model.shape, strict=True)
        if dimension not in samples.dimensions and dimension != joined.dimension
    ]
    if joined.dimension not in samples.dimensions:
        rest.insert(0, (joined.dimension, joined.count))
    dtype = _dtype(model, options)
    row_bytes = len(variables) * prod(size for _, size in rest) * dtype.itemsize
    chunk_rows = layout.rows_per_chunk(row_bytes, samples.count, samples.width)
    return StackedArray(
        name=name,
        variables=tuple(variable.name for variable in variables),
        dimensions=(*axes, *(dimension for dimension, _ in rest)),
        shape=(samples.count, len(variables), *(size for _, size in rest)),
        dtype=dtype,
        chunk=(chunk_rows, layout.variables_per_chunk(row_bytes, len(variables))),
        rows_per_shard=layout.rows_per_shard(
            row_bytes,
            samples.count,
            chunk_rows,
            options.shard_bytes,
            _source_rows(variables, samples.dimensions[0]) * samples.width,
        ),
        codec=Codec(options.codec),
        container=options.format,
    )


def _check_records(arrays: Sequence[StackedArray]) -> None:
    for array in arrays:
        if array.container == "tfrecord" and array.chunk_bytes > _LARGEST_RECORD:
            raise BadRequest(
                f"{array.name!r}: a chunk of {show_bytes(array.chunk_bytes)} does not fit a TFRecord, which holds "
                f"at most {show_bytes(_LARGEST_RECORD)}; take another --format"
            )


def _dtype(variable: Variable, options: Options) -> np.dtype[Any]:
    """What a variable is stored as."""
    wide = variable.decoded.kind == "f" and variable.decoded.itemsize == 8
    return np.dtype(options.dtype) if options.dtype and wide else variable.decoded


def _check_bounds(source: Source, stacked: Sequence[str], bounds: Mapping[str, float]) -> None:
    for name, bound in bounds.items():
        if name not in stacked:
            raise BadRequest(
                f"{source.path}: no variable {name!r} to keep within {bound:g}; there are {', '.join(stacked)}"
            )
        if (dtype := source.variables[name].decoded).kind != "f":
            raise BadRequest(
                f"{source.path}: variable {name!r} has dtype {dtype}; only floats can be rounded"
            )
        if not (isfinite(bound) and bound > 0):
            raise BadRequest(f"{name!r} within {bound}: wanted an error above 0, in the variable's unit")


def _fit(plan: Plan) -> Plan:
    """Fewer rows a shard, down to one chunk, until a single worker fits the memory."""
    beside = f" beside {show_bytes(plan.carried_bytes)} of coordinates" if plan.carried_bytes > 2**20 else ""
    while plan.worker_bytes + plan.carried_bytes > plan.options.memory:
        worst = max(plan.arrays, key=plan.worker_bytes_of)
        if worst.rows_per_shard == worst.rows_per_chunk:
            raise BadRequest(
                f"one thread needs {show_bytes(plan.worker_bytes)} for {worst.name!r}{beside}, the limit is "
                f"{show_bytes(plan.options.memory)}; raise --memory"
            )
        chunks = worst.rows_per_shard // worst.rows_per_chunk
        smaller = replace(worst, rows_per_shard=chunks // 2 * worst.rows_per_chunk)
        plan = replace(plan, arrays=tuple(smaller if array is worst else array for array in plan.arrays))
    return plan


def _source_rows(variables: Sequence[Variable], dimension: str) -> int:
    lengths = [
        held.storage.shape[held.dimensions.index(dimension)]
        for held in (variable.held for variable in variables)
        if isinstance(held.storage, Chunked)
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


def free_name(name: str, taken: AbstractSet[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not taken."""
    candidates = (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)
