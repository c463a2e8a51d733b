"""A4: forecasts of an ensemble made better: a mean and a standard deviation for every place, trained by their CRPS."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from maelio.benchmarks.applications.unet import UNet

_SMALLEST = 1e-6  # of a standard deviation, in units of the target


class EMOS(nn.Module):
    """Ensemble model output statistics: the mean is linear in the members, the deviation in that of the members.

    12 + 1 numbers for 10 members. It begins as the ensemble itself.

    Shape: members (sample, member, ...) -> mean and standard deviation, (sample, ...). Unit: that of the members.
    Source: Gneiting et al. 2005, doi:10.1175/MWR2904.1.
    """

    def __init__(self, members: int = 10) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((members,), 1 / members))
        self.offset = nn.Parameter(torch.zeros(()))
        self.spread = nn.Parameter(torch.tensor([0.0, 1.0]))

    def forward(self, members: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tensordot(members, self.weights, dims=([1], [0])) + self.offset
        deviation = self.spread[0] + self.spread[1] * members.std(1)
        return mean, deviation.abs() + _SMALLEST


class Scaled(nn.Module):
    """A network that says how the truth departs from the ensemble, in deviations of the ensemble.

    Args:
        network: (sample, channel, y, x) -> (sample, 2, y, x), a shift of the mean and a factor of the deviation.

    Shape: inputs (sample, channel, y, x), the ensemble's mean and standard deviation (sample, y, x) -> mean and standard
    deviation, (sample, y, x). Unit: that of the ensemble.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        shift, factor = self.network(inputs).unbind(1)
        return mean + shift * std, (softplus(factor) + _SMALLEST) * std


def unet(channels: int = 14, width: int = 32) -> Scaled:
    """14 channels are mean and deviation of the seven variables of a pressure level; of the surface there are 22."""
    return Scaled(UNet(channels, 2, width))


class PointMLP(nn.Module):
    """For `Scaled`: one hidden layer, at every place by itself; where it is comes in as three more channels.

    Args:
        latitude, longitude: degrees, (y) and (x).

    Shape: (sample, channel, y, x) -> (sample, 2, y, x).
    Source: Ashkboos et al. 2022, arXiv:2206.14786, for the layers and the place.
    """

    place: Tensor

    def __init__(self, channels: int, latitude: Tensor, longitude: Tensor, width: int = 128) -> None:
        super().__init__()
        north, east = torch.meshgrid(latitude.deg2rad(), longitude.deg2rad(), indexing="ij")
        place = torch.stack([north.sin(), north.cos() * east.sin(), north.cos() * east.cos()])
        self.register_buffer("place", place.to(torch.get_default_dtype()), persistent=False)
        self.layers = nn.Sequential(nn.Conv2d(channels + 3, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.layers(torch.cat([inputs, self.place.expand(len(inputs), -1, -1, -1)], 1))
        return result


class ResNet2d(nn.Module):
    """The network behind the recipe of D2.2: inception blocks, and one channel that is shown to it twice more.

    Args:
        skip: that channel; by default, of 42, the spread of temperature at 48 h, which the target is likest.

    Shape: (sample, channel, y, x) -> (sample, 1, y, x).
    Source: Grönquist et al. 2021, doi:10.1098/rsta.2020.0092; layers as in its code.
    """

    def __init__(self, channels: int = 42, skip: int = 28, unit: int = 32) -> None:
        super().__init__()
        self.skip = skip
        first, second, *blocks = (width * unit for width in (2, 3, 4, 5, 7, 7, 5, 4))
        self.begin = nn.Sequential(_convolution(channels, first), _convolution(first, second))
        self.blocks = nn.Sequential(
            *(_Inception(a, b) for a, b in zip([second + 1, *blocks], blocks, strict=False))
        )
        self.last = nn.Conv2d(blocks[-1] + 1, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        shown = maps[:, self.skip : self.skip + 1]
        features = self.blocks(torch.cat([shown, self.begin(maps)], 1))
        result: Tensor = self.last(torch.cat([shown, features], 1))
        return result


class _Inception(nn.Module):
    """Windows of 1, 3, 5 and 7 cells side by side, a quarter of the channels each; that of 1 stays linear."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, width // 4, 1)
        self.wide = nn.ModuleList(
            nn.Conv2d(channels, width // 4, size, padding=size // 2) for size in (3, 5, 7)
        )
        self.normalise = nn.BatchNorm2d(width // 4 * 3)

    def forward(self, maps: Tensor) -> Tensor:
        wide = torch.cat([convolve(maps) for convolve in self.wide], 1)
        return torch.cat([self.normalise(wide).relu(), self.near(maps)], 1)


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
