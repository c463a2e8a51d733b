"""U-Nets: maps in, maps of the same size out, with what is near and what is far taken together."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from maelio.errors import BadRequest


class UNet(nn.Module):
    """Two convolutions with batch normalisation at each of `depth` + 1 scales; their width doubles from one to the next.

    Shape: (sample, channel, y, x) -> (sample, out, y, x); sides of at least ``2**depth``.
    Source: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28, with bilinear interpolation on the way up.
    """

    def __init__(self, channels: int, out: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**scale for scale in range(depth + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(
            _twice(below + beside, beside)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(width, out, 1)

    def forward(self, maps: Tensor) -> Tensor:
        beside: list[Tensor] = []
        for scale, convolve in enumerate(self.down):
            maps = convolve(max_pool2d(maps, 2) if scale else maps)
            beside.append(maps)
        beside.pop()
        for convolve in self.up:
            maps = convolve(torch.cat([_as_large(maps, beside[-1]), beside.pop()], 1))
        result: Tensor = self.last(maps)
        return result


class WeatherUNet(nn.Module):
    """The U-Net of Grönquist et al. in two dimensions: five scales, no normalisation, the input itself joins the last.

    Shape: (sample, channel, y, x) -> (sample, out, y, x); sides are multiples of 32.
    Raises BadRequest: a side is not.
    Source: Grönquist et al. 2021, doi:10.1098/rsta.2020.0092; layers as in its code.
    """

    def __init__(self, channels: int = 42, out: int = 1, unit: int = 32) -> None:
        super().__init__()
        narrow, down = 2 * unit, [width * unit for width in (2, 3, 4, 5, 7)]
        self.first = nn.Conv2d(channels, narrow, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip([narrow, *down], down, strict=False)
        )
        below, self.up = down[-1], nn.ModuleList()
        for beside, width in zip([*down[-2::-1], channels], (10, 7, 6, 4, 4), strict=True):
            self.up.append(nn.Conv2d(below + beside, width * unit, 3, padding=1))
            below = narrow if beside == channels else width * unit
            self.up.append(nn.Conv2d(width * unit, below, 3, padding=1))
        self.last = nn.Conv2d(narrow, out, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[-2] % 32 or maps.shape[-1] % 32:
            raise BadRequest(f"maps of {tuple(maps.shape[-2:])}; wanted sides that are multiples of 32")
        beside = [maps]
        maps = relu(self.first(maps))
        for convolve in self.down:
            maps = max_pool2d(relu(convolve(maps)), 2)
            beside.append(maps)
        beside.pop()
        for first, second in zip(self.up[::2], self.up[1::2], strict=True):
            maps = relu(second(relu(first(torch.cat([_as_large(maps, beside[-1]), beside.pop()], 1)))))
        result: Tensor = self.last(maps)
        return result


def _twice(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
    )  # fmt: skip


def _as_large(maps: Tensor, other: Tensor) -> Tensor:
    return interpolate(maps, size=other.shape[-2:], mode="bilinear")
