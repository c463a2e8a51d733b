"""Utilisation and stalls, by their definitions, from epochs that are made up."""

from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.benchmarks.stalls.figures import (
    as_from_memory,
    caveats,
    rate_of_dlio,
    rows_of,
    steady_utilisation,
    utilisation,
    utilisation_of_dlio,
)
from maelio.benchmarks.stalls.loop import Step
from maelio.benchmarks.stalls.schedule import ARMS, named, schedule
from maelio.benchmarks.stalls.workloads import LAYOUTS
from maelio.errors import BadRequest
from tests.benchmarks.stalls.lines import epoch_of, line_of, timed

seconds = st.floats(0.001, 10.0)
walls = st.lists(st.floats(0.5, 5.0), min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=3, max_size=50))
def test_utilisation_is_compute_over_wall_time_and_that_of_dlio_forgets_the_first_step(
    parts: list[tuple[float, float, float]],
) -> None:
    steps = [Step(4, *part) for part in parts]
    epoch = epoch_of(steps, tail_s=0.5)
    later = steps[1:]
    wall = sum(step.wall_s for step in steps) + 0.5
    assert utilisation(epoch) == pytest.approx(sum(step.compute_s for step in steps) / wall)
    assert utilisation_of_dlio(epoch) == pytest.approx(
        sum(step.compute_s for step in later) / (wall - steps[0].wall_s)
    )
    assert rate_of_dlio(epoch) == pytest.approx((len(steps) - 2) * 4 / (wall - steps[0].wall_s))


def test_a_start_that_takes_for_ever_is_in_au_and_not_in_that_of_dlio() -> None:
    """The flaw that the page on benchmarking names."""
    epoch = epoch_of([Step(4, 99.0, 1.0, 0.0), *[Step(4, 0.0, 1.0, 0.0)] * 9])
    assert utilisation(epoch) == pytest.approx(10 / 109)
    assert utilisation_of_dlio(epoch) == pytest.approx(1)


def test_the_steady_state_leaves_both_ends_out_and_needs_steps_of_its_own() -> None:
    ends, middle = [Step(1, 9.0, 1.0, 0.0)], [Step(1, 1.0, 1.0, 2.0)]
    assert steady_utilisation([*ends * 12, *middle * 40, *ends * 12], ahead=12) == pytest.approx(0.25)
    assert steady_utilisation([*ends * 10, *middle * 9, *ends * 3], ahead=3) is None


@settings(deadline=None)
@given(null=walls, extra=st.floats(0, 3), fetch=st.floats(0, 3))
def test_stalls_are_differences_between_arms_repeat_by_repeat(
    null: list[float], extra: float, fetch: float
) -> None:
    warm = [wall + extra for wall in null]
    cold = [wall + fetch for wall in warm]
    rows = {row.arm: row for row in rows_of(timed({"null": null, "warm": warm, "cold": cold}))}
    assert rows["null"].stall_s is None
    assert rows["null"].au_cal is None
    assert rows["warm"].stall_s == pytest.approx((extra,) * len(null), abs=1e-9)
    assert rows["cold"].stall_s == pytest.approx((fetch,) * len(null), abs=1e-9)
    assert rows["warm"].au_cal == pytest.approx([a / b for a, b in zip(null, warm, strict=True)])


@settings(deadline=None)
@given(null=walls)
def test_storage_that_costs_nothing_has_an_au_cal_of_one_whatever_the_loop_costs(null: list[float]) -> None:
    rows = rows_of(timed({"null": null, "warm": null}))
    assert rows[1].au_cal == pytest.approx((1.0,) * len(null))
    assert as_from_memory(rows) == {"netcdf": True}
    assert as_from_memory(rows_of(timed({"null": null, "warm": [2 * wall for wall in null]}))) == {
        "netcdf": False
    }


def test_first_and_later_epochs_are_rows_of_their_own() -> None:
    lines = [
        *timed({"null": [1.0, 1.0], "cold": [4.0, 6.0]}),
        *timed({"null": [1.0, 1.0], "cold": [1.0, 1.0]}, 2),
    ]
    rows = rows_of(lines)
    assert [str(row.key) for row in rows] == [
        "netcdf/null/1",
        "netcdf/null/2",
        "netcdf/cold/1",
        "netcdf/cold/2",
    ]
    assert [median(row.wall_s) for row in rows] == pytest.approx([1, 1, 5, 1])


@pytest.mark.parametrize(("together", "overlap"), [(3.0, 1.0), (5.0, 0.0), (4.0, 0.5)])
def test_what_loading_and_computing_hide_of_each_other(together: float, overlap: float) -> None:
    """Computing takes 2 s, loading 3 s: hidden 3, in turn 5."""
    rows = rows_of(timed({"null": [2.0], "load-only": [3.0], "warm": [together]}))
    assert next(row.overlap for row in rows if row.arm == "warm") == pytest.approx(overlap)


def test_what_must_not_be_compared_says_so() -> None:
    told = caveats(rows_of(timed({"null": [1.0, 1.2], "warm": [2.0, 2.01]})))
    assert told == [
        "smoke: 10 steps an epoch, wanted 500",
        "smoke: 2 repeats, wanted 5",
        "noisy: repeats lie more than 5% apart: netcdf/null/1",
    ]
    whole = [line_of(epoch_of([Step(1, 0.0, 0.01, 0.0)] * 500), "null", repeat) for repeat in range(1, 6)]
    assert caveats(rows_of(whole)) == []
    lost = [
        line.model_copy(update={"times": line.times.model_copy(update={"wall_s": 6.0})}) for line in whole
    ]
    assert caveats(rows_of(lost)) == ["flagged: more than 5% of the time is in no region: netcdf/null/1"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=7, unique=True),
    st.lists(st.sampled_from(ARMS), min_size=1, max_size=4, unique=True),
    st.integers(1, 6),
)
def test_every_arm_has_its_turn_in_every_repeat_and_follows_the_other_half_the_time(
    layouts: list[str], arms: list[str], repeats: int
) -> None:
    turns = schedule(layouts, arms, repeats)  # type: ignore[arg-type]
    wanted = {(layout, arm, repeat) for layout in layouts for arm in arms for repeat in range(repeats + 1)}
    assert len(turns) == len(wanted)
    assert {(turn.layout, turn.arm, turn.repeat) for turn in turns} == wanted
    names = [turn.name for turn in turns]
    size = len(layouts) * len(arms)
    rounds = [names[first : first + size] for first in range(0, len(names), size)]
    assert all(before == after[::-1] for before, after in pairwise(rounds))


def test_an_arm_that_is_not_there_is_refused() -> None:
    assert named(["cold", "null"]) == ("null", "cold")
    assert named(None) == ARMS
    with pytest.raises(BadRequest, match=r"arm='hot': wanted null, warm, cold, load-only"):
        named(["hot"])
