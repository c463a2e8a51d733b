"""Probabilistic scores against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from maelio.benchmarks.weather.ensembles import eecrps, ensemble_crps, extreme_forecast_index, gaussian_crps
from maelio.errors import BadRequest

values = st.floats(-50, 50).map(lambda value: round(value, 3))
ensembles = arrays(np.float64, st.integers(2, 12), elements=values)


def integral(members: NDArray[np.float64], truth: float) -> float:
    """Of the squared distance between the distribution of the members and the step at the truth, piece by piece."""
    edges = np.unique([*members, truth])
    below = (members[:, None] <= edges[:-1]).mean(0) - (truth <= edges[:-1])
    return float((below**2 * np.diff(edges)).sum())


@given(ensembles, values)
def test_over_all_pairs_it_is_the_integral(members: NDArray[np.float64], truth: float) -> None:
    found = ensemble_crps(torch.from_numpy(members), torch.tensor(truth, dtype=torch.float64), fair=False)
    assert float(found) == pytest.approx(integral(members, truth), abs=1e-9)


@given(ensembles, values, st.randoms())
def test_fair_is_over_pairs_of_different_members_in_any_order(
    members: NDArray[np.float64], truth: float, random: object
) -> None:
    count = len(members)
    distance = np.abs(members[:, None] - members).sum() / (2 * count * (count - 1))
    wanted = np.abs(members - truth).mean() - distance
    random.shuffle(members)  # type: ignore[attr-defined]
    found = ensemble_crps(torch.from_numpy(members), torch.tensor(truth, dtype=torch.float64))
    assert float(found) == pytest.approx(wanted, abs=1e-9)


def test_members_lie_along_any_axis() -> None:
    members, truth = torch.randn(4, 3, 5), torch.randn(4, 5)
    torch.testing.assert_close(
        ensemble_crps(members, truth, dim=1), ensemble_crps(members.movedim(1, -1), truth)
    )


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(-10, 10))
def test_of_a_normal_distribution_it_is_the_integral(mean: float, std: float, truth: float) -> None:
    def squared(x: float) -> float:
        return float((norm.cdf(x, mean, std) - (x >= truth)) ** 2)

    low, high = min(mean - 12 * std, truth), max(mean + 12 * std, truth)
    wanted = quad(squared, low, truth, limit=200)[0] + quad(squared, truth, high, limit=200)[0]
    found = gaussian_crps(*(torch.tensor(value, dtype=torch.float64) for value in (mean, std, truth)))
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_gradients_are_those_of_differences() -> None:
    random = np.random.default_rng(0)
    members, truth = (torch.from_numpy(random.standard_normal(shape)) for shape in ((2, 5), (2,)))
    assert torch.autograd.gradcheck(ensemble_crps, (members.requires_grad_(), truth.requires_grad_()))
    mean, std = truth.detach() + 0.3, torch.tensor([0.7, 1.2], dtype=torch.float64)
    assert torch.autograd.gradcheck(gaussian_crps, (mean.requires_grad_(), std.requires_grad_(), truth))


LEVELS = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
CLIMATE = torch.from_numpy(norm.ppf(LEVELS.numpy()))


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(-4, 4)), st.floats(0, 3))
def test_the_index_is_bounded_and_rises_with_the_members(members: NDArray[np.float64], warmer: float) -> None:
    found, higher = (
        float(extreme_forecast_index(torch.from_numpy(ensemble), CLIMATE, LEVELS))
        for ensemble in (members, members + warmer)
    )
    assert -0.8 < found <= higher < 0.8


def test_the_index_of_the_climate_itself_is_near_zero_and_of_extremes_the_outermost() -> None:
    own = torch.from_numpy(norm.ppf((np.arange(1000) + 0.5) / 1000))
    assert float(extreme_forecast_index(own, CLIMATE, LEVELS)) == pytest.approx(0, abs=1e-3)
    bound = 2 / np.pi * 0.05 * float((LEVELS / (1 - LEVELS)).sqrt().sum())
    assert float(extreme_forecast_index(own + 99, CLIMATE, LEVELS)) == pytest.approx(bound)
    assert float(extreme_forecast_index(own - 99, CLIMATE, LEVELS)) == pytest.approx(-bound)


def test_eecrps_weighs_by_the_size_of_the_index() -> None:
    members, truth = torch.randn(6, 10), torch.randn(6)
    index = torch.linspace(-1, 1, 6)
    torch.testing.assert_close(eecrps(members, truth, index), index.abs() * ensemble_crps(members, truth))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadRequest, match="against truth"):
        ensemble_crps(torch.zeros(3, 4), torch.zeros(4))
    with pytest.raises(BadRequest, match="one member"):
        ensemble_crps(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(BadRequest, match="one each"):
        extreme_forecast_index(torch.zeros(3), CLIMATE[:5], LEVELS)
    with pytest.raises(BadRequest, match="equally spaced"):
        extreme_forecast_index(torch.zeros(3), CLIMATE[:3], torch.tensor([0.1, 0.2, 0.9]))
