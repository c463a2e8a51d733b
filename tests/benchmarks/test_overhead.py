"""The cost of the ledger is measured; how much it is, a test on a busy machine does not judge."""

import pytest

from maelio.benchmarks.overhead import Overhead, main, overhead


def test_pairs_are_compared() -> None:
    found = Overhead(without_s=(1.0, 2.0, 4.0), with_s=(1.1, 2.02, 4.0))
    assert found.share == pytest.approx(0.01)
    assert found.step_s == pytest.approx(0.02)


def test_it_runs_with_tiny_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    found = overhead(steps=3, rounds=2, layers=1, width=4)
    assert len(found.without_s) == len(found.with_s) == 2
    assert main(["--steps", "2", "--rounds", "1", "--layers", "1", "--width", "4"]) == 0
    assert "overhead, the median of 1 pairs" in capsys.readouterr().out
