"""Memory is decided before anything is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.errors import BadRequest
from maelio.loaders.budget import plan_buffers


@given(
    batch=st.integers(1, 3000),
    block=st.sampled_from([0, 48, 500]),
    scratch=st.sampled_from([0, 64]),
    threads=st.integers(1, 200),
    memory=st.integers(1, 50_000) | st.none(),
)
def test_buffers_stay_within_the_memory_or_are_refused(
    batch: int, block: int, scratch: int, threads: int, memory: int | None
) -> None:
    """Two batches, and one block and what cuts it a thread, are the least."""
    try:
        buffers = plan_buffers(
            batch_bytes=batch, block_bytes=block, scratch_bytes=scratch, threads=threads, memory=memory
        )
    except BadRequest:
        assert memory is not None
        assert memory < 2 * batch + threads * (block + scratch)
    else:
        assert memory is None or buffers.nbytes <= memory
        held = buffers.batches * batch + buffers.chunks * block + threads * scratch
        assert buffers.nbytes == held
        assert 2 <= buffers.batches <= 3
        assert not block or buffers.chunks >= threads


def test_too_little_memory_is_refused_with_the_figures() -> None:
    """The message tells what would do."""
    with pytest.raises(BadRequest, match=r"memory=100 B .* two batches of 320 B and .* 640 B"):
        plan_buffers(batch_bytes=320, block_bytes=0, scratch_bytes=0, threads=2, memory=100)
