"""The order of an epoch, and how it is shared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.errors import BadRequest
from maelio.loaders.order import WINDOW_SHARDS, Cut, Place, Shuffle, Tail, epoch_order

shuffles = st.sampled_from(["global", "window", "shards", False])
worlds = st.integers(1, 5)


@given(
    samples=st.integers(0, 500),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 99),
    shuffle=shuffles,
    rows_per_chunk=st.integers(1, 20),
    window_chunks=st.integers(1, 9),
    chunks_per_shard=st.integers(1, 9),
)
def test_an_epoch_holds_every_sample_exactly_once(
    samples: int,
    seed: int,
    epoch: int,
    shuffle: Shuffle,
    rows_per_chunk: int,
    window_chunks: int,
    chunks_per_shard: int,
) -> None:
    """Whatever the shuffle, it is a permutation."""
    order = epoch_order(
        samples,
        seed=seed,
        epoch=epoch,
        shuffle=shuffle,
        rows_per_chunk=rows_per_chunk,
        window_chunks=window_chunks,
        rows_per_shard=rows_per_chunk * chunks_per_shard,
    )
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(samples))


@given(samples=st.integers(1, 300), rows_per_chunk=st.integers(1, 20), window_chunks=st.integers(1, 9))
def test_a_shuffle_window_touches_only_its_chunks(
    samples: int, rows_per_chunk: int, window_chunks: int
) -> None:
    """The first window's samples come from `window_chunks` chunks."""
    order = epoch_order(
        samples,
        seed=0,
        epoch=0,
        shuffle="window",
        rows_per_chunk=rows_per_chunk,
        window_chunks=window_chunks,
    )
    first = order[: rows_per_chunk * (window_chunks - 1) + 1]
    assert len(np.unique(first // rows_per_chunk)) <= window_chunks


@given(
    samples=st.integers(1, 600),
    rows_per_chunk=st.integers(1, 5),
    window_chunks=st.integers(1, 9),
    chunks_per_shard=st.integers(1, 9),
)
def test_shuffled_shards_are_left_behind(
    samples: int, rows_per_chunk: int, window_chunks: int, chunks_per_shard: int
) -> None:
    """Of WINDOW_SHARDS shards all samples come, in some order, before any of another."""
    rows_per_shard = rows_per_chunk * chunks_per_shard
    order = epoch_order(
        samples,
        seed=1,
        epoch=2,
        shuffle="shards",
        rows_per_chunk=rows_per_chunk,
        window_chunks=window_chunks,
        rows_per_shard=rows_per_shard,
    )
    shards = list(dict.fromkeys((order // rows_per_shard).tolist()))
    window_of = {shard: number // WINDOW_SHARDS for number, shard in enumerate(shards)}
    windows = [window_of[shard] for shard in (order // rows_per_shard).tolist()]
    assert windows == sorted(windows)


@pytest.mark.parametrize(
    ("shuffle", "pinned"),
    [
        ("global", [4, 2, 5, 8, 7, 3, 11, 10, 0, 1, 9, 6]),
        ("window", [10, 9, 11, 1, 0, 2, 7, 5, 8, 3, 4, 6]),
    ],
)
def test_the_order_of_a_seed_is_pinned(shuffle: Shuffle, pinned: list[int]) -> None:
    """Changing it breaks resumed runs: they would repeat some samples and never see others."""
    order = epoch_order(12, seed=7, epoch=3, shuffle=shuffle, rows_per_chunk=3, window_chunks=2)
    assert order.tolist() == pinned


@pytest.mark.parametrize(
    ("rows_per_chunk", "pinned"),
    [
        (1, [15, 8, 11, 17, 14, 1, 9, 4, 7, 0, 16, 10, 19, 5, 18, 6, 13, 12, 3, 2]),
        (2, [19, 16, 11, 9, 6, 0, 17, 15, 10, 18, 1, 5, 8, 14, 7, 4, 12, 13, 3, 2]),
    ],
)
def test_the_order_of_shuffled_shards_is_pinned(rows_per_chunk: int, pinned: list[int]) -> None:
    """Changing it breaks resumed runs."""
    order = epoch_order(
        20, seed=7, epoch=3, shuffle="shards", rows_per_chunk=rows_per_chunk, rows_per_shard=2
    )
    assert order.tolist() == pinned


tails: st.SearchStrategy[Tail] = st.sampled_from(["short", "drop", "pad"])


@given(samples=st.integers(0, 200), world=worlds, rows=st.integers(1, 6), tail=tails)
def test_ranks_share_each_global_batch_in_equal_steps(
    samples: int, world: int, rows: int, tail: Tail
) -> None:
    """Together the ranks hold the slice of the order that one rank alone would hold."""
    order = np.arange(samples)
    cuts = [Cut(samples, rows * world, Place(rank, world), tail) for rank in range(world)]
    alone = Cut(samples if tail == "pad" else cuts[0].stop, rows * world, tail=tail)
    assert len({len(cut) for cut in cuts}) == 1
    for batch in range(len(cuts[0])):
        parts = [order[cut.mine(batch)] for cut in cuts]
        assert len({len(part) for part in parts}) == 1
        together = np.stack(parts, axis=1).ravel()
        np.testing.assert_array_equal(together, order[alone.mine(batch)])
    assert samples - cuts[0].stop < {"short": world, "drop": rows * world, "pad": 1}[tail]


@given(samples=st.integers(1, 60), world=worlds, rows=st.integers(1, 30), start=st.integers(0, 60))
def test_padding_fills_the_last_batch_and_counts_nothing_twice(
    samples: int, world: int, rows: int, start: int
) -> None:
    """Every batch is full on every rank; the valid samples are what was left of the epoch, each once."""
    cuts = [
        Cut(samples, rows * world, Place(rank, world), "pad", min(start, samples)) for rank in range(world)
    ]
    valid, fill = [], []
    for batch in range(len(cuts[0])):
        for cut in cuts:
            mine, counts = cut.mine(batch), cut.valid(batch)
            assert len(mine) == len(counts) == rows
            valid += mine[counts].tolist()
            fill += mine[~counts].tolist()
        assert cuts[0].end(batch) == min(start + (batch + 1) * rows * world, samples)
    assert sorted(valid) == list(range(min(start, samples), samples))
    assert sorted(fill) == sorted(position % samples for position in range(len(fill)))


@given(
    samples=st.integers(1, 200),
    world=worlds,
    other=worlds,
    rows=st.integers(1, 6),
    tail=st.sampled_from(["short", "pad"]),
    data=st.data(),
)
def test_going_on_with_other_ranks_drops_and_repeats_nothing(
    samples: int, world: int, other: int, rows: int, tail: Tail, data: st.DataObject
) -> None:
    """What was consumed before and what comes after is the order itself, up to one rank's worth of tail."""
    before = [Cut(samples, rows * world, Place(rank, world), tail) for rank in range(world)]
    stop = data.draw(st.integers(0, len(before[0])))
    consumed = before[0].end(stop - 1) if stop else 0
    after = [Cut(samples, 2 * other, Place(rank, other), tail, start=consumed) for rank in range(other)]
    order = np.arange(samples)
    seen = [order[cut.mine(batch)[cut.valid(batch)]] for cut in before for batch in range(stop)]
    seen += [order[cut.mine(batch)[cut.valid(batch)]] for cut in after for batch in range(len(cut))]
    delivered = min(after[0].stop, samples)
    np.testing.assert_array_equal(np.sort(np.concatenate([[], *seen])), order[:delivered])
    assert samples - delivered < (other if tail == "short" else 1)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (lambda: Place(2, 2), "rank=2 of world=2"),
        (lambda: Cut(10, 0), "batch_size=0"),
        (lambda: Cut(10, 5, Place(0, 2)), "batch_size=5 over 2 ranks"),
        (lambda: Cut(10, 5, tail="long"), "tail='long'"),  # type: ignore[arg-type]
        (lambda: epoch_order(3, seed=-1, epoch=0, shuffle="global"), "seed=-1"),
        (lambda: epoch_order(3, seed=0, epoch=0, shuffle="locally"), "shuffle='locally'"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_order_is_refused(request_, says: str) -> None:  # type: ignore[no-untyped-def]
    """The message tells the argument and its value."""
    with pytest.raises(BadRequest, match=says):
        request_()
