"""Which batch needs which files: arithmetic, against the same by hand."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.errors import BadRequest
from maelio.loaders.items import Item
from maelio.loaders.needs import (
    NEVER,
    Files,
    Needs,
    at_once,
    check_room,
    files_of,
    needs,
    rows_per_shard,
)
from maelio.loaders.order import Cut, Place, Shuffle, Tail, epoch_order
from maelio.loaders.parts import Part
from maelio.store import Store, open_store
from tests.loaders.handwritten import Layout, field, write_store


@cache
def store_of(samples: int, chunks: int) -> Store:
    """Two arrays whose shards have the same rows."""
    with TemporaryDirectory() as folder:
        arrays = {"fields": field(samples, 2, 3), "scalars": field(samples, 1)}
        return open_store(write_store(Path(folder) / "s.zarr", arrays, Layout(chunks=chunks)))


def items_of(store: Store, steps: tuple[int, ...]) -> list[Item]:
    return [Item(name, Part.whole(array), steps) for name, array in store.arrays.items()]


@settings(deadline=None, max_examples=50)
@given(
    samples=st.integers(6, 60),
    chunks=st.integers(1, 7),
    steps=st.sampled_from([(0,), (0, 1), (-2, 3), (-1, 0, 1)]),
    batch_size=st.integers(1, 20),
    world=st.integers(1, 3),
    shuffle=st.sampled_from(["global", "window", "shards", False]),
    tail=st.sampled_from(["short", "drop", "pad"]),
    seed=st.integers(0, 9),
)
def test_a_batch_needs_the_shards_of_its_rows_and_no_more_than_was_said(
    samples: int,
    chunks: int,
    steps: tuple[int, ...],
    batch_size: int,
    world: int,
    shuffle: Shuffle,
    tail: Tail,
    seed: int,
) -> None:
    """Of every batch of every rank, by the rows themselves; `at_once` bounds them all."""
    store = store_of(samples, chunks)
    items, files = items_of(store, steps), files_of(store, store.arrays)
    first, last = max(0, -min(steps)), max(0, max(steps))
    count = samples - first - last
    cut = Cut(count, batch_size * world, Place(world - 1, world), tail)
    order = epoch_order(count, seed=seed, epoch=0, shuffle=shuffle, rows_per_shard=rows_per_shard(store))
    batches = [order[cut.mine(number)] for number in range(len(cut))]
    found = needs(files, items, batches, first=first)
    most = at_once(store, files, items, cut, shuffle)
    for number, batch in enumerate(batches):
        shards = {int(row) // chunks for row in (batch[:, None] + np.array(steps) + first).ravel()}
        wanted = {file for name in store.arrays for s in shards for file in files.of_shard(name, s)}
        assert set(found.files[found.batches == number].tolist()) == wanted
        assert sum(files.files[file].bytes for file in wanted) <= most


@given(
    pairs=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 5))),
    file=st.integers(0, 6),
    now=st.integers(0, 11),
)
def test_the_next_use_is_the_first_from_now_on(pairs: set[tuple[int, int]], file: int, now: int) -> None:
    """Or never."""
    by_batch = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    later = [batch for batch, other in pairs if other == file and batch >= now]
    assert Needs(by_batch[:, 0], by_batch[:, 1]).next_use(file, now) == min(later, default=NEVER)


def room(limit: int, shuffle: Shuffle, batch_size: int = 4) -> Files:
    store = store_of(60, 3)
    files = files_of(store, store.arrays)
    check_room(store, files, items_of(store, (0,)), Cut(60, batch_size), shuffle, limit)
    return files


@pytest.mark.parametrize("shuffle", ["global", "shards", False])
def test_what_holds_everything_holds_any_batch(shuffle: Shuffle) -> None:
    """However large."""
    nbytes = room(10**9, shuffle).nbytes
    room(nbytes, shuffle, batch_size=60)


@pytest.mark.parametrize(
    ("limit", "shuffle", "says"),
    [
        (50, False, r"stage_bytes=50 B does not hold shard \d+ of array '\w+', rows \d+ to \d+ of .*/s.zarr"),
        (500, "global", r"a batch of .*s.zarr may need with shuffle='global'.*; lower batch_size or choose"),
        (900, "shards", r"a batch of .*s.zarr may need with shuffle='shards'.*; lower batch_size$"),
    ],
)
def test_what_cannot_fit_is_refused(limit: int, shuffle: Shuffle, says: str) -> None:
    """A shard, a batch, or the shards that samples are drawn from."""
    with pytest.raises(BadRequest, match=says):
        room(limit, shuffle)
