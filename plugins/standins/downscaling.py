"""Stand-ins of maelstrom-downscaling: temperature on a coarse grid, and what it is on a fine one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.atmosphere import (
    LAPSE_RATE,
    SURFACE_PRESSURE,
    cos_zenith,
    moment,
    season,
    warmth,
)
from maelio.plugins.standins.elementary import exp
from maelio.plugins.standins.fields import Noise, generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put

Floats = NDArray[np.float64]

AUGMENTED = {
    "train": (range(2016, 2020), range(4, 10)),
    "val": ((2020,), (5, 7, 8)),
    "test": ((2020,), (4, 6, 9)),
}
"""Years and months of the files of tier 1 that hold several months."""

NOISE = 0.2  # K, standard deviation of what no predictor tells

MODEL_LEVELS = {137: 10.0, 135: 54.0, 131: 184.0, 127: 379.0, 122: 781.0, 115: 1711.0}
"""Levels of the IFS and how many metres they lie above ground."""

_TEMPERATURE = ("K", "2 metre temperature")
TIER1: Mapping[str, tuple[str, str]] = {
    "t2m_in": _TEMPERATURE,
    "z_in": ("m", "surface elevation"),
    "t2m_tar": _TEMPERATURE,
    "z_tar": ("m", "surface elevation"),
}
TIER2: Mapping[str, tuple[str, str]] = {
    "2t_in": _TEMPERATURE,
    **{f"t{level}_in": ("K", f"temperature on model level {level}") for level in MODEL_LEVELS},
    "sp_in": ("Pa", "surface pressure"),
    "slhf_in": ("J m**-2", "surface latent heat flux"),
    "sshf_in": ("J m**-2", "surface sensible heat flux"),
    "10u_in": ("m s**-1", "10 metre U wind component"),
    "10v_in": ("m s**-1", "10 metre V wind component"),
    "blh_in": ("m", "boundary layer height"),
    "z_in": ("m", "surface elevation"),
    "t_2m_tar": _TEMPERATURE,
    "hsurf_tar": ("m", "surface elevation"),
}


@dataclass(frozen=True, slots=True)
class Grid:
    """South-western corner and spacing in degrees, points of latitude and longitude, points of a coarse cell a side."""

    latitude: float
    longitude: float
    spacing: float
    rows: int
    columns: int
    coarse: int

    def axes(self) -> tuple[Floats, Floats]:
        return (
            self.latitude + np.arange(self.rows, dtype=np.float64) * self.spacing,
            self.longitude + np.arange(self.columns, dtype=np.float64) * self.spacing,
        )

    def part(self, scale: float) -> "Grid":
        """The south-western part with that share of its points, in whole coarse cells, at least two a side."""
        side = scale**0.5 if scale > 0 else scale
        rows, columns = (
            scaled(full // self.coarse, side, least=2) * self.coarse for full in (self.rows, self.columns)
        )
        return Grid(self.latitude, self.longitude, self.spacing, rows, columns, self.coarse)


TIER1_GRID = Grid(44.5, 3.5, 0.1, 96, 128, 8)
TIER2_GRID = Grid(-4.0, -10.6, 0.055, 96, 120, 4)
_POLE = 39.25, -162.0  # of the rotated grid, degrees north and east


def write_tier1(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-downscaling-tier1.

    `request`: `month` (YYYY-MM) of `downscaling_tier1_{month}.nc`, or `augmented` ("train" | "val" | "test") of
    `downscaling_tier1_{augmented}_aug.nc`: here, the months of AUGMENTED one after the other; how the originals
    were augmented is not known. Variables TIER1, float32 (time, lat, lon), at 0 and 12 UTC, a step a chunk.
    `scale` keeps that share of the steps (the first ones of each month, at least 4) and of the points.

    t2m_tar = (what t2m_in is the coarse mean of) = smooth weather - LAPSE_RATE * z_tar + noise of NOISE; `*_in` are
    means of 8 x 8 points, interpolated back.

    Raises BadRequest: another request.
    """
    if "augmented" in request:
        which = str(request["augmented"])
        if which not in AUGMENTED:
            raise BadRequest(
                f"stand-in of downscaling tier 1: augmented {which!r}, wanted one of {[*AUGMENTED]}"
            )
        years, months = AUGMENTED[which]
        times = [
            time for year in years for month in months for time in _times(f"{year}-{month:02}", 12, scale)
        ]
    else:
        times = _times(str(request["month"]), 12, scale)
    grid = TIER1_GRID.part(scale)
    latitude, longitude = grid.axes()
    with new_netcdf(
        path, {"time": 0, "lat": grid.rows, "lon": grid.columns}, title="stand-in: synthetic"
    ) as file:
        for name, values, unit in (("lat", latitude, "degrees_north"), ("lon", longitude, "degrees_east")):
            full = "latitude" if name == "lat" else "longitude"
            put(file, name, "f8", (name,), values, units=unit, standard_name=full)
        _fill(
            file,
            times,
            TIER1,
            ("lat", "lon"),
            _Weather(grid, *np.meshgrid(latitude, longitude, indexing="ij"), seed),
        )


