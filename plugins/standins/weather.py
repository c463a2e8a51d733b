"""Weather on latitudes and longitudes: climate and its disturbances, of any variable, level and time.

What ENS-10 and the weather of the wind turbines are made of. Names are the short names of ecCodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from maelio.plugins.standins.atmosphere import (
    DEGREES,
    GAS_CONSTANT,
    SURFACE_PRESSURE,
    cos_zenith,
    saturation,
    season,
    temperature,
    warmth,
)
from maelio.plugins.standins.elementary import cos, exp, log, sin
from maelio.plugins.standins.fields import PERIOD, Noise, generator, noise

Floats = NDArray[np.float64]

_CELLS_OF_LATITUDE = 8 / 180
_CELLS_OF_LONGITUDE = PERIOD / 360
_DAYS_A_CELL = 2.0


@dataclass(frozen=True, slots=True)
class Field:
    """How a variable varies: `strength` of its weather and `error` of a two-day forecast, both standard deviations
    in its unit at 1000 hPa or at the surface; both times (p / 1000 hPa) ** `power` above. `bounds`: legal values."""

    strength: float
    error: float
    power: float = 0.0
    bounds: tuple[float, float] = (-np.inf, np.inf)


_POSITIVE = (0.0, np.inf)

PRESSURE_LEVEL: Mapping[str, Field] = {
    "z": Field(400.0, 90.0, -0.3),
    "t": Field(4.0, 0.9),
    "q": Field(1.5e-3, 5e-4, 3.0, _POSITIVE),
    "w": Field(0.2, 0.1),
    "d": Field(2e-5, 1e-5),
    "u": Field(6.0, 1.8, -0.2),
    "v": Field(6.0, 1.8, -0.2),
}
SURFACE: Mapping[str, Field] = {
    "sst": Field(1.0, 0.2, bounds=(271.35, 305.0)),
    "tcw": Field(8.0, 2.5, bounds=_POSITIVE),
    "tcwv": Field(8.0, 2.5, bounds=_POSITIVE),
    "cp": Field(1e-3, 4e-4, bounds=_POSITIVE),
    "msl": Field(900.0, 180.0),
    "tcc": Field(0.4, 0.2, bounds=(0.0, 1.0)),
    "10u": Field(5.0, 1.4),
    "10v": Field(5.0, 1.4),
    "2t": Field(4.0, 1.1),
    "tp": Field(2e-3, 8e-4, bounds=_POSITIVE),
    "skt": Field(5.0, 1.3),
    "sp": Field(900.0, 180.0),
}


def weather(
    name: str, levels: Sequence[int | None], latitude: Floats, longitude: Floats, when: datetime, seed: int
) -> Floats:
    """A variable at `when` on all latitudes and longitudes (degrees), (level, latitude, longitude), without its bounds.

    `levels`: hPa, or None alone for the surface. Neighbouring levels are alike, and so are neighbouring days.
    """
    strength, tilt, mean = [], [], []
    for level in levels:
        field = PRESSURE_LEVEL[name] if level else SURFACE[name]
        strength.append(field.strength * _of_level(field, level))
        tilt.append(_logarithm(level or 1000) / 2)
        mean.append(climate(name, level, latitude, when))
    found = _disturbance(name, seed).grid(
        when.timestamp() / 86400 / _DAYS_A_CELL + np.array(tilt),
        latitude * _CELLS_OF_LATITUDE,
        longitude * _CELLS_OF_LONGITUDE,
    )
    found *= np.array(strength)[:, None, None]
    found += np.stack(mean)[:, :, None]
    if name in ("2t", "skt"):
        lat, lon = np.repeat(latitude, len(longitude)), np.tile(longitude, len(latitude))
        sun = cos_zenith(lat, lon, np.array(when.timestamp())).reshape(found.shape)
        found += (6 if name == "2t" else 10) * (sun - 0.3) * (~sea(latitude, longitude, seed))
    return found


def climate(name: str, level: int | None, latitude: Floats, when: datetime) -> Floats:
    """Mean of a variable by latitude, (latitude,)."""
    return _climate(name, level, latitude.tobytes(), season(when))


@lru_cache(maxsize=256)
def _climate(name: str, level: int | None, latitudes: bytes, turns: float) -> Floats:
    latitude = np.frombuffer(latitudes)
    s, c = sin(latitude * DEGREES), cos(latitude * DEGREES)
    surface = warmth(latitude, turns)
    if level:
        pressure = np.array(level * 100.0)
        warm = temperature(pressure, np.array(SURFACE_PRESSURE), surface)
        match name:
            case "t":
                return warm
            case "q":
                return (
                    0.7 * np.minimum(1.0, level / 900) * saturation(warm, pressure)
                    if level >= 150
                    else 0 * s + 3e-6
                )
            case "z":
                return _geopotential(level, surface)
            case "u":
                height = np.clip(-log(pressure / SURFACE_PRESSURE) / 1.6, 0, 1.4)
                return 35 * height * 4 * s * s * c * c - 5 * c * c * c * c
            case _:
                return 0 * s
    vapour = 2500 * saturation(surface, np.array(SURFACE_PRESSURE))
    means: dict[str, Floats] = {
        "sst": np.clip(surface, 271.35, 303.0),
        "tcw": 1.02 * vapour,
        "tcwv": vapour,
        "cp": 1.5e-3 * c * c,
        "msl": SURFACE_PRESSURE + 800 * cos(6 * latitude * DEGREES),
        "tcc": 0.5 + 0.2 * s * s,
        "10u": -4 * cos(3 * latitude * DEGREES) * c,
        "2t": surface,
        "tp": 2.5e-3 * c * c,
        "skt": surface + 0.5,
        "sp": SURFACE_PRESSURE - 1500 + 0 * s,
    }
    return means.get(name, 0 * s)


def sea(latitude: Floats, longitude: Floats, seed: int) -> NDArray[np.bool_]:
    """Where water is, (latitude, longitude): about two thirds of the Earth."""
    continents = _disturbance("land", seed).grid(
        np.zeros(1), latitude * _CELLS_OF_LATITUDE, longitude * _CELLS_OF_LONGITUDE
    )
    wet: NDArray[np.bool_] = continents[0] < 0.45
    return wet


def error(name: str, level: int | None) -> float:
    """Standard deviation of a two-day forecast's error, in the unit of the variable."""
    field = PRESSURE_LEVEL[name] if level else SURFACE[name]
    return field.error * _of_level(field, level)


def bounds(name: str, level: int | None) -> tuple[float, float]:
    return (PRESSURE_LEVEL[name] if level else SURFACE[name]).bounds


def _of_level(field: Field, level: int | None) -> float:
    return float(exp(np.array(field.power * _logarithm(max(level or 1000, 50)))))


@cache
def _logarithm(level: int) -> float:
    """Of a level (hPa) as a share of 1000 hPa."""
    return float(log(np.array(level / 1000)))


def _geopotential(level: int, surface: Floats) -> Floats:
    """m2 s-2, by the hypsometric equation on 32 steps from the surface."""
    depth = float(log(np.array(SURFACE_PRESSURE / (level * 100))))
    pressure = SURFACE_PRESSURE * exp(-depth * (np.arange(32) + 0.5) / 32)
    warm = temperature(pressure[:, None], np.array(SURFACE_PRESSURE), surface)
    found: Floats = GAS_CONSTANT * depth * warm.mean(0)
    return found


@lru_cache(maxsize=64)
def _disturbance(name: str, seed: int) -> Noise:
    """Over time, latitude and longitude."""
    return noise(generator(seed, "weather", name), 3, octaves=4, falloff=0.6)
