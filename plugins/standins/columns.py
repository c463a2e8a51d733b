"""Columns of the atmosphere as a radiation scheme takes them, anywhere on the Earth and at any time.

A column is a function of its place, its time and the seed: the same column is the same in every file that has it.
Names and dimensions are those of the inputs of maelstrom-radiation.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from maelio.plugins.standins.atmosphere import (
    GAS_CONSTANT,
    GRAVITY,
    LAPSE_RATE,
    SURFACE_PRESSURE,
    cos_zenith,
    half_level_pressure,
    half_levels,
    saturation,
    temperature,
    warmth,
)
from maelio.plugins.standins.elementary import cos, exp, log
from maelio.plugins.standins.fields import PERIOD, Noise, generator, noise

Floats = NDArray[np.float64]
Columns = dict[str, NDArray[np.float32]]

LEVELS = 137
PATCH = 16960  # columns of one patch
PATCHES = 16
STEP_SECONDS = 720  # of a time step, so that 125 of them are 25 hours and 29 such samples go through a month

GASES = {  # mol mol-1 near the surface, and the pressure (Pa) where half of it is gone
    "co2_vmr": (4.1e-4, 0.0),
    "n2o_vmr": (3.3e-7, 1500.0),
    "ch4_vmr": (1.9e-6, 1000.0),
    "o2_vmr": (0.2095, 0.0),
    "cfc11_vmr": (2.3e-10, 6000.0),
    "cfc12_vmr": (5.0e-10, 4000.0),
    "hcfc22_vmr": (2.4e-10, 3000.0),
    "ccl4_vmr": (8.0e-11, 6000.0),
}
_MODES = 3  # shapes in the vertical that a random field is made of
_DAYS_A_CELL = 2
_CENTRED = ("warm", "moist")  # fields with modes
_AT_SURFACE = ("terrain", "pressure", "skin", "aerosol")


@dataclass(frozen=True, slots=True)
class Places:
    """Where columns stand: degrees north and east, and seconds since 1970. (column,)"""

    latitude: Floats
    longitude: Floats
    seconds: Floats

    def part(self, start: int, stop: int) -> "Places":
        return Places(self.latitude[start:stop], self.longitude[start:stop], self.seconds[start:stop])

    def __len__(self) -> int:
        return len(self.latitude)


def octahedral(points: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Degrees north and east of points of the grid O256, numbered from 0 at the North Pole.

    Row i from a pole has 4 i + 16 points; rows are evenly spaced, within 0.01 degrees of Gaussian latitudes.
    Source: Malardel et al. 2016, ECMWF Newsletter 146.
    """
    north = 4 * np.arange(1, 257) + 16
    sizes = np.concatenate([north, north[::-1]])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    row = np.searchsorted(starts, points, side="right") - 1
    return 90 - (row.astype(np.float64) + 0.5) * (180 / 512), (points - starts[row]) * (360 / sizes[row])


def places(points: NDArray[np.int64], start: datetime, timesteps: NDArray[np.int64] | int) -> Places:
    """Points of O256 `timesteps` steps after `start`."""
    latitude, longitude = octahedral(points)
    seconds = start.timestamp() + np.asarray(timesteps, float) * STEP_SECONDS
    return Places(latitude, longitude, np.broadcast_to(seconds, latitude.shape))


def solar_irradiance(when: datetime) -> float:
    """W m-2 on a plane that faces the sun; the Earth is nearest to it in January."""
    days = (when - datetime(when.year, 1, 4, tzinfo=when.tzinfo)) / timedelta(days=1)
    return round(1361.0 * (1 + 0.0334 * float(cos(np.array(2 * np.pi * days / 365.25)))), 6)


