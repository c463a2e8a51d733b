"""Where the time went: the regions are exclusive and leave nothing out."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.ledger import COMPUTE, IO, Ledger, Region, Times, Work, measure, spent_on

REGIONS: tuple[Region, ...] = get_args(Region)
Nest: TypeAlias = list["tuple[Region, int, Nest]"]

nests: st.SearchStrategy[Nest] = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from(REGIONS), st.integers(0, 10**9), inner), max_size=4),
    max_leaves=20,
)


class Clock:
    """Stands still until it is moved. Unit: ns."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def spend(ledger: Ledger, clock: Clock, nest: Nest, around: Region, spent: dict[Region, int]) -> None:
    """Walk through nested regions; `spent` is what an honest ledger should say."""
    for region, duration, inner in nest:
        clock.now += 1
        spent[around] = spent.get(around, 0) + 1
        with ledger.region(region):
            clock.now += duration
            spent[region] = spent.get(region, 0) + duration
            spend(ledger, clock, inner, region, spent)


@settings(deadline=None)
@given(nests, st.integers(0, 2**62))
def test_regions_sum_to_the_wall_time_for_any_nesting(nest: Nest, start: int) -> None:
    """Exactly, in whole nanoseconds; a region inside another takes its time from it."""
    clock = Clock(start)
    spent: dict[Region, int] = {}
    with measure(clock) as ledger:
        spend(ledger, clock, nest, "other", spent)
    assert sum(spent.values()) == clock.now - start
    assert ledger.spent() == {region: ns for region, ns in spent.items() if ns}
    assert ledger.times.wall_s == (clock.now - start) / 1e9


def test_a_region_left_by_an_error_is_closed() -> None:
    clock = Clock()
    with measure(clock) as ledger:
        with suppress(ZeroDivisionError), ledger.region("forward"):
            clock.now += 3
            raise ZeroDivisionError
        clock.now += 5
    assert ledger.times.regions_s == {"other": 5e-9, "forward": 3e-9}


class Loader:
    """Takes 7 ns for each of its batches, and says that its threads fetched for 2 s."""

    def __init__(self, clock: Clock, batches: int) -> None:
        self.work = Work(fetch_s=40.0, stored_bytes=100)
        self._clock = clock
        self._batches = batches

    def __iter__(self) -> Iterator[int]:
        for batch in range(self._batches):
            self._clock.now += 7
            yield batch
        self.work = Work(fetch_s=42.0, stored_bytes=150)


@settings(deadline=None)
@given(st.integers(0, 20))
def test_every_batch_is_passed_on_and_counts_each_as_a_step(batches: int) -> None:
    clock = Clock()
    with measure(clock) as ledger:
        seen = []
        for batch in ledger.batches(Loader(clock, batches)):
            clock.now += 11
            seen.append(batch)
    assert seen == list(range(batches))
    assert ledger.times.steps == batches
    assert ledger.spent().get("wait", 0) == 7 * batches
    assert ledger.spent().get("other", 0) == 11 * batches


def test_work_is_what_the_loader_did_in_this_window() -> None:
    clock = Clock()
    with measure(clock) as ledger:
        list(ledger.batches(Loader(clock, 1)))
    assert ledger.times.work == Work(fetch_s=2.0, stored_bytes=50)


def test_work_is_unknown_where_the_loader_does_not_tell() -> None:
    with measure() as ledger:
        list(ledger.batches([1, 2]))
    assert ledger.times.work is None


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(REGIONS), st.integers(1, 10**9)), max_size=4), max_size=600)
)
def test_steps_sum_to_what_lies_between_two_requests_for_a_batch(
    steps: list[list[tuple[Region, int]]],
) -> None:
    """Those that are told; the first is always among them, and there are never more than 512."""
    clock = Clock()
    with measure(clock) as ledger:
        clock.now += 5
        for number in ledger.batches(range(len(steps))):
            for region, ns in steps[number]:
                with ledger.region(region):
                    clock.now += ns
        clock.now += 7
    times = ledger.times
    assert times.steps == len(steps)
    each = times.each
    if each is None:
        assert not steps
        return
    assert len(each.numbers) == min(512, len(steps))
    assert each.numbers[0] == 0
    assert list(each.numbers) == sorted(set(each.numbers))
    for place, number in enumerate(each.numbers):
        for region in REGIONS:
            told = each.regions_s.get(region, (0.0,) * len(each.numbers))[place]
            assert told == pytest.approx(
                sum(ns for name, ns in steps[number] if name == region) / 1e9, abs=1e-7
            )
    if not any(steps):
        assert sum(times.regions_s.values()) == pytest.approx(12e-9)


def test_the_time_to_begin_a_loader_is_waiting() -> None:
    """Its workers start in `iter`, before the first batch is asked for."""
    clock = Clock()

    class Slow:
        def __iter__(self) -> Iterator[int]:
            clock.now += 13
            return iter([1])

    with measure(clock) as ledger:
        list(ledger.batches(Slow()))
    assert ledger.times.regions_s == {"wait": 13e-9}


def test_a_loop_that_stops_early_has_its_work_told() -> None:
    clock = Clock()
    with measure(clock) as ledger:
        loader = Loader(clock, 3)
        for _ in ledger.batches(loader):
            loader.work = Work(fetch_s=41.0)
            break
    assert ledger.times.work == Work(fetch_s=1.0, stored_bytes=-100)
    assert ledger.times.steps == 1


def test_times_of_an_open_window_are_refused() -> None:
    with measure() as ledger, pytest.raises(RuntimeError, match="still running"):
        _ = ledger.times


def test_the_real_clock_loses_at_most_a_hundredth() -> None:
    with measure() as ledger:
        for _ in range(1000):
            with ledger.region("forward"), ledger.region("transform"):
                sum(range(100))
    times = ledger.times
    assert times.wall_s > 0
    assert abs(times.residual_s) <= times.wall_s / 100


def test_shares_are_parts_of_the_wall_time() -> None:
    times = Times(
        wall_s=4.0, regions_s={"wait": 1.0, "forward": 1.0, "backward": 1.0, "other": 1.0}, steps=2, samples=8
    )
    assert (times.io_share, times.compute_share, times.samples_per_s) == (0.25, 0.5, 2.0)


def test_no_region_is_both_input_and_compute() -> None:
    assert not set(IO) & set(COMPUTE)


def test_a_loader_opens_regions_of_the_ledger_that_measures_its_thread() -> None:
    """What interrupts `wait` is not counted as waiting; in another thread, or unmeasured, it is nothing."""
    clock = Clock()
    seen: list[bool] = []

    def transformed() -> Iterator[int]:
        for number in range(3):
            clock.now += 1
            with spent_on("transform"):
                clock.now += 10
            yield number

    def elsewhere() -> None:
        with spent_on("transform"):
            seen.append(True)

    with measure(clock) as ledger:
        with measure(clock) as inner:
            assert list(inner.batches(transformed())) == [0, 1, 2]
        assert list(ledger.batches(transformed())) == [0, 1, 2]
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert list(transformed()) == [0, 1, 2]
    assert seen
    for one in (inner, ledger):
        assert one.times.regions_s["transform"] == 30e-9
        assert one.times.regions_s["wait"] == 3e-9
