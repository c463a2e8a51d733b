"""A3: emulators of a radiation scheme, one column of the atmosphere at a time, and the layer that keeps their energy.

A column is what a record of maelstrom-radiation-tf holds, from the top of the atmosphere (first) to the surface (last):

    sca_inputs (column, 17)           of the surface and the sun, see SCALARS
    col_inputs (column, level, 27)    gases, clouds and aerosols
    hl_inputs (column, half_level, 2) temperature, K, and pressure, Pa
    inter_inputs (column, interface, 1)
    pressure_hl (column, half_level, 1), Pa

with 137 levels, 138 half levels around them and 136 interfaces between them; other numbers that differ by one work too.
Fluxes are (column, half_level, 2), downward and upward, W m-2; heating rates (column, level, 1).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

GRAVITY = 9.80665  # m s-2
HEAT_CAPACITY = 1004.0  # of air at constant pressure, J kg-1 K-1
DAY = 86400.0  # s

Columns = Mapping[str, Tensor]

SKIN_TEMPERATURE = 0  # places among sca_inputs
COSINE_OF_ZENITH = 1
ALBEDO = slice(2, 8)
SOLAR_IRRADIANCE = 16
_SCALARS, _PROFILES = 17, 27
_CHANNELS = _SCALARS + _PROFILES + 2 + 1


def heating_rate(fluxes: Tensor, pressure: Tensor, scale: float = DAY) -> Tensor:
    """How fast the net flux that stays in a level heats it: -(g / c_p) d(down - up) / dp.

    Shape: fluxes (..., half_level, 2), pressure (..., half_level) -> (..., level).
    Unit: W m-2 and Pa -> K d-1, or K s-1 with `scale` 1.
    Source: Hogan and Bozzo 2018, doi:10.1029/2018MS001364; the constants as in the CliMetLab plug-in.
    """
    net = fluxes[..., 0] - fluxes[..., 1]
    return -scale * GRAVITY / HEAT_CAPACITY * net.diff(dim=-1) / pressure.diff(dim=-1)


def absorbed(rate: Tensor, pressure: Tensor, scale: float = DAY) -> Tensor:
    """The flux that all levels of a column keep, W m-2: net downward at the top less net downward at the surface.

    The other way round of `heating_rate`. Shape: rate (..., level), pressure (..., half_level) -> (...).
    """
    return (rate * pressure.diff(dim=-1)).sum(-1) * HEAT_CAPACITY / GRAVITY / scale


def incoming(columns: Columns) -> Tensor:
    """Solar flux on a horizontal plane at the top, W m-2, 0 at night. Shape: (column)."""
    scalars = columns["sca_inputs"]
    return scalars[:, SOLAR_IRRADIANCE] * scalars[:, COSINE_OF_ZENITH].clamp(min=0)


class Together(nn.Module):
    """All inputs of a column on half levels, each divided by its largest value.

    Levels are padded below, interfaces on both sides, scalars are repeated.
    Shape: Columns -> (column, 47, half_level). Args: the largest absolute value of every input, in the order
    scalars, profiles, temperature, pressure, interfaces; ones by default.
    """

    largest: Tensor

    def __init__(self, largest: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(_CHANNELS) if largest is None else largest)

    def forward(self, columns: Columns) -> Tensor:
        half_levels = columns["hl_inputs"].shape[1]
        together = torch.cat(
            [
                columns["sca_inputs"][:, None].expand(-1, half_levels, -1),
                pad(columns["col_inputs"], (0, 0, 0, 1)),
                columns["hl_inputs"],
                pad(columns["inter_inputs"], (0, 0, 1, 1)),
            ],
            dim=-1,
        )
        return (together / self.largest).mT


def largest_of(columns: Columns) -> Tensor:
    """For `Together`, of these columns; 1 where all is 0. Shape: (47)."""
    sizes = Together()(columns).abs().amax((0, 2))
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes))


class MinimalCNN(nn.Module):
    """`min_cnn`: heating rates, and fluxes at the surface and the top that agree with them.

    Five dilated and six plain convolutions along the column. The network gives heating rates and both fluxes at the
    surface; the net flux at the top is what they and the heating leave, so that no energy is lost.

    Shape: Columns -> fluxes (column, 3): net downward at the top, downward and upward at the surface; and heating
    rates (column, level, 1), K d-1.
    """

    def __init__(self, half_levels: int = 138, width: int = 64, largest: Tensor | None = None) -> None:
        super().__init__()
        self.together = Together(largest)
        self.along = _along(width, plain=6)
        self.rate = nn.Conv1d(width, 1, 2)  # of two half levels: their level
        self.surface = nn.Linear(width * half_levels, 2)

    def forward(self, columns: Columns) -> tuple[Tensor, Tensor]:
        features = self.along(self.together(columns))
        sun = incoming(columns)
        lit = (sun > 0)[:, None]
        rate = self.rate(features)[:, 0] * lit
        down, up = (self.surface(features.flatten(1)).sigmoid() * sun[:, None]).unbind(1)
        top = down - up + absorbed(rate, columns["pressure_hl"][..., 0])
        return torch.stack([top, down, up], 1), rate[..., None]


class CNN(nn.Module):
    """`cnn`: five dilated and five plain convolutions; both fluxes everywhere, and heating rates that follow from them.

    Shape: Columns -> fluxes (column, half_level, 2) and heating rates (column, level, 1), K d-1.
    """

    def __init__(self, width: int = 64, largest: Tensor | None = None) -> None:
        super().__init__()
        self.together = Together(largest)
        self.along = _along(width, plain=5)
        self.fluxes = nn.Conv1d(width, 2, 1)

    def forward(self, columns: Columns) -> tuple[Tensor, Tensor]:
        shares = self.fluxes(self.along(self.together(columns))).sigmoid().mT
        return _heated(shares * incoming(columns)[:, None, None], columns)


class RNN(nn.Module):
    """`rnn`: radiation goes down and up: one LSTM down the column, one up from the surface's albedo, one over both.

    Shape: as of `CNN`.
    """

    def __init__(self, width: int = 64, largest: Tensor | None = None) -> None:
        super().__init__()
        self.together = Together(largest)
        self.down = nn.LSTM(_CHANNELS, width, batch_first=True)
        self.ground = nn.Linear(ALBEDO.stop - ALBEDO.start, width)
        self.up = nn.LSTM(_CHANNELS + width, width, batch_first=True)
        self.both = nn.LSTM(2 * width, width, batch_first=True)
        self.fluxes = nn.Linear(width, 2)

    def forward(self, columns: Columns) -> tuple[Tensor, Tensor]:
        inputs = self.together(columns).mT
        down, _ = self.down(inputs)
        ground = self.ground(columns["sca_inputs"][:, ALBEDO]).tanh()[None]
        up, _ = self.up(torch.cat([inputs, down], -1).flip(1), (ground, torch.zeros_like(ground)))
        both, _ = self.both(torch.cat([down, up.flip(1)], -1))
        shares = self.fluxes(both).sigmoid()
        return _heated(shares * incoming(columns)[:, None, None], columns)


def _along(width: int, plain: int) -> nn.Sequential:
    """Convolutions of five half levels that keep the length: dilated ones see the whole column, plain ones follow."""
    layers: list[nn.Module] = []
    channels = _CHANNELS
    for dilation in (1, 2, 4, 8, 16, *[1] * plain):
        layers += [nn.Conv1d(channels, width, 5, padding="same", dilation=dilation), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers)


def _heated(fluxes: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    return fluxes, heating_rate(fluxes, columns["pressure_hl"][..., 0])[..., None]