def columns(where: Places, seed: int) -> Columns:
    """All inputs but `solar_irradiance`, float32, column first.

    Pressure rises downwards, humidity is at most at saturation, cloud stands where it is moist; where the sun is
    down, `cos_solar_zenith_angle` is 0.
    """
    random, shapes = _random(seed)
    cells = (
        where.latitude * (6 / 180) + 5,
        where.longitude * (PERIOD / 360),
        where.seconds / (86400 * _DAYS_A_CELL),
    )
    fields = {name: field.points(*cells) for name, field in random.items()}
    profiles = {
        name: sum(fields[f"{name}{mode}"][:, None] * shapes[mode] for mode in range(_MODES)) / _MODES**0.5
        for name in _CENTRED
    }
    season = (where.seconds / 86400 - 10957.0) / 365.2425
    mu = cos_zenith(where.latitude, where.longitude, where.seconds)
    terrain = 700 * np.maximum(0, random["terrain"].points(*cells[:2], np.zeros(len(where))) - 0.4)
    land = np.where(terrain > 0, 1.0, 0.0)
    surface_pressure = SURFACE_PRESSURE * exp(-terrain / 8000) + 900 * fields["pressure"]
    surface = warmth(where.latitude, season) - LAPSE_RATE * terrain + 3 * fields["warm0"]
    skin = surface + land * (12 * mu - 4) + fields["skin"]
    pressure_hl = half_level_pressure(surface_pressure, LEVELS)
    pressure = (pressure_hl[:, 1:] + pressure_hl[:, :-1]) / 2
    temperature_hl = (
        temperature(pressure_hl, surface_pressure[:, None], surface[:, None]) + 1.5 * profiles["warm"]
    )
    warm = (temperature_hl[:, 1:] + temperature_hl[:, :-1]) / 2
    humidity = np.clip(
        0.1 + 0.6 * pressure / surface_pressure[:, None] + 0.25 * profiles["moist"][:, 1:], 0.03, 1.0
    )
    troposphere = pressure > 1.5e4
    cloud = np.where(troposphere, np.clip((humidity - 0.72) / 0.28, 0, 1), 0.0)
    liquid = np.clip((warm - 250) / 23, 0, 1)
    thickness = (
        GAS_CONSTANT / GRAVITY * temperature_hl[:, 1:-1] * (log(pressure[:, 1:]) - log(pressure[:, :-1]))
    )
    ozone = log(pressure / 1000)
    found = {
        "pressure_hl": pressure_hl,
        "temperature_hl": temperature_hl,
        "q": np.where(troposphere, np.maximum(3e-6, humidity * saturation(warm, pressure)), 3e-6),
        "o3_mmr": 1e-5 * exp(-ozone * ozone / 3),
        **{name: near * pressure / (pressure + half) for name, (near, half) in GASES.items()},
        "cloud_fraction": cloud * cloud,
        "aerosol_mmr": _aerosols(fields["aerosol"], surface_pressure, pressure, land),
        "q_liquid": 1.5e-4 * cloud * cloud * liquid,
        "q_ice": 4e-5 * cloud * cloud * (1 - liquid),
        "re_liquid": np.broadcast_to((1.2e-5 - 4e-6 * land)[:, None], warm.shape),
        "re_ice": 2e-5 + 4e-5 * np.clip((warm - 200) / 73, 0, 1),
        "overlap_param": exp(-thickness / 2000),
        "skin_temperature": skin,
        "cos_solar_zenith_angle": mu,
        "sw_albedo": _albedo(land, skin, 1.0),
        "sw_albedo_direct": _albedo(land, skin, 0.9),
        "lw_emissivity": np.stack([0.99 - 0.02 * land, 0.98 - 0.03 * land], 1),
        "lat": where.latitude,
        "lon": where.longitude,
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def _aerosols(field: Floats, surface_pressure: Floats, pressure: Floats, land: Floats) -> Floats:
    """kg kg-1, (column, aerosol_type, level): most near the ground; odd types come from land, even ones from the sea."""
    decay = exp((pressure - surface_pressure[:, None]) / 2e4)
    kinds = np.arange(12)
    source = np.where(kinds % 2 == 1, land[:, None], 1 - land[:, None])
    near = 4e-10 * (0.1 + source) * (1 + 0.3 * np.clip(field, -3, 3))[:, None] / (1 + kinds / 4)
    return near[:, :, None] * decay[:, None, :]


def _albedo(land: Floats, skin: Floats, share: float) -> Floats:
    """(column, band): sea 0.06, land brighter in the near infrared, snow where it freezes."""
    bands = np.arange(6)
    snow = np.clip((271 - skin) / 10, 0, 1)[:, None]
    bare = np.where(land[:, None] > 0, 0.08 + 0.04 * bands, 0.06)
    return share * (bare * (1 - snow) + (0.8 - 0.08 * bands) * snow)


@lru_cache(maxsize=2)
def _random(seed: int) -> tuple[dict[str, Noise], Floats]:
    """Fields over latitude, longitude and time, and shapes (mode, half level)."""
    names = [*_AT_SURFACE, *(f"{name}{mode}" for name in _CENTRED for mode in range(_MODES))]
    fields = {name: noise(generator(seed, "columns", name), 3) for name in names}
    a, b = half_levels(LEVELS)
    height = -log(np.maximum(a + b * SURFACE_PRESSURE, 1.0) / SURFACE_PRESSURE)
    shapes = [noise(generator(seed, "columns", "shape", mode), 1).grid(height) for mode in range(_MODES)]
    return fields, np.stack(shapes)
