"""A1: forecasts as quantiles, and the score that each of them minimises."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maelio.errors import BadRequest


class QuantileLoss(nn.Module):
    """The mean pinball loss of several quantiles. Unit: that of the target.

    Args:
        levels: probabilities of the quantiles, within 0 and 1; those of A1 by default.

    Shape: prediction (sample, level, ...), target (sample, ...) -> ().
    Raises:
        BadRequest: shapes that do not fit; levels outside.
    Source: Koenker and Bassett 1978, doi:10.2307/1913643.
    """

    levels: Tensor

    def __init__(self, levels: Sequence[float] = (0.1, 0.5, 0.9)) -> None:
        super().__init__()
        if not levels or not all(0 < level < 1 for level in levels):
            raise BadRequest(f"levels={tuple(levels)}; wanted probabilities within 0 and 1")
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        wanted = (len(target), len(self.levels), *target.shape[1:])
        if prediction.shape != wanted:
            raise BadRequest(f"prediction {tuple(prediction.shape)}; wanted {wanted}, (sample, level, ...)")
        error = target[:, None] - prediction
        levels = self.levels.to(error.dtype).view(-1, *[1] * (target.ndim - 1))
        return torch.maximum(levels * error, (levels - 1) * error).mean()
