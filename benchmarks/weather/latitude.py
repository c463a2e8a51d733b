"""How much of the globe a row of a latitude-longitude grid stands for."""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maelio.errors import BadRequest

Weighting = Literal["area", "cosine"]


def latitude_weights(latitude: ArrayLike, by: Weighting = "area") -> Tensor:
    """The weight of every row, of mean 1.

    Args:
        latitude: degrees north, rising or falling.
        by: `area` is the area between two parallels, those half-way to the next rows. The outermost rows
            reach half a spacing outwards, and to the pole where no further row would fit before it. `cosine` is
            that of the latitude: nothing for a row at the pole, which yet stands for a cap.

    Shape: (latitude) -> (latitude). Dtype: float64.
    Raises:
        BadRequest: an unknown `by`; latitudes beyond the poles, not in order, or fewer than two.
    Source: WeatherBench 2 (Rasp et al. 2024, doi:10.1029/2023MS004019), `area`, whose grids are all global;
        WeatherBench (Rasp et al. 2020, doi:10.1029/2020MS002203), `cosine`.
    """
    degrees = np.asarray(latitude, np.float64)
    steps = np.diff(degrees)
    if degrees.ndim != 1 or degrees.size < 2 or not (np.all(steps > 0) or np.all(steps < 0)):
        raise BadRequest(
            f"latitude of shape {degrees.shape}; wanted two rows or more in order, along one axis"
        )
    if not np.all(np.abs(degrees) <= 90):
        raise BadRequest(f"latitude {degrees[np.argmax(np.abs(degrees))]}; wanted -90 to 90 degrees north")
    if by not in get_args(Weighting):
        raise BadRequest(f"by={by!r}; wanted one of {get_args(Weighting)}")
    weights = _areas(degrees) if by == "area" else np.cos(np.deg2rad(degrees))
    return torch.from_numpy(weights / weights.mean())


def _areas(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    middles = (degrees[1:] + degrees[:-1]) / 2
    bounds = np.concatenate([_end(degrees[0], degrees[1]), middles, _end(degrees[-1], degrees[-2])])
    areas: NDArray[np.float64] = np.abs(np.diff(np.sin(np.deg2rad(bounds))))
    return areas


def _end(outermost: float, next_inwards: float) -> list[float]:
    spacing = outermost - next_inwards
    pole = 90.0 if spacing > 0 else -90.0
    fits = abs(outermost + spacing) <= 90
    return [outermost + spacing / 2 if fits else pole]