def write_tier2(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-downscaling-tier2: `downscaling_tier2_{month}.nc`.

    `request`: `month` (YYYY-MM). Variables TIER2, float32 (time, rlat, rlon), hourly, a step a chunk, on a grid with a
    rotated pole; the originals' names but `t_2m_tar` and `hsurf_tar` are not known. `scale` and the relation of
    target and predictors as in tier 1, with means of 4 x 4 points.

    Raises BadRequest: another request.
    """
    times = _times(str(request["month"]), 1, scale)
    grid = TIER2_GRID.part(scale)
    rlat, rlon = grid.axes()
    latitude, longitude = unrotated(rlat, rlon)
    here: dict[str, Any] = {"grid_mapping": "rotated_pole", "coordinates": "lat lon"}
    with new_netcdf(
        path, {"time": 0, "rlat": grid.rows, "rlon": grid.columns}, title="stand-in: synthetic"
    ) as file:
        for name, values, full in (("rlat", rlat, "grid_latitude"), ("rlon", rlon, "grid_longitude")):
            put(file, name, "f8", (name,), values, units="degrees", standard_name=full)
        for name, field, unit, full in (
            ("lat", latitude, "degrees_north", "latitude"),
            ("lon", longitude, "degrees_east", "longitude"),
        ):
            put(file, name, "f8", ("rlat", "rlon"), field, units=unit, standard_name=full)
        put(file, "rotated_pole", "i4", (), 0, grid_mapping_name="rotated_latitude_longitude",
            grid_north_pole_latitude=_POLE[0], grid_north_pole_longitude=_POLE[1])  # fmt: skip
        _fill(file, times, TIER2, ("rlat", "rlon"), _Weather(grid, latitude, longitude, seed), **here)


def coarsened(field: Floats, points: int) -> Floats:
    """Means of `points` x `points`, interpolated back linearly between the middles of coarse cells."""
    rows, columns = field.shape
    means: Floats = field.reshape(rows // points, points, columns // points, points).sum((1, 3)) / points**2
    for axis, size in enumerate(field.shape):
        place = np.clip((np.arange(size, dtype=np.float64) + 0.5) / points - 0.5, 0, size // points - 1)
        lower = np.minimum(np.floor(place).astype(int), size // points - 2)
        weight = (place - lower).reshape([-1, 1] if axis == 0 else [1, -1])
        below = means.take(lower, axis)
        means = np.asarray(below + weight * (means.take(lower + 1, axis) - below))
    return means


def unrotated(rlat: Floats, rlon: Floats) -> tuple[Floats, Floats]:
    """Degrees north and east, (rlat, rlon), to 1e-5. Source: COSMO documentation, part I, equation 3.74."""
    phi, lam = np.radians(rlat)[:, None], np.radians(rlon)[None, :]
    pole = np.radians(_POLE[0])
    north = np.arcsin(np.cos(pole) * np.cos(phi) * np.cos(lam) + np.sin(pole) * np.sin(phi))
    across = -np.cos(phi) * np.sin(lam)
    along = np.sin(pole) * np.cos(phi) * np.cos(lam) - np.cos(pole) * np.sin(phi)
    east = np.degrees(np.arctan2(across, -along)) + _POLE[1]
    return np.round(np.degrees(north), 5), np.round((east + 540) % 360 - 180, 5)


def _times(month: str, hours: int, scale: float) -> list[datetime]:
    """Every so many hours of a month, the first ones of them."""
    first = moment(month, "%Y-%m")
    count = (
        datetime(first.year + first.month // 12, first.month % 12 + 1, 1, tzinfo=UTC) - first
    ) // timedelta(hours=hours)
    return [first + timedelta(hours=hours * number) for number in range(scaled(count, scale, least=4))]


def _fill(
    file: netCDF4.Dataset,
    times: Sequence[datetime],
    names: Mapping[str, tuple[str, str]],
    plane: tuple[str, str],
    weather: "_Weather",
    **attributes: Any,
) -> None:
    hours = [int(time.timestamp() // 3600) for time in times]
    put(file, "time", "i4", ("time",), hours, units="hours since 1970-01-01 00:00:00", calendar="standard",
        standard_name="time")  # fmt: skip
    for name, (unit, text) in names.items():
        declare(file, name, "f4", ("time", *plane), units=unit, long_name=text, **attributes)
    for number, time in enumerate(times):
        for name, field in weather.at(time).items():
            if name in names:
                file[name][number] = field


@dataclass(frozen=True, slots=True)
class _Weather:
    """On a grid at latitudes and longitudes (row, column)."""

    grid: Grid
    latitude: Floats
    longitude: Floats
    seed: int

    def at(self, time: datetime) -> dict[str, Floats]:
        """Variables of both tiers, (row, column)."""
        days = time.timestamp() / 86400
        terrain = np.maximum(0, 500 * self._field("terrain", 0.0, 1.0) + 250)
        sun = cos_zenith(self.latitude.ravel(), self.longitude.ravel(), np.array(time.timestamp())).reshape(
            terrain.shape
        )
        cloud = np.clip(0.5 + 0.4 * self._field("cloud", days, 2.0), 0, 1)
        smooth = (
            warmth(self.latitude, season(time))
            + 4 * self._field("warm", days, 5.0)
            + 8 * (sun - 0.3) * (1.2 - cloud)
        )
        random = generator(self.seed, "downscaling", "noise", time.timestamp(), self.grid.spacing)
        temperature = smooth - LAPSE_RATE * terrain + NOISE * random.standard_normal(terrain.shape)
        height = self._coarse(terrain)
        here = self._coarse(temperature)
        fluxes = -3600 * (20 + 250 * self._coarse(sun * (1.2 - cloud)))
        pressure = SURFACE_PRESSURE * exp(-height / 8000) + 700 * self._coarse(
            self._field("pressure", days, 5.0)
        )
        return {
            "t2m_in": here,
            "z_in": height,
            "t2m_tar": temperature,
            "z_tar": terrain,
            "2t_in": here,
            **{f"t{level}_in": here - LAPSE_RATE * above for level, above in MODEL_LEVELS.items()},
            "sp_in": pressure,
            "slhf_in": 0.6 * fluxes,
            "sshf_in": 0.4 * fluxes,
            "10u_in": 2 + 4 * self._coarse(self._field("u", days, 3.0)),
            "10v_in": 4 * self._coarse(self._field("v", days, 3.0)),
            "blh_in": 150 + 1500 * self._coarse(sun),
            "t_2m_tar": temperature,
            "hsurf_tar": terrain,
        }

    def _coarse(self, field: Floats) -> Floats:
        return coarsened(field, self.grid.coarse)

    def _field(self, name: str, days: float, degrees: float) -> Floats:
        """Of variance 1, (row, column), with cells of so many degrees."""
        cells = (self.latitude / degrees).ravel(), (self.longitude / degrees).ravel()
        time = np.broadcast_to(np.array(days), cells[0].shape)
        return _noise(self.seed, name).points(*cells, time).reshape(self.latitude.shape)


@lru_cache(maxsize=16)
def _noise(seed: int, name: str) -> Noise:
    return noise(generator(seed, "downscaling", name), 3, octaves=4)
