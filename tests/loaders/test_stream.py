"""The stream: what it yields, in which order, from whose memory, and where it goes on."""

import gc
import pickle
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import maelio
from maelio.codecs import CODECS
from maelio.errors import BadData, BadRequest, NotFound
from maelio.ledger import measure
from maelio.loaders.device import Batch
from maelio.loaders.order import Tail
from maelio.loaders.stream import Stream, stream
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_shards import first_shard, flip, layouts


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """20 rows of 2 variables on 3 x 4 points, `fields`, one row a chunk; row r begins with 24 r."""
    return write_store(tmp_path / "store.zarr", {"fields": field(20, 2, 3, 4)})


def rows_of(batches: Iterable[Batch]) -> list[int]:
    """The rows of `store` in the order in which they come, without what pads a batch."""
    return [
        int(value) // 24
        for batch in batches
        for value in batch["fields"][:, 0, 0, 0][batch.get("valid", slice(None))]
    ]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("maelio")]


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 25),
    row_shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    layout=layouts,
    window=st.sampled_from([(0,), (0, 1), (-1,), (-2, 0, 3), (1, -1)]),
    shuffle=st.sampled_from([True, False, "global", "window"]),
    batch_size=st.integers(1, 9),
    threads=st.integers(1, 3),
    world=st.integers(1, 3),
    tail=st.sampled_from(["short", "drop", "pad"]),
)
def test_the_ranks_together_deliver_the_stored_values(
    samples: int,
    row_shape: list[int],
    layout: Layout,
    window: tuple[int, ...],
    shuffle: Any,
    batch_size: int,
    threads: int,
    world: int,
    tail: Tail,
) -> None:
    """Every sample at most once, each with its window of steps, of both arrays the same."""
    fields, marks = field(samples, *row_shape), np.arange(samples)[:, None]
    centres, seen = [], []
    with TemporaryDirectory() as folder:
        path = write_store(Path(folder), {"fields": fields, "marks": marks}, layout)
        for rank in range(world):
            try:
                batches = stream(
                    path,
                    batch_size=batch_size * world,
                    window=window,
                    shuffle=shuffle,
                    threads=threads,
                    rank=rank,
                    world=world,
                    tail=tail,
                )
            except BadRequest:  # too few samples for a window or a batch
                return
            for batch in batches:
                steps = batch["marks"].numpy().reshape(-1, len(window))
                wanted = fields[steps] if len(window) > 1 else fields[steps[:, 0]]
                np.testing.assert_array_equal(batch["fields"].numpy(), wanted)
                assert (steps - steps[:, :1] == np.array(window) - window[0]).all()
                there = batch["valid"].numpy() if tail == "pad" else slice(None)
                centres += (steps[there, 0] - window[0]).tolist()
                assert tail == "short" or len(steps) == batch_size
            seen.append(len(batches))
    assert len(set(centres)) == len(centres)
    assert len(set(seen)) == 1
    left_out = {"short": world - 1, "drop": batch_size * world - 1, "pad": 0}[tail]
    assert batches.samples - len(centres) <= left_out


def test_a_batch_has_the_shape_of_its_window(store: Path) -> None:
    """The step axis is there only where there are steps."""
    one, three = (next(iter(stream(store, batch_size=4, window=w))) for w in [(0,), (-1, 0, 1)])
    assert one["fields"].shape == (4, 2, 3, 4)
    assert three["fields"].shape == (4, 3, 2, 3, 4)
    assert one["fields"].dtype == torch.float32


def test_a_stream_describes_itself(store: Path) -> None:
    """Lengths and names, without reading a row."""
    batches = stream(store, batch_size=6, window=(-1, 0))
    assert (len(batches), batches.samples) == (4, 19)
    assert batches.variables == {"fields": ("v0", "v1")}
    assert batches.statistics == {"fields": {}}
    assert isinstance(maelio.stream(store, batch_size=1), Stream)


