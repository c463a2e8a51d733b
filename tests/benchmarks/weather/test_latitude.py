"""Weights of rows of latitude."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.benchmarks.weather.latitude import latitude_weights
from maelio.errors import BadRequest


def to_the_poles(latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """WeatherBench 2's weights: cells are bounded by the middles between rows, and the outermost by the poles."""
    ordered = np.sort(latitude)
    bounds = np.deg2rad(np.concatenate([[-90], (ordered[1:] + ordered[:-1]) / 2, [90]]))
    areas = np.sin(bounds[1:]) - np.sin(bounds[:-1])
    weights: NDArray[np.float64] = areas / areas.mean()
    return weights if latitude[0] < latitude[-1] else weights[::-1]


@given(st.integers(2, 400), st.booleans(), st.booleans())
def test_global_grids_weigh_as_in_weatherbench_2(rows: int, poles: bool, falling: bool) -> None:
    """With rows at the poles and without, from north and from south."""
    half = 0.0 if poles else 90 / rows
    latitude = np.linspace(-90 + half, 90 - half, rows)[:: -1 if falling else 1]
    np.testing.assert_allclose(latitude_weights(latitude).numpy(), to_the_poles(latitude), rtol=1e-9)


def test_gaussian_grids_weigh_as_in_weatherbench_2() -> None:
    """And nearly as their quadrature has it."""
    sines, quadrature = np.polynomial.legendre.leggauss(64)
    latitude = np.rad2deg(np.arcsin(sines))
    weights = latitude_weights(latitude).numpy()
    np.testing.assert_allclose(weights, to_the_poles(latitude), rtol=1e-9)
    np.testing.assert_allclose(weights, quadrature / quadrature.mean(), rtol=0.06)


@given(st.floats(-80, 70), st.floats(0.01, 1), st.integers(2, 10))
def test_a_region_does_not_weigh_what_lies_outside(south: float, spacing: float, rows: int) -> None:
    """Its outermost rows are cells like the others."""
    latitude = south + spacing * np.arange(rows)
    cosine = np.cos(np.deg2rad(latitude))
    np.testing.assert_allclose(latitude_weights(latitude).numpy(), cosine / cosine.mean(), rtol=1e-6)


def test_by_cosine_a_pole_weighs_nothing_and_by_area_its_cap() -> None:
    latitude = np.linspace(90, -90, 361)
    assert float(latitude_weights(latitude, "cosine")[0]) < 1e-15
    assert float(latitude_weights(latitude)[0]) == pytest.approx(1.7e-3, rel=0.02)


@given(
    st.lists(st.integers(-900, 900).map(lambda tenth: tenth / 10), min_size=2, max_size=50, unique=True),
    st.sampled_from(["area", "cosine"]),
)
def test_the_mean_weight_is_one_and_none_is_negative(latitudes: list[float], by: str) -> None:
    weights = latitude_weights(sorted(latitudes), by)  # type: ignore[arg-type]
    assert weights.dtype == torch.float64
    if bool(weights.isfinite().all()):  # two rows at the very poles have no cosine to weigh by
        assert float(weights.mean()) == pytest.approx(1)
        assert float(weights.min()) >= 0


@pytest.mark.parametrize(
    ("latitude", "by", "told"),
    [
        ([10.0], "area", "two rows"),
        ([10.0, 30.0, 20.0], "area", "in order"),
        ([[1.0, 2.0]], "area", "along one axis"),
        ([80.0, 91.0], "area", "latitude 91.0"),
        ([10.0, 20.0], "cos", "by='cos'"),
    ],
)
def test_what_is_no_latitude_is_refused(latitude: list[float], by: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        latitude_weights(latitude, by)  # type: ignore[arg-type]
