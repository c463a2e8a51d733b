"""Tiles: every one of every row once an epoch, for whoever reads."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maelio
from maelio.errors import BadRequest
from maelio.loaders.device import Batch
from maelio.loaders.order import Tail
from maelio.loaders.tiles import Edge, Tiles
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_shards import layouts

edges = st.sampled_from(["drop", "shift"])
tiles = st.builds(Tiles, st.integers(1, 4), st.none() | st.integers(1, 5), edges)


@given(length=st.integers(1, 60), size=st.integers(1, 70), stride=st.none() | st.integers(1, 70), edge=edges)
def test_tiles_lie_within_their_axis_and_leave_out_what_they_should(
    length: int, size: int, stride: int | None, edge: Edge
) -> None:
    """Each begins a stride behind the one before; with `shift`, and no gaps between, none is left out."""
    begins = Tiles(size, stride, edge).begins(length)
    step = stride or size
    assert bool(begins) == (size <= length)
    assert list(begins) == sorted(set(begins))
    assert all(0 <= begin <= length - size for begin in begins)
    regular = [begin for begin in range(0, length, step) if begin + size <= length]
    assert list(begins[: len(regular)]) == regular
    assert len(begins) <= len(regular) + (edge == "shift")
    if edge == "shift" and step <= size <= length:
        assert {place for begin in begins for place in range(begin, begin + size)} == set(range(length))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 7),
    layout=layouts,
    cut=st.tuples(tiles, tiles),
    window=st.sampled_from([(0,), (0, 1), (-1, 0)]),
    shuffle=st.sampled_from([True, False, "global", "window"]),
    batch_size=st.integers(1, 5),
    world=st.integers(1, 3),
    tail=st.sampled_from(["short", "drop", "pad"]),
    stop=st.integers(1, 6),
)
def test_the_ranks_together_see_every_tile_once(
    rows: int,
    layout: Layout,
    cut: tuple[Tiles, Tiles],
    window: tuple[int, ...],
    shuffle: Any,
    batch_size: int,
    world: int,
    tail: Tail,
    stop: int,
) -> None:
    """Begun by some ranks and finished by one; what is left out is what `tail` says, of rows and tiles together."""
    values = field(rows, 2, 5, 4)
    crop = {"d0": cut[0], "d1": cut[1]}
    centres = range(max(0, -min(window)), rows - max(0, *window))
    places = {(row, y, x) for row in centres for y in cut[0].begins(5) for x in cut[1].begins(4)}
    wanted = {number_of(values, row, y, x): (row, y, x) for row, y, x in places}
    with TemporaryDirectory() as folder:
        path = write_store(Path(folder), {"fields": values}, layout)
        common: dict[str, Any] = {"crop": crop, "window": window, "shuffle": shuffle, "tail": tail, "seed": 3}
        if len(places) < (batch_size * world if tail == "drop" else world):
            return
        ranks = [
            maelio.stream(path, batch_size=batch_size * world, rank=rank, world=world, threads=1, **common)
            for rank in range(world)
        ]
        assert ranks[0].samples == len(places)
        seen: list[tuple[int, int, int]] = []
        for stream in ranks:
            iterator = iter(stream)
            taken = [batch for _, batch in zip(range(stop), iterator, strict=False)]
            seen += tiles_of(taken, values, wanted, cut, window)
        if stop < len(ranks[0]):
            rest = maelio.stream(path, batch_size=batch_size, threads=1, **common)
            rest.load_state_dict(ranks[0].state_dict())
            seen += tiles_of(rest, values, wanted, cut, window)
    assert len(set(seen)) == len(seen)
    assert set(seen) <= places
    lost = {"pad": 0, "short": world - 1, "drop": batch_size * world - 1}[tail]
    assert len(places) - len(seen) <= lost


def number_of(values: np.ndarray, row: int, y: int, x: int) -> float:
    """The value that a tile begins with; all differ."""
    return float(values[row, 0, y, x])


def tiles_of(
    batches: Iterable[Batch],
    values: np.ndarray,
    wanted: dict[float, tuple[int, int, int]],
    cut: tuple[Tiles, Tiles],
    window: tuple[int, ...],
) -> list[tuple[int, int, int]]:
    """Which tiles came, without what pads; their values are those of the rows, at every step."""
    found = []
    for batch in batches:
        fields = batch["fields"].numpy()
        fields = fields[:, None] if len(window) == 1 else fields
        for sample, valid in zip(fields, batch.get("valid", np.ones(len(fields), bool)), strict=True):
            row, y, x = wanted[float(sample[window.index(0), 0, 0, 0])]
            there = values[[row + step for step in window], :, y : y + cut[0].size, x : x + cut[1].size]
            np.testing.assert_array_equal(sample, there)
            if valid:
                found.append((row, y, x))
    return found


def test_tiles_are_shuffled_as_samples_are(tmp_path: Path) -> None:
    """Globally: tiles of one row lie apart; within windows of chunks; or not, the last dimension the fastest."""
    values = field(40, 1, 4, 4)
    path = write_store(tmp_path, {"fields": values}, Layout(rows=2))
    crop = {"d0": Tiles(2), "d1": Tiles(2)}
    orders = {}
    for shuffle in (False, "global", "window"):
        stream = maelio.stream(path, batch_size=160, crop=crop, shuffle=shuffle, seed=1)
        (batch,) = stream
        orders[shuffle] = batch["fields"][:, 0, 0, 0].tolist()
    plain = [float(values[row, 0, y, x]) for row in range(40) for y in (0, 2) for x in (0, 2)]
    assert orders[False] == plain
    for shuffle in ("global", "window"):
        assert orders[shuffle] != plain
        assert sorted(orders[shuffle]) == sorted(plain)


def test_tiles_stand_beside_other_cuts(tmp_path: Path) -> None:
    """A slice of one dimension, a drawn window of another; what lacks the dimension comes whole with every tile."""
    values, marks = field(6, 2, 5, 4, 3), field(6, 1)
    path = write_store(tmp_path, {"fields": values, "marks": marks})
    crop: dict[str, Tiles | int | slice] = {"d0": Tiles(2, edge="shift"), "d1": 2, "d2": slice(1, 3)}
    seen = []
    for batch in maelio.stream(path, batch_size=5, crop=crop, seed=4):
        for fields, mark in zip(batch["fields"].numpy(), batch["marks"].numpy(), strict=True):
            row, first = int(mark[0]), int(fields[0, 0, 0, 0])
            y, x = (int(index) for index in np.argwhere(values[row, 0, :, :, 1] == first)[0])
            np.testing.assert_array_equal(fields, values[row, :, y : y + 2, x : x + 2, 1:3])
            seen.append((row, y))
    assert sorted(seen) == [(row, y) for row in range(6) for y in (0, 2, 3)]


def test_a_position_among_other_tiles_is_refused(tmp_path: Path) -> None:
    """The number of a sample means another one there."""
    path = write_store(tmp_path, {"fields": field(6, 2, 4)})
    whole, halves, quarters = (
        maelio.stream(path, batch_size=2, crop=crop) for crop in (None, {"d0": Tiles(2)}, {"d0": Tiles(1)})
    )
    for one, other in ((whole, halves), (halves, whole), (halves, quarters)):
        with pytest.raises(BadRequest, match="the state has tiles="):
            one.load_state_dict(other.state_dict())
    halves.load_state_dict(maelio.stream(path, batch_size=3, crop={"d0": Tiles(2)}).state_dict())


@pytest.mark.parametrize(
    ("crop", "says"),
    [
        (lambda: {"d0": Tiles(0)}, "wanted a size and a stride from 1"),
        (lambda: {"d0": Tiles(1, stride=0)}, "wanted a size and a stride from 1"),
        (lambda: {"d0": Tiles(1, edge="wrap")}, "wanted edge 'drop' or 'shift'"),  # type: ignore[arg-type]
        (lambda: {"d0": Tiles(6)}, "a window of 6 along 'd0', which has 4 positions"),
        (lambda: {"d7": Tiles(1)}, "no dimension 'd7'"),
        (lambda: {"d1": Tiles(1)}, r"tensors of the batch have 'd1' in 0 lengths \[\], wanted one"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tmp_path: Path, crop: Any, says: str) -> None:
    """In one line that names what was found."""
    path = write_store(tmp_path, {"fields": field(6, 2, 4), "maps": field(6, 1, 4, 3)})
    with pytest.raises(BadRequest, match=says):
        maelio.stream(path, batch_size=2, crop=crop(), variables=("v1",))


def test_arrays_must_agree_on_what_is_tiled(tmp_path: Path) -> None:
    """A tile of one length is no tile of another."""
    path = write_store(tmp_path, {"fields": field(6, 2, 4), "maps": field(6, 2, 8)})
    with pytest.raises(BadRequest, match=r"have 'd0' in 2 lengths \[4, 8\], wanted one"):
        maelio.stream(path, batch_size=2, crop={"d0": Tiles(2)})
