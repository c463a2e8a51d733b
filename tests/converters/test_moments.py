"""Statistics taken in parts are those of the whole, for any values and any cut."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from maelio.converters.moments import Moments, join, moments, moments_of_each

fields = arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 6)),
    elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
)
cuts = st.lists(st.integers(0, 8), max_size=3)


def parted(field: NDArray[np.floating], places: Sequence[int], level_axis: int | None) -> Moments:
    levels = 1 if level_axis is None else field.shape[level_axis]
    parts = [part for part in np.split(field, sorted(places)) if len(part)]
    return join((moments(part, level_axis) for part in parts), levels)


@given(field=fields, places=cuts)
def test_any_cut_gives_numpys_statistics(field: NDArray[np.floating], places: list[int]) -> None:
    """Count, missing, extremes, mean and deviation, in float64 precision."""
    found = parted(field, [place for place in places if place <= len(field)], None).statistics()
    values = field[~np.isnan(field)].astype(np.float64)
    assert found.count == (values.size,)
    assert found.missing == (field.size - values.size,)
    if values.size:
        assert found.min == (values.min(),)
        assert found.max == (values.max(),)
        np.testing.assert_allclose(found.mean[0], values.mean(), rtol=1e-9, atol=1e-9 * np.abs(values).max())
        np.testing.assert_allclose(found.std[0], values.std(), rtol=1e-6, atol=1e-9 * np.abs(values).max())
    else:
        assert np.isnan([found.min[0], found.max[0], found.mean[0], found.std[0]]).all()


@given(field=fields)
def test_levels_are_kept_apart(field: NDArray[np.floating]) -> None:
    """Along the vertical axis each level has the statistics that it has alone."""
    together = moments(field, 1).statistics()
    for level in range(field.shape[1]):
        alone = moments(field[:, level], None).statistics()
        assert together.count[level] == alone.count[0]
        np.testing.assert_allclose(together.mean[level], alone.mean[0], rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(together.std[level], alone.std[0], rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 4), (40, 3, 70), (40, 3, 70, 2), (5, 2, 60, 90), (3, 2, 3, 70000)])
@pytest.mark.parametrize("level_axis", [None, 1, 2])
def test_all_variables_of_a_block_have_the_moments_of_each_alone(
    shape: tuple[int, ...], level_axis: int | None
) -> None:
    """Small rows and large ones, one variable far from zero, the first values of the others missing: as NumPy has them."""
    if level_axis is not None and level_axis + 1 >= len(shape):
        return
    block = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    block[:, 0] += 3000
    block[0, 1:] = np.nan
    found = moments_of_each(block, level_axis)
    assert len(found) == shape[1]
    for number, each in enumerate(found):
        values = block[:, number].astype(np.float64)
        levels = values.reshape(1, -1) if level_axis is None else np.moveaxis(values, level_axis, 0)
        levels = levels.reshape(len(levels), -1)
        known = each.statistics()
        np.testing.assert_array_equal(known.missing, np.isnan(levels).sum(axis=1))
        np.testing.assert_array_equal(known.min, np.nanmin(levels, axis=1))
        np.testing.assert_array_equal(known.max, np.nanmax(levels, axis=1))
        np.testing.assert_allclose(known.mean, np.nanmean(levels, axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(known.std, np.nanstd(levels, axis=1), rtol=1e-9)


@given(field=fields)
def test_the_journal_keeps_every_bit(field: NDArray[np.floating]) -> None:
    """A resumed conversion ends with the very same statistics."""
    before = moments(field, 1)
    after = Moments.from_json(before.to_json())
    for name in Moments.__slots__:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_deviation_of_large_values_is_not_lost(dtype: type[np.floating]) -> None:
    """1e5 Pa with a deviation of 1 Pa, over many slabs."""
    field = (1e5 + np.random.default_rng(0).normal(size=(7, 300, 300))).astype(dtype)
    found = moments(field, None).statistics()
    np.testing.assert_allclose(found.std[0], field.astype(np.float64).std(), rtol=1e-9)
    np.testing.assert_allclose(found.mean[0], field.astype(np.float64).mean(), rtol=1e-14)


def test_integers_have_statistics_too() -> None:
    """Counts and flags are fields like others."""
    found = moments(np.arange(12, dtype=np.int32).reshape(3, 4), None).statistics()
    assert (found.min[0], found.max[0], found.mean[0], found.count[0]) == (0, 11, 5.5, 12)
