"""Two runs: a slowdown is caught, noise is not."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.benchmarks.stalls.ratios import compared, differences, judge, ratio_of
from maelio.errors import BadRequest, InvalidMeasurement, Regression
from maelio.records import RunRecord
from tests.benchmarks.stalls.lines import environment_of, record_of, timed

FACTOR = 1.05
noise = st.floats(0.98, 1.02)
scattered = st.lists(noise, min_size=3, max_size=9)


def run(walls: Sequence[float], **parameters: object) -> RunRecord:
    return record_of(timed({"warm": walls}), **parameters)


@settings(deadline=None)
@given(before=scattered, after=scattered, scale=st.floats(0.6, 5.0))
def test_two_percent_of_noise_is_never_a_regression(
    before: list[float], after: list[float], scale: float
) -> None:
    ratios = compared(run([scale * one for one in before]), run([scale * one for one in after]), FACTOR)
    assert ratios[0].verdict == "same"
    judge(ratios, FACTOR)


@settings(deadline=None)
@given(before=scattered, after=scattered, scale=st.floats(0.6, 5.0))
def test_ten_percent_slower_is_always_one_for_all_that_noise(
    before: list[float], after: list[float], scale: float
) -> None:
    slow = run([1.1 * scale * one for one in after])
    fast = run([scale * one for one in before])
    with pytest.raises(Regression, match=r"slower by more than 1.05: netcdf/warm/1 1\.\d+ times"):
        judge(compared(fast, slow, FACTOR), FACTOR)
    back = compared(slow, fast, FACTOR)
    assert back[0].verdict == "faster"
    judge(back, FACTOR)


def test_of_normal_noise_of_two_percent_nearly_nothing_is_mistaken() -> None:
    """Five repeats, 200 pairs of runs drawn with one seed: at most 1 % false alarms, and 1 % missed."""
    random = np.random.default_rng(20261123)
    alarms = missed = 0
    for _ in range(200):
        before, after = 1 + 0.02 * random.normal(size=(2, 5))
        alarms += ratio_of("a", before, after, FACTOR).verdict == "slower"
        missed += ratio_of("a", before, 1.1 * after, FACTOR).verdict != "slower"
    assert alarms <= 2
    assert missed <= 2


@settings(deadline=None)
@given(before=scattered, after=scattered)
def test_the_interval_holds_the_ratio_and_is_the_same_every_time(
    before: list[float], after: list[float]
) -> None:
    found = ratio_of("a", before, after, FACTOR)
    assert found == ratio_of("a", before, after, FACTOR)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.ratio <= found.high
    assert min(after) / max(before) <= found.low
    assert found.high <= max(after) / min(before)


def test_a_slowdown_that_scatters_as_much_is_not_called_one() -> None:
    """The ratio of the medians is 1.5, and could as well be 1."""
    assert ratio_of("a", [1.0, 2.0, 3.0], [1.0, 3.0, 3.5], FACTOR).verdict == "same"


def test_two_repeats_tell_nothing() -> None:
    ratios = compared(run([1.0, 1.0]), run([2.0, 2.0]), FACTOR)
    assert ratios[0].verdict == "unknown"
    assert ratios[0].low is None
    with pytest.raises(InvalidMeasurement, match="no arm has 3 repeats in both runs"):
        judge(ratios, FACTOR)


def test_the_null_arm_is_shown_and_not_judged() -> None:
    """It reads no data: where it is slower, the machine is."""
    slow = record_of(timed({"null": [2.0] * 3, "warm": [1.0] * 3}))
    ratios = compared(record_of(timed({"null": [1.0] * 3, "warm": [1.0] * 3})), slow, FACTOR)
    assert [ratio.verdict for ratio in ratios] == ["slower", "same"]
    judge(ratios, FACTOR)


def test_runs_of_different_things_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"has step_s=0.05, .* 0.1; wanted the same"):
        compared(run([1.0]), run([1.0], step_s=0.1), FACTOR)
    with pytest.raises(BadRequest, match="have no arm in common: netcdf/warm/1 and netcdf/cold/1"):
        compared(run([1.0]), record_of(timed({"cold": [1.0]})), FACTOR)
    with pytest.raises(BadRequest, match=r"factor=1; wanted more than 1"):
        compared(run([1.0]), run([1.0]), 1.0)


def test_what_else_differs_is_told() -> None:
    other = run([1.0], threads=4).model_copy(update={"environment": environment_of("other")})
    assert differences(run([1.0]), other) == ["threads: 2, then 4", "host: node, then other"]
