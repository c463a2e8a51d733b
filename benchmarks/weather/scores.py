"""Scores of forecasts against the truth, gathered over batches and ranks: `update` with each, `compute` at the end.

They are torchmetrics, so Lightning logs them, and `compute` sums over all ranks where torch.distributed runs. The
batches may be of any size: the score is that of all their samples. Sums are in float64.

Fields are (sample, *fields, latitude, longitude), and a score has the shape of `fields`, say (variable, level):
each is averaged over samples and, by weight, over the globe. A missing value makes the score of its field NaN.
"""

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics import Metric

from maelio.benchmarks.weather.ensembles import ensemble_crps
from maelio.benchmarks.weather.latitude import Weighting, latitude_weights
from maelio.errors import BadRequest


class _Mean(Metric):
    """The mean over samples of one number per sample and field. Subclasses say which, in `update`."""

    weights: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, latitude: ArrayLike, by: Weighting = "area", **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("weights", latitude_weights(latitude, by), persistent=False)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _globe(self, fields: Tensor) -> Tensor:
        """The weighted mean over latitude and longitude."""
        return (fields.double() * self.weights[:, None]).mean((-2, -1))

    def _add(self, values: Tensor) -> None:
        """`values`: (sample, *fields)."""
        self.total = self.total + values.double().sum(0)
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        return self.total / self.count


class RMSE(_Mean):
    """Root mean square error, the root taken after the mean over samples. Unit: that of the fields.

    Source: WeatherBench 2, doi:10.1029/2023MS004019, section 4.
    """

    higher_is_better = False

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._add(self._globe(_difference(prediction, truth).square()))

    def compute(self) -> Tensor:
        return super().compute().sqrt()


class MAE(_Mean):
    """Mean absolute error. Unit: that of the fields."""

    higher_is_better = False

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._add(self._globe(_difference(prediction, truth).abs()))


class Bias(_Mean):
    """Mean of prediction less truth. Unit: that of the fields."""

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._add(self._globe(_difference(prediction, truth)))


class ACC(_Mean):
    """Anomaly correlation coefficient: of each sample over the globe, then the mean over samples.

    Anomalies are departures from the `climatology` that `update` is given, of the shape of the truth or one
    that spreads to it; their mean over the globe is not taken off.

    Source: WeatherBench 2, doi:10.1029/2023MS004019, section 4.
    """

    higher_is_better = True

    def update(self, prediction: Tensor, truth: Tensor, climatology: Tensor) -> None:
        _difference(prediction, truth)
        forecast, observed = prediction.double() - climatology, truth.double() - climatology
        both = self._globe(forecast * observed)
        each = self._globe(forecast.square()) * self._globe(observed.square())
        self._add(both / each.sqrt())


class CRPS(_Mean):
    """Continuous ranked probability score of an ensemble, (sample, member, *fields, latitude, longitude).

    Unit: that of the fields. See `ensemble_crps` for `fair`.
    """

    higher_is_better = False

    def __init__(
        self, latitude: ArrayLike, by: Weighting = "area", *, fair: bool = True, **options: Any
    ) -> None:
        super().__init__(latitude, by, **options)
        self.fair = fair

    def update(self, members: Tensor, truth: Tensor) -> None:
        self._add(self._globe(ensemble_crps(members.double(), truth.double(), dim=1, fair=self.fair)))


class SpreadSkill(_Mean):
    """Spread of an ensemble over the error of its mean: 1 where it knows how uncertain it is, less where it is too sure.

    The spread is the root of the mean variance, of M - 1 degrees of freedom; the error is the RMSE of the mean of
    M members, which of a perfect ensemble is larger by ``sqrt(1 + 1/M)``: that is taken into account.
    Shape: as of `CRPS`. Unit: none.

    Source: Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1, equations 14 and 15.
    """

    members: Tensor

    def __init__(self, latitude: ArrayLike, by: Weighting = "area", **options: Any) -> None:
        super().__init__(latitude, by, **options)
        self.add_state("members", torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    def update(self, members: Tensor, truth: Tensor) -> None:
        count = members.shape[1]
        if count < 2 or self.members not in (0, count):
            raise BadRequest(
                f"an ensemble of {count} members after one of {int(self.members)}; wanted two or more, always as many"
            )
        self.members = torch.full_like(self.members, count)
        ensemble = members.double()
        variance = self._globe(ensemble.var(1))
        error = self._globe(_difference(ensemble.mean(1), truth.double()).square())
        self._add(torch.stack([variance, error], 1))

    def compute(self) -> Tensor:
        variance, error = super().compute()
        ratio: Tensor = variance * (1 + 1 / int(self.members)) / error
        return ratio.sqrt()


def _difference(prediction: Tensor, truth: Tensor) -> Tensor:
    if prediction.shape != truth.shape:
        raise BadRequest(f"prediction {tuple(prediction.shape)} against truth {tuple(truth.shape)}")
    return prediction.double() - truth.double()
