"""Random fields and elementary functions: their laws, and NumPy as the second opinion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.plugins.standins import elementary
from maelio.plugins.standins.fields import PERIOD, generator, noise, scaled

Floats = NDArray[np.float64]

laws = settings(deadline=None, max_examples=60)
few = st.integers(1, 6)
exponents = arrays(np.float64, few, elements=st.floats(-700, 700))
positive = arrays(np.float64, few, elements=st.floats(1e-300, 1e300))
angles = arrays(np.float64, few, elements=st.floats(-1e4, 1e4))


@laws
@given(exponents)
def test_exp_is_that_of_numpy(x: Floats) -> None:
    np.testing.assert_allclose(elementary.exp(x), np.exp(x), rtol=1e-14)


@laws
@given(positive)
def test_log_is_that_of_numpy(x: Floats) -> None:
    np.testing.assert_allclose(elementary.log(x), np.log(x), rtol=1e-14, atol=1e-15)


@laws
@given(angles)
def test_cos_and_sin_are_those_of_numpy(x: Floats) -> None:
    np.testing.assert_allclose(elementary.cos(x), np.cos(x), atol=1e-11)
    np.testing.assert_allclose(elementary.sin(x), np.sin(x), atol=1e-11)


@laws
@given(positive, st.floats(-2, 2).filter(lambda y: y == 0 or abs(y) > 1e-3))
def test_power_is_that_of_numpy(x: Floats, exponent: float) -> None:
    inside = x[(np.abs(exponent * np.log(x)) < 690)]
    np.testing.assert_allclose(elementary.power(inside, exponent), inside**exponent, rtol=1e-12)


places = arrays(np.float64, few, elements=st.floats(-40, 40))


@laws
@given(st.integers(0, 9), places, places)
def test_a_grid_holds_the_values_of_its_points(seed: int, first: Floats, second: Floats) -> None:
    """So that it does not matter in which pieces a file is made."""
    field = noise(generator(seed, "test"), 2)
    grid = field.grid(first, second)
    assert grid.shape == (len(first), len(second))
    for row, place in enumerate(first):
        np.testing.assert_allclose(field.points(np.full(len(second), place), second), grid[row], atol=1e-12)
        np.testing.assert_array_equal(field.grid(first[row : row + 1], second)[0], grid[row])


@laws
@given(st.integers(0, 9), places)
def test_a_field_has_no_seam(seed: int, place: Floats) -> None:
    field = noise(generator(seed, "test"), 1)
    np.testing.assert_allclose(field.grid(place), field.grid(place + PERIOD), atol=1e-8)


def test_a_field_has_mean_0_and_variance_1_at_and_between_the_nodes() -> None:
    fields = [noise(generator(seed, "test"), 2, octaves=2) for seed in range(1500)]
    for place in (0.0, 0.5, 3.3):
        values = np.array([field.grid(np.array([place]), np.array([2 * place]))[0, 0] for field in fields])
        assert values.mean() == pytest.approx(0, abs=0.1)
        assert values.var() == pytest.approx(1, abs=0.12)


def test_neighbours_are_alike() -> None:
    """A red spectrum: what is a hundredth of a cell away is nearly the same, what is five away is not."""
    field = noise(generator(0, "test"), 1)
    x = np.arange(0, PERIOD, 0.01)
    values = field.grid(x)
    assert np.corrcoef(values, field.grid(x + 0.01))[0, 1] > 0.999
    assert abs(np.corrcoef(values, field.grid(x + 5.3))[0, 1]) < 0.6


def test_random_numbers_depend_on_what_they_are_for() -> None:
    def first(*names: str | int) -> float:
        return float(generator(0, *names).random())

    assert first("a", 1) == first("a", 1)
    assert (
        len({first("a", 1), first("a", 2), first("a1"), first("b", 1), float(generator(1, "a", 1).random())})
        == 5
    )


@laws
@given(st.integers(1, 10**7), st.floats(0, 1, exclude_min=True), st.integers(1, 50))
def test_a_scaled_size_is_that_share_of_the_whole(full: int, scale: float, least: int) -> None:
    found = scaled(full, scale, least=least)
    assert found in (full, least) or abs(found - full * scale) <= 0.5
    assert found <= full
    assert scaled(full, 1.0, least=least) == full


@pytest.mark.parametrize("scale", [0, -0.5, 1.01, float("nan"), float("inf")])
def test_other_scales_are_refused(scale: float) -> None:
    with pytest.raises(BadRequest, match="wanted above 0 and at most 1"):
        scaled(10, scale, least=1)
