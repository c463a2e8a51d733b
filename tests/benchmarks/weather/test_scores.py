"""Scores gathered over batches."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.benchmarks.weather.ensembles import ensemble_crps
from maelio.benchmarks.weather.latitude import latitude_weights
from maelio.benchmarks.weather.scores import ACC, CRPS, MAE, RMSE, Bias, SpreadSkill
from maelio.errors import BadRequest

Fields = NDArray[np.float64]
LATITUDE = np.linspace(60, 30, 7)
WEIGHTS = xr.DataArray(latitude_weights(LATITUDE).numpy(), dims="latitude")
DIMS = ("sample", "variable", "latitude", "longitude")
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.standard_normal((12, 2, 7, 5))
FORECAST = TRUTH + 0.5 * RANDOM.standard_normal(TRUTH.shape) + 0.1
CLIMATE = 0.2 * RANDOM.standard_normal(TRUTH.shape[1:])
MEMBERS = TRUTH[:, None] + RANDOM.standard_normal((12, 6, 2, 7, 5))


def globe(values: Fields) -> xr.DataArray:
    return xr.DataArray(values, dims=DIMS).weighted(WEIGHTS).mean(("latitude", "longitude"))


def correlation() -> Fields:
    forecast, truth = FORECAST - CLIMATE, TRUTH - CLIMATE
    each = globe(forecast * truth) / np.sqrt(globe(forecast**2) * globe(truth**2))
    return each.mean("sample").values


def spread_skill() -> Fields:
    spread = globe(MEMBERS.var(1, ddof=1)).mean("sample")
    error = globe((MEMBERS.mean(1) - TRUTH) ** 2).mean("sample")
    ratio: Fields = (7 / 6 * spread / error).values
    return np.sqrt(ratio)


CASES: list[
    tuple[type[RMSE | MAE | Bias | ACC | CRPS | SpreadSkill], tuple[Fields, ...], Callable[[], Fields]]
] = [
    (RMSE, (FORECAST, TRUTH), lambda: globe((FORECAST - TRUTH) ** 2).mean("sample").values ** 0.5),
    (MAE, (FORECAST, TRUTH), lambda: globe(abs(FORECAST - TRUTH)).mean("sample").values),
    (Bias, (FORECAST, TRUTH), lambda: globe(FORECAST - TRUTH).mean("sample").values),
    (ACC, (FORECAST, TRUTH, np.broadcast_to(CLIMATE, TRUTH.shape).copy()), correlation),
    (
        CRPS,
        (MEMBERS, TRUTH),
        lambda: (
            globe(ensemble_crps(torch.from_numpy(MEMBERS), torch.from_numpy(TRUTH), dim=1).numpy())
            .mean("sample")
            .values
        ),
    ),
    (SpreadSkill, (MEMBERS, TRUTH), spread_skill),
]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[case[0].__name__ for case in CASES])
@settings(max_examples=10)
@given(cuts=st.sets(st.integers(1, 11)))
def test_a_score_is_that_of_all_samples_however_they_are_batched(case: int, cuts: set[int]) -> None:
    """And as xarray's weighted means have it."""
    score, fields, wanted = CASES[case]
    found = score(LATITUDE)
    bounds = [0, *sorted(cuts), 12]
    for first, last in pairwise(bounds):
        found.update(*(torch.from_numpy(field[first:last]) for field in fields))
    np.testing.assert_allclose(found.compute().numpy(), wanted(), rtol=1e-12)


def test_the_root_is_taken_after_the_mean_over_samples() -> None:
    score = RMSE([10, 20])
    for error in (3.0, 4.0):
        score.update(torch.full((1, 1, 2, 2), error), torch.zeros(1, 1, 2, 2))
    assert float(score.compute()) == pytest.approx(12.5**0.5)


def test_the_forecast_of_the_truth_correlates_fully_and_its_opposite_the_other_way() -> None:
    truth = torch.from_numpy(TRUTH)
    for forecast, wanted in ((truth, 1.0), (-3 * truth, -1.0)):
        score = ACC(LATITUDE)
        score.update(forecast, truth, torch.zeros(()))
        np.testing.assert_allclose(score.compute().numpy(), wanted, rtol=1e-12)


def test_an_ensemble_that_the_truth_could_be_a_member_of_has_the_spread_of_its_error() -> None:
    draws = np.random.default_rng(1).standard_normal((400, 5, 1, 7, 8))
    score = SpreadSkill(LATITUDE)
    score.update(torch.from_numpy(draws[:, 1:]), torch.from_numpy(draws[:, 0]))
    assert float(score.compute()) == pytest.approx(1, abs=0.02)


def test_missing_values_make_a_score_missing() -> None:
    score = RMSE([10, 20])
    score.update(torch.tensor([[[[1.0]], [[torch.nan]]]]).reshape(1, 1, 2, 1), torch.zeros(1, 1, 2, 1))
    assert bool(score.compute().isnan())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadRequest, match="against truth"):
        RMSE([10, 20]).update(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2))
    score = SpreadSkill([10, 20])
    score.update(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(BadRequest, match="4 members after one of 3"):
        score.update(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2))
