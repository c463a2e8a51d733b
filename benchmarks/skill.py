"""How far a prediction lies from the truth."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SquaredError:
    """Squared errors summed over `count` values; two of them add up, so batches may be of any size.

    Unit of `total`: that of the values, squared. Every value weighs the same, whatever its latitude.
    """

    total: float = 0.0
    count: int = 0

    def __add__(self, other: "SquaredError") -> "SquaredError":
        return SquaredError(self.total + other.total, self.count + other.count)

    @property
    def rmse(self) -> float:
        """Root of the mean; NaN where nothing was compared. Unit: that of the values."""
        return sqrt(self.total / self.count) if self.count else float("nan")


NO_ERROR = SquaredError()


def squared_error(prediction: Tensor, truth: Tensor) -> SquaredError:
    """Shape: any, the same for both. Summed in float64, whatever the dtype.

    Raises ValueError: the shapes differ (nothing is broadcast).
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} against truth {tuple(truth.shape)}")
    difference = prediction.to(torch.float64) - truth.to(torch.float64)
    return SquaredError(float(difference.square().sum()), difference.numel())
