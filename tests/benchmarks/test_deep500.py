"""The keys that MAELSTROM's applications were timed with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.benchmarks.deep500 import KEYS, timers
from maelio.ledger import REGIONS, Region, Steps, Times
from tests.benchmarks.records import some_times


@given(st.dictionaries(st.sampled_from(REGIONS), st.floats(0, 100)), st.floats(0, 1))
def test_the_parts_of_an_epoch_sum_to_it(regions: dict[Region, float], residual: float) -> None:
    wall = sum(regions.values()) + residual
    found = timers(Times(wall_s=wall, regions_s=regions, steps=1, samples=1))
    assert list(found) == ["EPOCH", "BATCH", "IO", "FORWARD", "BACKWARD", "COMM", "OTHER"]
    assert sum(found[key].total_s for key in (*KEYS, "OTHER")) == pytest.approx(wall)
    assert found["EPOCH"].total_s == wall


def test_steps_have_their_statistics() -> None:
    each = Steps(numbers=(0, 1, 2), regions_s={"wait": (3.0, 1.0, 2.0), "optimizer": (1.0, 1.0, 1.0)})
    times = Times(
        wall_s=10.0, regions_s={"wait": 6.0, "optimizer": 3.0, "other": 1.0}, steps=3, samples=3, each=each
    )
    found = timers(times)
    io = found["IO"]
    assert (io.count, io.total_s, io.min_s, io.mean_s, io.median_s, io.max_s) == (3, 6.0, 1.0, 2.0, 2.0, 3.0)
    assert io.stdev_s == pytest.approx((2 / 3) ** 0.5)
    assert (found["BATCH"].mean_s, found["OTHER"].mean_s, found["OTHER"].total_s) == (3.0, 1.0, 4.0)


def test_epochs_whose_steps_are_not_told_have_totals() -> None:
    found = timers(some_times(0.5, 0.2).model_copy(update={"each": None}))
    assert found["IO"].total_s == pytest.approx(0.2)
    assert (found["IO"].count, found["IO"].mean_s) == (0, None)
