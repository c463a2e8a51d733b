"""Small networks to train on a converted dataset."""

import torch
from torch import Tensor, nn

SMALL = 10.0  # a year departs from the mean of three by about a tenth of the spread over the map


class NextStep(nn.Module):
    """Three convolutions that predict how the next step departs from the mean of the steps before it.

    Shape: (sample, step, latitude, longitude) -> (sample, latitude, longitude). Unit: any, normalised.
    The last layer starts at zero, so that training starts from that mean.
    """

    def __init__(self, steps: int = 3, width: int = 32) -> None:
        super().__init__()
        last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.departure = nn.Sequential(
            nn.Conv2d(steps, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            last,
        )  # fmt: skip

    def forward(self, steps: Tensor) -> Tensor:
        mean = steps.mean(1, keepdim=True)
        next_step: Tensor = mean + self.departure((steps - mean) * SMALL)
        return next_step[:, 0]


def new_model(seed: int) -> NextStep:
    """The same weights for the same seed; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NextStep()
