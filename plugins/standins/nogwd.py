"""Stand-ins of maelstrom-nogwd: profiles, and the drag of gravity waves that no mountain makes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.plugins.standins.atmosphere import (
    GRAVITY,
    SURFACE_PRESSURE,
    half_level_pressure,
    moment,
    season,
    temperature,
    warmth,
)
from maelio.plugins.standins.elementary import exp, log
from maelio.plugins.standins.fields import PERIOD, generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf

Floats = NDArray[np.float64]

EXAMPLES = 2355840  # of one file
MODEL_LEVELS = 91
LEVELS = 63
FEATURES = {"x": 3 * LEVELS + 2, "y": 2 * LEVELS}

DRAG = 2e-6
"""s-1: an increment is -DRAG (p / 100 Pa) ** -0.5 times the wind, at most as at 1 Pa; see `increments`."""

_BLOCK = 4096
_MODES = 3


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-nogwd: `{date}.nc`.

    `request`: `date` (YYYY-MM-DD). `x` (examples, 191): wind u and v (m s-1) and temperature (K) on the upper 63 of
    the 91 levels of the IFS, top first, then surface pressure (Pa) and geopotential (m2 s-2). `y` (examples, 126):
    increments of u and v (m s-1 in a second) on these levels. float32, contiguous; the originals' names of features,
    attributes and order of levels are not known. `scale` keeps that share of the 2355840 examples, at least 16.

    Raises BadRequest: not a date.
    """
    when = moment(request["date"], "%Y-%m-%d")
    count = scaled(EXAMPLES, scale, least=16)
    sizes = {"examples": count, "input_features": FEATURES["x"], "output_features": FEATURES["y"]}
    with new_netcdf(path, sizes) as file:
        x = declare(file, "x", "f4", ("examples", "input_features"))
        y = declare(file, "y", "f4", ("examples", "output_features"))
        for start in range(0, count, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, count)) * EXAMPLES // count
            profiles, pressure = _profiles(
                numbers.astype(np.float64) / EXAMPLES, when.timestamp(), season(when), seed
            )
            x[start : start + len(numbers)] = profiles
            y[start : start + len(numbers)] = increments(
                profiles[:, : 2 * LEVELS].astype(np.float64), pressure
            )


def increments(wind: Floats, pressure: Floats) -> Floats:
    """`y` of u and v, (example, 2 x level), at pressures (example, level) in Pa: drag that grows upwards."""
    drag = DRAG * np.minimum(10.0, 1 / np.sqrt(pressure / 100))
    return -np.concatenate([drag, drag], 1) * wind


def levels(surface_pressure: Floats) -> Floats:
    """Pa, (example, level), of surface pressures (example,)."""
    half = half_level_pressure(surface_pressure, MODEL_LEVELS)[:, : LEVELS + 1]
    return (half[:, 1:] + half[:, :-1]) / 2


def _profiles(place: Floats, seconds: float, turns: float, seed: int) -> tuple[NDArray[np.float32], Floats]:
    """`x` of examples by their share of a way from pole to pole in 512 rows, and the pressure (example, level)."""
    latitude = 90 - 180 * place
    cells = (place * 8, np.mod(place * 512, 1.0) * PERIOD, np.full(len(place), seconds / 172800))

    def field(*name: str | int) -> Floats:
        return noise(generator(seed, "nogwd", *name), 3).points(*cells)

    surface_pressure = SURFACE_PRESSURE + 900 * field("pressure")
    geopotential = GRAVITY * 500 * np.maximum(0, field("terrain"))
    surface_pressure = surface_pressure * exp(-geopotential / GRAVITY / 8000)
    pressure = levels(surface_pressure)
    height = -log(np.maximum(pressure, 1.0) / SURFACE_PRESSURE)
    shapes = [noise(generator(seed, "nogwd", "shape", mode), 1).grid(height[0]) for mode in range(_MODES)]

    def varied(name: str) -> Floats:
        found: Floats = np.zeros(pressure.shape)
        for mode in range(_MODES):
            found += field(name, mode)[:, None] * shapes[mode] / _MODES**0.5
        return found

    surface = warmth(latitude, turns)
    warm = temperature(pressure, surface_pressure[:, None], surface[:, None]) + 3 * varied("t")
    u = 8 * np.minimum(height, 4) * (0.3 + varied("u"))
    v = 6 * np.minimum(height, 4) * varied("v")
    found = np.concatenate([u, v, warm, surface_pressure[:, None], geopotential[:, None]], 1)
    return found.astype(np.float32), pressure
