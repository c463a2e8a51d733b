"""Which files go: laws of the plan."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from maelio.cache.eviction import Kept, victims

sizes = st.integers(0, 100)
files = st.lists(
    st.builds(Kept, st.text("ab", max_size=4), sizes, st.floats(0, 10), st.booleans()),
    max_size=8,
    unique_by=lambda file: file.name,
)
limits = st.none() | st.integers(0, 300)


@given(files, limits, st.integers(-100, 100), sizes)
def test_what_goes_makes_room_and_is_not_held(
    kept: list[Kept], limit: int | None, free: int, spare: int
) -> None:
    chosen = victims(kept, limit=limit, free=free, spare=spare)
    if chosen is None:
        return
    gone = sum(file.bytes for file in chosen)
    assert not any(file.held for file in chosen)
    assert free + gone >= spare
    assert limit is None or sum(file.bytes for file in kept) - gone <= limit


@given(files, limits, st.integers(-100, 100), sizes)
def test_what_was_used_later_stays_longer(kept: list[Kept], limit: int | None, free: int, spare: int) -> None:
    """And the last to go had to: without it there was no room."""
    chosen = victims(kept, limit=limit, free=free, spare=spare) or ()
    stay = [file for file in kept if file not in chosen and not file.held]
    assert not chosen or all(max(file.used_s for file in chosen) <= file.used_s for file in stay)
    if chosen:
        held = [file if file in chosen[:-1] else replace(file, held=True) for file in kept]
        assert victims(held, limit=limit, free=free, spare=spare) is None


@given(files, limits, st.integers(-100, 100), sizes)
def test_nothing_goes_in_vain(kept: list[Kept], limit: int | None, free: int, spare: int) -> None:
    """None exactly where all that may go is not enough: a disk that others filled empties no cache."""
    total = sum(file.bytes for file in kept)
    most = sum(file.bytes for file in kept if not file.held)
    fits = free + most >= spare and (limit is None or total - most <= limit)
    assert (victims(kept, limit=limit, free=free, spare=spare) is not None) == fits


@given(files)
def test_where_there_is_room_all_stay(kept: list[Kept]) -> None:
    total = sum(file.bytes for file in kept)
    assert victims(kept, limit=total, free=2, spare=2) == ()
