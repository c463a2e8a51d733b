"""Memory is decided before anything is read."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.errors import BadRequest
from maelio.loaders.budget import plan_buffers
from maelio.store import StackedArray
from tests.loaders.handwritten import Layout, describe, field

ROWS = describe("fields", field(8, 2, 4), Layout(rows=1))
BLOCKS = describe("profiles", field(8, 3), Layout(rows=4))


@given(
    arrays=st.sampled_from([(ROWS,), (BLOCKS,), (ROWS, BLOCKS)]),
    rows=st.integers(1, 50),
    threads=st.integers(1, 200),
    memory=st.integers(1, 50_000),
)
def test_buffers_stay_within_the_memory_or_are_refused(
    arrays: Sequence[StackedArray], rows: int, threads: int, memory: int
) -> None:
    """Two batches and one block a thread are the least."""
    try:
        buffers = plan_buffers(arrays, rows=rows, threads=threads, memory=memory)
    except BadRequest:
        block = sum(array.chunk_bytes for array in arrays if array is BLOCKS)
        assert memory < 2 * rows * sum(array.row_bytes for array in arrays) + threads * block
    else:
        assert buffers.nbytes <= memory
        assert 2 <= buffers.batches <= 3
        assert BLOCKS not in arrays or buffers.chunks >= threads


def test_too_little_memory_is_refused_with_the_figures() -> None:
    """The message tells what would do."""
    with pytest.raises(BadRequest, match=r"memory=100 B .* two batches of 320 B and .* 640 B"):
        plan_buffers([ROWS], rows=10, threads=2, memory=100)