def test_the_order_is_the_same_for_any_number_of_threads(store: Path) -> None:
    """And another in the next epoch."""
    one, many = (stream(store, batch_size=3, seed=5, threads=threads) for threads in (1, 4))
    first = rows_of(one)
    assert rows_of(many) == first
    assert sorted(first) == list(range(20))
    assert rows_of(one) == rows_of(many) != first


def test_set_epoch_names_the_epoch(store: Path) -> None:
    """Forwards and backwards."""
    batches = stream(store, batch_size=3)
    epochs = [rows_of(batches) for _ in range(3)]
    batches.set_epoch(1)
    assert rows_of(batches) == epochs[1]
    assert rows_of(batches) == epochs[2]
    with pytest.raises(BadRequest, match="epoch=-1"):
        batches.set_epoch(-1)


@settings(deadline=None)
@given(
    stop=st.integers(0, 7),
    world=st.integers(1, 3),
    batch_size=st.integers(1, 5),
    call=st.booleans(),
    tail=st.sampled_from(["short", "pad"]),
)
def test_a_run_goes_on_where_it_stopped(
    stop: int, world: int, batch_size: int, call: bool, tail: Tail
) -> None:
    """With other ranks and another batch size; what was read ahead was not consumed."""
    with TemporaryDirectory() as folder:
        path = write_store(Path(folder), {"fields": field(20, 2, 3, 4)})
        whole = rows_of(stream(path, batch_size=3, seed=1))
        before = stream(path, batch_size=3, seed=1, tail=tail)
        iterator = iter(before)
        seen = rows_of(next(iterator) for _ in range(stop))
        state = before.state_dict()
        iterator.close()  # type: ignore[attr-defined]
        for rank in range(world):
            after = stream(path, batch_size=batch_size * world, seed=1, rank=rank, world=world, tail=tail)
            after.load_state_dict(pickle.loads(pickle.dumps(state)))
            if call:
                after.set_epoch(0)
            seen += rows_of(after)
            assert after.state_dict() == {**state, "epoch": 1, "samples": 0}
    left = (20 - 3 * stop if stop < 7 else 0) % world if tail == "short" else 0
    assert sorted(seen) == sorted(whole[: 20 - left])


@pytest.mark.parametrize(
    "changed", [{"seed": 4}, {"store": "crc32c:0"}, {"shuffle": False}, {"window": [0, 1]}]
)
def test_a_state_of_another_order_is_refused(store: Path, changed: dict[str, Any]) -> None:
    """It would repeat some samples and never reach others."""
    batches = stream(store, batch_size=3)
    with pytest.raises(BadRequest, match=next(iter(changed))):
        batches.load_state_dict({**batches.state_dict(), **changed})


def test_kept_batches_never_change(store: Path) -> None:
    """Ten thousand of them, over many epochs."""
    batches = stream(store, batch_size=1, threads=2)
    kept = [batch["fields"] for _ in range(500) for batch in batches]
    copies = [batch.clone() for batch in kept]
    for batch in batches:
        batch["fields"].fill_(-1)  # ours while we hold it
    assert len(kept) == 10_000
    assert all(torch.equal(batch, copy) for batch, copy in zip(kept, copies, strict=True))


def test_dropped_batches_lend_their_memory_to_later_ones(store: Path) -> None:
    """Three buffers serve any number of epochs."""
    batches = stream(store, batch_size=2, threads=2)
    pages = {batch["fields"].data_ptr() for _ in range(20) for batch in batches}
    assert len(pages) <= batches.buffers.batches == 3


@pytest.mark.parametrize("leave", ["break", "raise", "drop"])
def test_leaving_early_leaves_no_thread(store: Path, leave: str) -> None:
    """However the loop ends."""
    batches = stream(store, batch_size=1, threads=3)
    if leave == "break":
        for _ in batches:
            assert loader_threads()
            break
    elif leave == "raise":
        with pytest.raises(ZeroDivisionError):
            rows_of(batch for batch in batches if 1 / 0)
    else:
        iterator = iter(batches)
        next(iterator)
        del iterator
    gc.collect()
    assert not loader_threads()
    assert sorted(rows_of(batches)) == list(range(20))


