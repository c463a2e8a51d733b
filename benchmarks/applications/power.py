"""A6: what a wind turbine yields, from the weather of the hour and the time."""

from math import tau

import torch
from torch import Tensor, nn

GAS_CONSTANT = 287.05  # of dry air, J kg-1 K-1


def predictors(
    wind_u: Tensor, wind_v: Tensor, temperature: Tensor, pressure: Tensor, hour: Tensor, day: Tensor
) -> Tensor:
    """What the model is given of every hour: density, wind speed, and direction, time of day and of year as circles.

    Args:
        wind_u, wind_v: eastward and northward, m s-1; temperature: K; pressure: Pa.
        hour: of the day, 0 to 24; day: of the year, 0 to 365.25.

    Shape: (hour), each -> (hour, 8). Unit: kg m-3, m s-1, and none.
    """
    direction = torch.atan2(wind_u, wind_v)
    circles = [direction, hour / 24 * tau, day / 365.25 * tau]
    return torch.stack(
        [
            pressure / (GAS_CONSTANT * temperature),
            torch.hypot(wind_u, wind_v),
            *(part for angle in circles for part in (angle.sin(), angle.cos())),
        ],
        dim=-1,
    )


class PowerCurve(nn.Module):
    """A small network of the predictors, which it normalises by what it has seen in training.

    Args:
        rated: the most that the turbine yields, in the unit of the production.

    Shape: (hour, 8) -> (hour). Unit: that of `rated`; never below 0 or above it.
    """

    def __init__(self, rated: float, width: int = 64) -> None:
        super().__init__()
        self.rated = rated
        self.layers = nn.Sequential(
            nn.BatchNorm1d(8, affine=False),
            nn.Linear(8, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, weather: Tensor) -> Tensor:
        share: Tensor = self.layers(weather).sigmoid()
        return self.rated * share[:, 0]


def nmae(prediction: Tensor, truth: Tensor, rated: float) -> Tensor:
    """Mean absolute error as a part of the rated power; none counts where the truth is missing. Shape: any -> ()."""
    return (prediction - truth).abs().nanmean() / rated
