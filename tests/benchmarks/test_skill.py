"""Root-mean-square errors, and what counts as unseen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from maelio.benchmarks.skill import NO_ERROR, squared_error
from maelio.benchmarks.training import Normalisation, measure_skill, new_learner, steps_in

temperatures = st.floats(180.0, 330.0, width=32)  # K
pairs = st.integers(1, 40).flatmap(
    lambda samples: st.tuples(*[arrays(np.float32, (samples, 3), elements=temperatures)] * 2)
)


@given(pairs, st.integers(1, 40))
def test_the_error_over_batches_is_the_error_over_all(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]], batch: int
) -> None:
    """However the samples are cut into batches."""
    prediction, truth = map(torch.from_numpy, pair)
    total = NO_ERROR
    for start in range(0, len(truth), batch):
        total += squared_error(prediction[start : start + batch], truth[start : start + batch])
    wide = [values.astype(np.float64) for values in pair]
    assert total.count == truth.numel()
    assert total.rmse == pytest.approx(np.sqrt(np.mean((wide[0] - wide[1]) ** 2)), rel=1e-12, abs=0)


def test_nothing_compared_is_nan() -> None:
    assert np.isnan(NO_ERROR.rmse)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="against truth"):
        squared_error(torch.zeros(3, 1), torch.zeros(3))


def as_series(batch: Tensor) -> Tensor:
    return batch


def windows(rows: NDArray[np.float32]) -> Tensor:
    """Shape: (time, latitude, longitude) -> (sample, step, latitude, longitude), four steps."""
    return torch.from_numpy(np.stack([rows[i : i + 4] for i in range(len(rows) - 3)]))


def test_windows_that_share_a_step_with_the_training_data_are_left_out() -> None:
    rows = np.random.default_rng(0).normal(280, 5, (20, 5, 6)).astype(np.float32)
    trained, tested = windows(rows[:12]), windows(rows)
    learner = new_learner(0, Normalisation(280, 5))
    skill = measure_skill(
        learner, torch.split(tested, 3), as_series, steps_in(torch.split(trained, 2), as_series)
    )
    assert (skill.tested, skill.left_out) == (5, 12)  # windows from row 12 on, of 17
    fresh = rows[12:].astype(np.float64)
    persistence = np.sqrt(np.mean((fresh[3:] - fresh[2:-1]) ** 2))
    assert skill.persistence.rmse == pytest.approx(persistence, rel=1e-9)


def test_an_untrained_network_forecasts_near_the_mean_of_its_steps() -> None:
    """So that training starts there."""
    rows = np.random.default_rng(0).normal(280, 5, (9, 5, 6)).astype(np.float32)
    skill = measure_skill(new_learner(0, Normalisation(280, 5)), [windows(rows)], as_series)
    assert skill.model.rmse == pytest.approx(skill.mean.rmse, abs=0.5)
    assert skill.left_out == 0
