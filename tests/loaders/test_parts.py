"""Parts of rows: which chunks they take, and what of each goes where."""

import math
from dataclasses import dataclass, fields
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.loaders.parts import Part, corners, runs_of, spans
from maelio.store import StackedArray
from tests.loaders.handwritten import Layout, describe, field


@given(st.lists(st.integers(0, 9), max_size=20))
def test_runs_are_the_indexes(indexes: list[int]) -> None:
    """In their order, also repeated and backwards, and no two of them could be one."""
    runs = runs_of(indexes)
    assert [index for run in runs for index in run] == indexes
    assert all(before.stop != after.start for before, after in pairwise(runs))


@dataclass(frozen=True)
class Gridded(StackedArray):
    """Chunks that are cut along every axis."""

    sides: tuple[int, ...] = ()

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        return (self.rows_per_chunk, *self.sides)


@given(row_shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), data=st.data())
def test_pieces_put_every_value_in_its_place(row_shape: list[int], data: st.DataObject) -> None:
    """Each value once, from the chunks that hold it alone, whichever axes chunks are cut along."""
    row = field(1, *row_shape)
    sides = tuple(data.draw(st.integers(1, size)) for size in row_shape)
    plain = describe("fields", row, Layout())
    array = Gridded(**{part.name: getattr(plain, part.name) for part in fields(plain)}, sides=sides)
    indexes = [data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n + 2)) for n in row_shape]
    part = Part(array, tuple(map(runs_of, indexes)))
    grid = [-(-size // side) for size, side in zip(row_shape, sides, strict=True)]
    padded = np.full([many * side for many, side in zip(grid, sides, strict=True)], -1.0)
    padded[tuple(map(slice, row_shape))] = row[0]
    out, filled = np.full(part.shape, np.nan), np.zeros(part.shape, int)
    for piece in part.pieces:
        place = np.unravel_index(piece.number, grid)
        chunk = padded[tuple(slice(at * n, (at + 1) * n) for at, n in zip(place, sides, strict=True))]
        for box in piece.boxes:
            out[box.target] = chunk[box.source]
            filled[box.target] += 1
        assert not piece.whole or out[piece.boxes[0].target].shape == chunk.shape
    assert (filled == 1).all()
    np.testing.assert_array_equal(out, row[0][np.ix_(*indexes)])
    wanted = product(*({index // side for index in axis} for axis, side in zip(indexes, sides, strict=True)))
    assert {piece.number for piece in part.pieces} == {int(np.ravel_multi_index(at, grid)) for at in wanted}


@given(
    shape=st.lists(st.integers(1, 60), min_size=1, max_size=4).filter(lambda s: math.prod(s) < 200_000),
    data=st.data(),
)
def test_spans_cover_the_box_and_little_else(shape: list[int], data: st.DataObject) -> None:
    """Nothing is missing, nothing is read twice, and what is read in vain is less than another call costs."""
    source = []
    for size in shape:
        start = data.draw(st.integers(0, size - 1))
        source.append(slice(start, data.draw(st.integers(start + 1, size))))
    wanted = np.zeros(shape, bool)
    wanted[tuple(source)] = True
    read = np.zeros(math.prod(shape), int)
    found = spans(tuple(source), shape, 4)
    for begin, end in found:
        read[begin:end] += 1
    assert read.max() == 1
    assert (read[wanted.ravel()] == 1).all()
    assert 4 * (read.sum() - wanted.sum()) <= 2**15 * len(found)


@given(seed=st.integers(0, 2**70), epoch=st.integers(0, 1000), room=st.lists(st.integers(1, 500), max_size=3))
def test_corners_lie_in_their_room_and_depend_on_the_sample_alone(
    seed: int, epoch: int, room: list[int]
) -> None:
    """The same in any batch, on any rank."""
    samples = np.arange(50)
    drawn = corners(samples, seed=seed, epoch=epoch, room=room)
    assert drawn.shape == (50, len(room))
    assert ((drawn >= 0) & (drawn < np.array(room, int))).all()
    picked = np.array([7, 3, 3, 49])
    np.testing.assert_array_equal(corners(picked, seed=seed, epoch=epoch, room=room), drawn[picked])


def test_corners_are_uniform_and_independent() -> None:
    """Within what 100,000 draws allow: five deviations of a count, and of a correlation."""
    drawn = corners(np.arange(100_000), seed=3, epoch=1, room=(10, 7))
    counts = np.bincount(drawn[:, 0], minlength=10)
    assert abs(counts - 10_000).max() < 5 * math.sqrt(10_000)
    others = [drawn[:, 1], corners(np.arange(100_000), seed=3, epoch=2, room=(10,))[:, 0], np.arange(100_000)]
    for other in others:
        assert abs(np.corrcoef(drawn[:, 0], other)[0, 1]) < 5 / math.sqrt(100_000)


def test_the_corners_of_a_seed_are_pinned() -> None:
    """Changing them makes a resumed run see other crops than the one it goes on with."""
    drawn = corners(np.array([0, 1, 10**12]), seed=7, epoch=3, room=(100, 1000))
    assert drawn.tolist() == [[14, 803], [59, 582], [51, 803]]


@pytest.mark.parametrize("drawn", [{}, {1: 2, 2: 3}])
def test_a_part_tells_its_sizes(drawn: dict[int, int]) -> None:
    """Of a row as delivered and as held, in bytes too."""
    array = describe("fields", field(2, 3, 4, 5), Layout())
    part = Part(array, (runs_of([2, 0]), (range(4),), (range(5),)), drawn)
    assert part.variables == ("v2", "v0")
    assert part.held == (2, 4, 5)
    assert part.shape == ((2, 2, 3) if drawn else (2, 4, 5))
    assert part.room == ((3, 3) if drawn else ())
    assert (part.held_bytes, part.row_bytes) == (160, 48 if drawn else 160)
