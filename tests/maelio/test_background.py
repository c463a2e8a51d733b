"""Unions of intervals, as they happen: equal to what arithmetic on the intervals says afterwards."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.background import ACTIVITIES, Activity, Background, During, Sweep, leave, listen
from maelio.ledger import COMPUTE, REGIONS, Region, Times, measure

Interval = tuple[Activity, int, int]

intervals = st.lists(
    st.tuples(st.sampled_from(ACTIVITIES), st.integers(0, 40), st.integers(0, 40)).map(
        lambda one: (one[0], *sorted(one[1:]))
    ),
    max_size=8,
)
loops = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(REGIONS)), max_size=6).map(sorted)


def swept(intervals: list[Interval], loop: list[tuple[int, Region]]) -> Background | None:
    """What a sweep of 40 ns sees of threads that do `intervals`, and of a loop that goes through regions, `other` first."""
    now = 0
    sweep = Sweep(len(REGIONS), REGIONS.index("other"), lambda: now)
    changes: list[tuple[int, int, Callable[[], object]]] = []
    for at, region in loop:
        changes.append((at, 0, partial(sweep.turn, REGIONS.index(region))))
    for activity, begin, end in intervals:  # of one moment, what begins comes before what ends
        changes.append((begin, 1, partial(sweep.begin, ACTIVITIES.index(activity))))
        changes.append((end, 2, partial(sweep.end, ACTIVITIES.index(activity))))
    for at, _, change in sorted(changes, key=lambda one: one[:2]):
        now = at
        change()
    now = 40
    sweep.turn(0)
    return sweep.seen(REGIONS)


def region_at(moment: int, loop: list[tuple[int, Region]]) -> Region:
    return [(0, "other"), *loop][max(n for n, (at, _) in enumerate([(0, "other"), *loop]) if at <= moment)][1]


@settings(deadline=None)
@given(intervals, loops, st.sets(st.sampled_from(ACTIVITIES), min_size=1), st.sets(st.sampled_from(REGIONS)))
def test_a_union_is_what_its_moments_are(
    intervals: list[Interval], loop: list[tuple[int, Region]], wanted: set[Activity], during: set[Region]
) -> None:
    """Counted nanosecond by nanosecond."""
    found = swept(intervals, loop)
    covered = [
        moment
        for moment in range(40)
        if any(name in wanted and begin <= moment < end for name, begin, end in intervals)
    ]
    assert round(1e9 * (found.of(*wanted) if found else 0.0)) == len(covered)
    inside = [moment for moment in covered if region_at(moment, loop) in during]
    assert round(1e9 * (found.of(*wanted, during=tuple(during)) if found else 0.0)) == len(inside)


def times(background: Background | None) -> Times:
    return Times(
        wall_s=40e-9, regions_s={"wait": 20e-9, "forward": 20e-9}, steps=1, samples=1, background=background
    )


def test_overlap_that_was_made_and_that_was_not_are_told_apart() -> None:
    """The same reading, the same computing: beside each other, and one after the other."""
    after = swept([("fetch", 0, 20)], [(0, "wait"), (20, "forward")])
    beside = swept([("fetch", 0, 20)], [(0, "forward"), (20, "wait")])
    half = swept([("fetch", 10, 20), ("fetch", 15, 30), ("decode", 0, 40)], [(0, "forward"), (20, "wait")])
    assert [round(1e9 * (times(one).unoverlapped_io_s or 0.0)) for one in (after, beside, half)] == [
        20,
        0,
        10,
    ]
    assert half is not None
    assert round(1e9 * half.of("fetch")) == 20
    assert round(1e9 * half.of("decode", during=COMPUTE)) == 20
    assert times(None).unoverlapped_io_s is None


def test_threads_are_heard_of_by_every_window_that_is_open() -> None:
    """And by none that is not; what outlasts its window does no harm."""
    begun, go_on = threading.Event(), threading.Event()

    def fetch() -> None:
        with During("fetch"):
            begun.set()
            assert go_on.wait(60)

    with measure() as unheard:
        pass
    thread = threading.Thread(target=fetch)
    with measure() as outer:
        with measure() as inner, inner.region("forward"):
            thread.start()
            assert begun.wait(60)
        go_on.set()
        thread.join()
    assert unheard.times.background is None
    for ledger in (outer, inner):
        seen = ledger.times.background
        assert seen is not None
        assert 0 < seen.of("fetch") <= ledger.times.wall_s
        assert not seen.of("decode")
    assert inner.times.unoverlapped_io_s is not None
    assert inner.times.unoverlapped_io_s < inner.times.wall_s
    assert set(inner.times.background.cells_s) <= {"other", "forward"}  # type: ignore[union-attr]


def test_a_sweep_that_left_hears_nothing() -> None:
    def ticks() -> Iterator[int]:
        yield from range(100)

    clock = ticks()
    sweep = Sweep(1, 0, lambda: next(clock))
    listen(sweep)
    leave(sweep)
    with During("decode"):
        pass
    sweep.turn(0)
    assert sweep.seen(["other"]) is None
