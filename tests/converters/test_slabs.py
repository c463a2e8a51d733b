"""Slabs are arithmetic: every value of the sources is read once and lands once, and never more is held than planned."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from maelio.codecs import Codec
from maelio.converters import layout, slabs
from maelio.converters.options import Options
from maelio.converters.samples import Samples
from maelio.converters.slabs import Series, cut_along, plan_series
from maelio.converters.source import Variable
from maelio.converters.steps import Feed, chain
from maelio.converters.storage import Chunks, Slow
from maelio.converters.times import Joined, Run
from maelio.errors import BadRequest
from maelio.store import StackedArray

FIELDS = ("level", "latitude", "longitude")


def variable(name: str, shape: tuple[int, ...], chunks: Sequence[int] | None) -> Variable:
    """Of dimensions (time, level, latitude, longitude), in chunks or, without them, wholly apart."""
    none = np.empty(0, np.int64)
    storage = (
        Chunks(tuple(chunks), none.reshape(0, 4), none, none, none, (), np.float32(0)) if chunks else Slow("")
    )
    return Variable(name, ("time", *FIELDS), shape, {}, np.dtype("f4"), np.dtype("f4"), storage)


def feeds(held: Sequence[Variable]) -> list[Feed]:
    """Of one file; every second variable is made of the same values as the one before."""
    cut = cut_along(held, FIELDS, {})
    axes = (0, *([1 + FIELDS.index(cut)] if cut else []))
    order = (*axes, *(axis for axis in range(4) if axis not in axes))
    found = []
    for first in range(0, len(held), 2):
        numbers = slice(first, min(first + 2, len(held)))
        bounds = [None] * (numbers.stop - first)
        chained = chain(held[first], np.dtype("f4"), bounds)
        found.append(Feed(numbers, held[first], axes, order, {}, None, chained))
    return found


@st.composite
def series(draw: st.DrawFn) -> Series:
    """Files of any lengths and chunks, read from any row to any other; samples from any of the other dimensions."""
    sides = draw(st.tuples(*[st.integers(1, 5)] * 3))
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    samples = draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
    count = draw(st.integers(1, 4))
    runs = []
    for file, length in enumerate(lengths):
        first, stop = sorted(draw(st.tuples(st.integers(0, length), st.integers(0, length))))
        if first < stop:
            runs.append(Run(file, range(first, stop)))
    joined = Joined("time", tuple(runs) or (Run(0, range(lengths[0])),))
    shapes = st.none() | st.tuples(st.integers(1, 7), *(st.integers(1, side) for side in sides))
    each = [
        feeds([variable(f"v{number}", (length, *sides), draw(shapes)) for number in range(count)])
        for length in lengths
    ]
    sizes = dict(zip(FIELDS, sides, strict=True))
    rest = [name for name in FIELDS if name not in samples]
    drawn = Samples(tuple(samples), tuple(sizes[name] for name in samples))
    array = StackedArray(
        name="fields",
        variables=tuple(f"v{number}" for number in range(count)),
        dimensions=("sample", "variable", "time", *rest),
        shape=(drawn.count, count, joined.count, *(sizes[name] for name in rest)),
        dtype=np.dtype("f4"),
        chunk=(1, count),
        rows_per_shard=1,
        codec=Codec("lz4"),
    )
    whole = Series(array, drawn, joined, each, FIELDS)
    return replace(whole, reading_bytes=whole.most_read())


@pytest.fixture(autouse=True, scope="module")
def small() -> Any:
    """Let small fields be laid out as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, nbytes in (("CHUNK_BYTES", 400), ("SMALL_ROW", 300), ("SERIES_BYTES", 1600)):
            patch.setattr(layout, name, nbytes)
        patch.setattr(slabs, "READ_VALUES", 30)
        patch.setattr(slabs, "_HEADERS", 64)
        yield


def planned(whole: Series, memory: int, shard_bytes: int) -> Series | None:
    """None where the memory is too small, which is said."""
    try:
        made = plan_series(whole, Options(memory=memory, shard_bytes=shard_bytes), memory)
    except BadRequest:
        event("refused")
        return None
    event(f"slabs: {len(made.slabs) > 1}, waiting: {made.waiting > 0}, turns: {made.array.pieces > 1}")
    return made


memories = st.integers(1000, 40_000)
shard_sizes = st.integers(1, 5000)


@settings(deadline=None, max_examples=300)
@given(whole=series(), memory=memories, shard_bytes=shard_sizes)
def test_every_value_is_read_once_and_lands_once(whole: Series, memory: int, shard_bytes: int) -> None:
    """In its own step, whatever the files, their chunks, the memory and the shards; no chunk is decoded twice."""
    made = planned(whole, memory, shard_bytes)
    if made is None:
        return
    rows = [(run.file, row) for run in made.joined.runs for row in run.rows]
    sides = made.field_shape
    read: dict[int, int] = {}
    landed: Counter[tuple[int, ...]] = Counter()
    chunks: Counter[tuple[int, ...]] = Counter()
    for slab in made.slabs:
        steps = made.steps_of(slab)
        for number in made.feeds_of(slab):
            numbers = range(made.array.shape[1])[made.feeds[0][number].numbers]
            assert {*numbers} <= {*made.variables_of(slab)}
            for task in made.reads(number, read.get(number, 0), steps.stop):
                count = len(task.rows)
                assert rows[task.step : task.step + count] == [(task.file, row) for row in task.rows]
                assert steps.start <= task.step
                assert task.step + count <= steps.start + made.length + made.waiting
                feed = made.feeds[task.file][number]
                boxes = [range(side) for side in sides]
                for axis, places in zip(feed.drawn[1:], task.within, strict=True):
                    boxes[axis - 1] = places
                landed.update(product(numbers, range(task.step, task.step + count), *boxes))
                if shape := feed.variable.chunks:
                    cuts = zip((task.rows, *boxes), shape, strict=True)
                    touched = [{index // side for index in box} for box, side in cuts]
                    chunks.update((number, task.file, *at) for at in product(*touched))
            read[number] = made.end(number, steps.stop)
    everything = product(range(made.array.shape[1]), range(made.steps), *map(range, sides))
    assert landed == Counter(everything)
    assert all(count == 1 for count in chunks.values())


@settings(deadline=None)
@given(whole=series(), memory=memories, shard_bytes=shard_sizes)
def test_a_plan_keeps_to_its_memory_and_its_shards(whole: Series, memory: int, shard_bytes: int) -> None:
    """Slabs cover all steps of all variables once; a shard is no larger than asked for, unless one block is."""
    made = planned(whole, memory, shard_bytes)
    if made is None:
        return
    array = made.array
    assert made.slab_bytes + made.worker_bytes <= memory
    covered = [at for slab in made.slabs for at in product(made.variables_of(slab), made.steps_of(slab))]
    assert sorted(covered) == [*product(range(array.shape[1]), range(made.steps))]
    assert sum(map(made.bytes_of, made.slabs)) == array.samples * array.row_bytes
    assert array.rows_per_shard % array.rows_per_chunk == 0
    assert (
        array.rows_per_shard == array.rows_per_chunk or array.rows_per_shard * array.row_bytes <= shard_bytes
    )
    assert made.length == made.steps or made.length % made.longest_chunk == 0


@settings(deadline=None)
@given(whole=series(), memory=memories)
def test_more_memory_never_makes_more_slabs(whole: Series, memory: int) -> None:
    """What fits in less fits in more."""
    less, more = planned(whole, memory, 1000), planned(whole, 4 * memory, 1000)
    assert less is None or (more is not None and len(more.slabs) <= len(less.slabs))
