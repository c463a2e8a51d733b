"""What is said of an order is true of orders of which it is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.benchmarks.shuffling import main, mixing


def test_the_order_of_the_store_is_not_mixed() -> None:
    """Nothing moves, a batch touches as few chunks as can be, and neighbours stay together."""
    found = mixing(np.arange(1024), rows_per_chunk=64, batch=256)
    assert (found.displacement, found.chunks) == (0, 4)
    assert found.again == 1 - 3 / 1023


def test_a_reversed_order_moves_by_half_and_touches_no_more() -> None:
    """The mean of |n - 1 - 2i| over n samples is n / 2."""
    found = mixing(np.arange(1024)[::-1].copy(), rows_per_chunk=64, batch=256)
    assert (found.displacement, found.chunks) == (0.5, 4)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 50))
def test_a_permutation_moves_by_a_third(seed: int, rows: int) -> None:
    """And no batch touches more chunks than it has samples, or than there are."""
    found = mixing(np.random.default_rng(seed).permutation(4000), rows_per_chunk=rows, batch=100)
    assert found.displacement == pytest.approx(1 / 3, abs=0.03)
    assert 1 <= found.chunks <= min(100, -(-4000 // rows))
    assert found.again < 0.1


def test_the_table_has_every_order(capsys: pytest.CaptureFixture[str]) -> None:
    """By one command."""
    assert main(["--samples", "2000", "--rows-per-chunk", "10", "--batch", "50"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "shuffle", "global", "window", "shards", "False",
    ]  # fmt: skip