def test_a_damaged_chunk_reaches_the_loop_with_the_traceback_of_its_thread(store: Path) -> None:
    """The file is named, and no thread stays."""
    flip(first_shard(store), 5)
    with pytest.raises(BadData, match=f"{first_shard(store)}, chunk 0") as caught:
        rows_of(stream(store, batch_size=4, threads=2))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "_fill" in frames
    del caught
    gc.collect()
    assert not loader_threads()


def test_damage_in_a_block_that_threads_share_reaches_the_loop(tmp_path: Path) -> None:
    """Nobody waits for a block that will not come."""
    write_store(tmp_path, {"fields": field(40, 2, 3, 4)}, Layout(rows=4))
    flip(first_shard(tmp_path), 5)
    with pytest.raises(BadData, match="chunk 0"):
        rows_of(stream(tmp_path, batch_size=20, threads=4))


def test_a_stream_pickles_with_its_position(store: Path) -> None:
    """Also while it reads: the copy opens the files for itself."""
    batches = stream(store, batch_size=4)
    iterator = iter(batches)
    first = rows_of([next(iterator)])
    copy = pickle.loads(pickle.dumps(batches))
    copy.load_state_dict(batches.state_dict())
    rest = rows_of(iterator)
    assert rows_of(copy) == rest
    assert sorted(first + rest) == list(range(20))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [1, 4])
def test_the_ledger_hears_of_the_work(tmp_path: Path, codec: Any, rows: int) -> None:
    """Bytes as delivered, thread-seconds as spent."""
    write_store(tmp_path, {"fields": field(20, 2, 3, 4)}, Layout(rows=rows, codec=codec))
    batches = stream(tmp_path, batch_size=6)
    rows_of(batches)
    with measure() as ledger:
        rows_of(ledger.batches(batches))
    work = ledger.times.work
    assert work is not None
    assert work.delivered_bytes == 20 * 24 * 4 == batches.work.delivered_bytes / 2
    assert work.fetch_s >= 0
    assert ledger.times.steps == 4


def test_a_small_memory_reads_the_same(tmp_path: Path) -> None:
    """Slower is all it is."""
    write_store(tmp_path, {"fields": field(60, 2, 3, 4)}, Layout(rows=5))
    free = stream(tmp_path, batch_size=8, threads=2)
    tight = stream(tmp_path, batch_size=8, threads=2, memory=2 * 8 * 96 + 2 * 5 * 96)
    assert (tight.buffers.batches, tight.buffers.chunks) == (2, 2)
    assert rows_of(tight) == rows_of(free)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 3, "rank": 0, "world": 2}, "batch_size=3 over 2 ranks"),
        ({"rank": 1}, "rank=1, world=None"),
        ({"rank": 2, "world": 2}, "rank=2 of world=2"),
        ({"window": ()}, "window="),
        ({"window": (0, 0)}, r"window=\(0, 0\)"),
        ({"window": (-10, 10)}, "longer than the 20 samples"),
        ({"shuffle": "some"}, "shuffle='some'"),
        ({"seed": -1}, "seed=-1"),
        ({"tail": "long"}, "tail='long'"),
        ({"batch_size": 21, "tail": "drop"}, "leaves no batch of 20 samples"),
        ({"threads": 0}, "threads=0"),
        ({"memory": 100}, "memory=100 B"),
        ({"retries": -1}, "retries=-1"),
        ({"read_ahead": -1}, "read_ahead=-1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(store: Path, arguments: dict[str, Any], says: str) -> None:
    """At once, and not at the first batch."""
    with pytest.raises(BadRequest, match=says):
        stream(store, **{"batch_size": 2, **arguments})


def test_a_store_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """By the error of `open_store`."""
    with pytest.raises(NotFound, match="no such store"):
        stream(tmp_path / "nowhere.zarr", batch_size=1)
