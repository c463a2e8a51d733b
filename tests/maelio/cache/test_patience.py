"""How long a failing server is borne."""

from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.cache.patience import LONGEST_S, Patience, Transient, pause_s, retry_after_s

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1000), chances)
def test_a_pause_is_what_the_server_asks_for_or_longer(
    failures: int, asked: float | None, chance: float
) -> None:
    """And never longer than half a minute of our own will."""
    pause = pause_s(failures, asked, chance)
    assert pause >= (asked or 0)
    assert 0.25 <= pause <= max(LONGEST_S, asked or 0)


def test_pauses_double_up_to_half_a_minute() -> None:
    assert [pause_s(n, None, 0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, datetime(2015, 10, 21, 7, 28, tzinfo=UTC)) == seconds


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False


@given(st.floats(0, 1000), chances)
def test_patience_ends_after_its_time_without_a_byte(limit: float, chance: float) -> None:
    """Never later."""
    clock = Clock()
    patience = Patience(limit, clock.sleep, lambda: clock.now, lambda: chance)

    def bear_all() -> None:
        for failures in count(1):
            patience.bear(Transient("503"), failures)

    with pytest.raises(Transient, match="503"):
        bear_all()
    assert clock.now <= limit


def test_a_byte_that_comes_renews_patience() -> None:
    """A download of hours survives any number of short failures."""
    clock = Clock()
    patience = Patience(2, clock.sleep, lambda: clock.now, lambda: 0)
    for _ in range(100):
        patience.bear(Transient("dropped"), 1)
        patience.progress()
    assert clock.now == 50


def test_a_server_that_asks_for_more_than_the_patience_gets_none() -> None:
    clock = Clock()
    with pytest.raises(Transient):
        Patience(60, clock.sleep, lambda: clock.now).bear(Transient("busy", retry_after_s=61), 1)
    assert clock.now == 0


def test_without_a_network_nobody_waits_but_a_network_that_was_there_may_come_back() -> None:
    clock = Clock()
    patience = Patience(60, clock.sleep, lambda: clock.now, lambda: 0)
    with pytest.raises(Transient):
        patience.bear(Transient("no such host", offline=True), 1)
    assert clock.now == 0
    patience.progress()
    patience.bear(Transient("no such host", offline=True), 1)
    assert clock.now == 0.5
