"""Losses between fields, as torch modules: each takes (prediction, target) and returns one number to minimise."""

from collections.abc import Mapping
from typing import Literal, get_args

import pytorch_msssim
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from maelio.benchmarks.weather.latitude import Weighting, latitude_weights
from maelio.errors import BadRequest

Error = Literal["mse", "mae", "rmse"]
_WINDOW = 11


class LatitudeWeighted(nn.Module):
    """The mean error, every row weighed by the part of the globe that it stands for.

    Args:
        latitude: degrees north, of the rows of the fields.
        error: `mse` in the square of the fields' unit, `mae` or `rmse` in their unit. The root is taken last,
            over all samples of the batch together.
        by: see `latitude_weights`.

    Shape: (..., latitude, longitude), the same twice -> ().
    Raises:
        BadRequest: see `latitude_weights`; an unknown `error`.
    """

    weights: Tensor

    def __init__(self, latitude: ArrayLike, error: Error = "mse", by: Weighting = "area") -> None:
        super().__init__()
        if error not in get_args(Error):
            raise BadRequest(f"error={error!r}; wanted one of {get_args(Error)}")
        self.error = error
        self.register_buffer("weights", latitude_weights(latitude, by)[:, None], persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        _check(prediction, target)
        difference = prediction - target
        size = difference.abs() if self.error == "mae" else difference.square()
        mean = (size * self.weights.to(size.dtype)).mean()
        return mean.sqrt() if self.error == "rmse" else mean


class SSIM(nn.Module):
    """1 - SSIM: how unlike two fields look, in a Gaussian window of standard deviation 1.5 cells.

    Args:
        data_range: what lies between the lowest and the highest value that the fields may have, in their unit.
        window: cells of its side, odd; Wang's 11.

    Shape: (sample, channel, y, x), the same twice, both sides at least `window` -> ().
    Raises:
        BadRequest: a side is shorter.
    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, by the package pytorch-msssim.
    """

    def __init__(self, data_range: float, window: int = _WINDOW) -> None:
        super().__init__()
        self.data_range = data_range
        self.window = window

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        _check(prediction, target, self.window)
        alike: Tensor = pytorch_msssim.ssim(
            prediction, target, data_range=self.data_range, win_size=self.window
        )
        return 1 - alike


class MSSSIM(nn.Module):
    """1 - MS-SSIM: as `SSIM`, of the fields and of their means over 2 x 2, 4 x 4, 8 x 8 and 16 x 16 cells.

    Args:
        data_range, window: as of `SSIM`. A smaller window serves smaller fields.

    Shape: (sample, channel, y, x), the same twice, both sides above ``16 * (window - 1)`` -> ().
    Raises:
        BadRequest: a side is shorter.
    Source: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216, by the package pytorch-msssim.
    """

    def __init__(self, data_range: float, window: int = _WINDOW) -> None:
        super().__init__()
        self.data_range = data_range
        self.window = window

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        _check(prediction, target, 16 * (self.window - 1) + 1)
        alike: Tensor = pytorch_msssim.ms_ssim(
            prediction, target, data_range=self.data_range, win_size=self.window
        )
        return 1 - alike


class Mixture(nn.Module):
    """A weighted sum of losses; the weights need not sum to 1.

    Args:
        terms: by name, the weight and the loss.

    Raises:
        BadRequest: no term.
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]]) -> None:
        super().__init__()
        if not terms:
            raise BadRequest("a mixture of no losses")
        self.weights = {name: weight for name, (weight, _) in terms.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in terms.items()})

    def parts(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Every term with its weight: they sum to the loss."""
        return {name: self.weights[name] * loss(prediction, target) for name, loss in self.losses.items()}

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return torch.stack(list(self.parts(prediction, target).values())).sum()


def mssim_loss(data_range: float = 4.3, alpha: float = 0.84, window: int = _WINDOW) -> Mixture:
    """(1 - alpha) MAE + alpha (1 - MS-SSIM): the mixture that MAELSTROM trained ENS-10 with.

    4.3 is the range of its target, the standardised spread of temperature at 850 hPa.
    Source: Zhao et al. 2017, doi:10.1109/TCI.2016.2644865, for `alpha`.
    """
    return Mixture({"mae": (1 - alpha, nn.L1Loss()), "msssim": (alpha, MSSSIM(data_range, window))})


def _check(prediction: Tensor, target: Tensor, side: int = 1) -> None:
    if prediction.shape != target.shape:
        raise BadRequest(f"prediction {tuple(prediction.shape)} against target {tuple(target.shape)}")
    if side > 1 and (prediction.ndim != 4 or min(prediction.shape[-2:]) < side):
        raise BadRequest(
            f"fields of shape {tuple(prediction.shape)}; "
            f"wanted (sample, channel, y, x) with sides of at least {side}"
        )
