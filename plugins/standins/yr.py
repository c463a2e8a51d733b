"""Stand-ins of maelstrom-yr: temperature forecasts over the Nordic countries, and what it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import netCDF4
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.atmosphere import LAPSE_RATE, cos_zenith, moment, season, warmth
from maelio.plugins.standins.fields import Noise, generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put

Floats = NDArray[np.float64]

PREDICTORS = {"air_temperature_0.1_2m": "celsius", "air_temperature_0.9_2m": "celsius", "air_temperature_2m": "celsius",
              "bias_yesterday": "celsius", "cloud_area_fraction": "1", "precipitation_amount": "kg/m^2",
              "x_wind_10m": "m/s", "y_wind_10m": "m/s"}  # fmt: skip
STATIC_PREDICTORS = {"altitude": "m", "analysis_std": "celsius", "bias_recent": "celsius", "land_area_fraction": "1",
                     "model_altitude": "m", "model_laf": "1"}  # fmt: skip

YESTERDAY, RECENT, ALTITUDE = 0.6, 0.3, -LAPSE_RATE
"""Of target_mean - air_temperature_2m: the shares of bias_yesterday, of bias_recent and of altitude - model_altitude."""
NOISE = 0.3  # celsius, standard deviation of what is left


@dataclass(frozen=True, slots=True)
class Domain:
    """Points of a grid of 1 km: the first in y and x, how many, and the lead times in hours."""

    y: int
    x: int
    rows: int
    columns: int
    leadtimes: range


SIZES = {"5TB": Domain(0, 0, 2321, 1796, range(59)), "5GB": Domain(687, 587, 128, 128, range(0, 55, 6))}
_OSLO = 751, 651
_ORIGIN = -1104322.0, -897442.2  # m, of y and x
_RADIUS = 6.371e6  # m, of the Earth
_CELL_M = 200e3  # of the coarsest lattice
_HOURS_A_CELL = 36


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-yr: `{parameter}/{size}/{datestr}.nc`.

    `request`: `parameter` ("air_temperature"), `size` ("5TB" | "5GB"), `datestr` (YYYYMMDDTHHZ). NetCDF4, contiguous,
    predictors last, as the originals. `scale` keeps that share of the points, around Oslo, at least 4 a side; lead
    times stay.

    target_mean = air_temperature_2m + YESTERDAY * bias_yesterday + RECENT * bias_recent
    + ALTITUDE * (altitude - model_altitude) + normal noise of NOISE.

    Raises BadRequest: another request.
    """
    parameter, size = str(request["parameter"]), str(request["size"])
    if parameter != "air_temperature" or size not in SIZES:
        raise BadRequest(
            f"stand-in of maelstrom-yr: {parameter!r} of size {size!r}, wanted air_temperature of one of {[*SIZES]}"
        )
    start = moment(request["datestr"], "%Y%m%dT%HZ")
    domain = _around_oslo(SIZES[size], scale)
    y = _ORIGIN[0] + 1000.0 * (domain.y + np.arange(domain.rows, dtype=np.float64))
    x = _ORIGIN[1] + 1000.0 * (domain.x + np.arange(domain.columns, dtype=np.float64))
    sizes = {"y": domain.rows, "x": domain.columns, "leadtime": len(domain.leadtimes),
             "predictor": len(PREDICTORS), "static_predictor": len(STATIC_PREDICTORS)}  # fmt: skip
    here = {"grid_mapping": "projection_lcc", "coordinates": "longitude latitude"}
    latitude, longitude = unprojected(y, x)
    static = _static(y, x, seed)
    with new_netcdf(path, sizes, history=f"maelio stand-in of air_temperature/{size}: synthetic") as file:
        for name, values, unit in (
            ("altitude", static["altitude"], "m"),
            ("land_area_fraction", static["land_area_fraction"], "1"),
        ):
            put(file, name, "f4", ("y", "x"), values, units=unit, **here)
        for name, values, unit in (
            ("latitude", latitude, "degree_north"),
            ("longitude", longitude, "degree_east"),
        ):
            mapping = {"grid_mapping": "projection_lcc"}
            put(file, name, "f4", ("y", "x"), values, units=unit, standard_name=name, **mapping)
        seconds = [3600.0 * hour for hour in domain.leadtimes]
        lead = {"standard_name": "leadtime", "coordinates": "longitude latitude"}
        put(file, "leadtime", "f8", ("leadtime",), seconds, units="seconds", **lead)
        for axis, units in (("predictor", PREDICTORS), ("static_predictor", STATIC_PREDICTORS)):
            put(file, axis, str, (axis,), [*units], coordinates="longitude latitude")
            put(file, f"{axis}_units", str, (axis,), [*units.values()], coordinates="longitude latitude")
        _put_projection(file)
        put(file, "static_predictors", "f4", ("y", "x", "static_predictor"),
            np.stack([static[name] for name in STATIC_PREDICTORS], 2), **here)  # fmt: skip
        stamp = {"standard_name": "time", "coordinates": "longitude latitude"}
        put(
            file,
            "time",
            "f8",
            (),
            start.timestamp(),
            units="seconds since 1970-01-01 00:00:00 +00:00",
            **stamp,
        )
        for name, values in (("x", x), ("y", y)):
            about = {"standard_name": f"projection_{name}_coordinate", "coordinates": "longitude latitude"}
            put(file, name, "f4", (name,), values, units="m", **about)
        predictors = declare(file, "predictors", "f4", ("leadtime", "y", "x", "predictor"), **here)
        targets = [
            declare(file, name, "f4", ("leadtime", "y", "x"), standard_name=name, units="celsius")
            for name in ("target_mean", "target_std")
        ]
        forecast = _Forecast(y, x, latitude, longitude, start, static, seed)
        for number, hour in enumerate(domain.leadtimes):
            predictors[number], targets[0][number], targets[1][number] = forecast.at(hour)


def unprojected(y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Degrees north and east, (y, x), of metres on a Lambert conformal cone that touches at 63 N, 15 E.

    To 1e-5 degrees. Source: Snyder 1987, Map Projections, equations 15-1 to 15-9, of a sphere.
    """
    n = np.sin(np.radians(63.0))
    turn = np.tan(np.pi / 4 + np.radians(63.0) / 2) ** n * np.cos(np.radians(63.0)) / n
    pole = _RADIUS * turn / np.tan(np.pi / 4 + np.radians(63.0) / 2) ** n
    away = pole - y[:, None]
    distance = np.hypot(x[None, :], away)
    latitude = 2 * np.arctan((_RADIUS * turn / distance) ** (1 / n)) - np.pi / 2
    longitude = np.radians(15.0) + np.arctan2(x[None, :], away) / n
    return np.round(np.degrees(latitude), 5), np.round(np.degrees(longitude), 5)


@dataclass(frozen=True, slots=True)
class _Forecast:
    """What is needed of all lead times of one start."""

    y: Floats
    x: Floats
    latitude: Floats
    longitude: Floats
    start: datetime
    static: Mapping[str, Floats]
    seed: int

    def at(self, hour: int) -> tuple[NDArray[np.float32], Floats, Floats]:
        """Predictors (y, x, predictor), and the mean and spread of the target (y, x)."""
        when = self.start + timedelta(hours=hour)
        time = when.timestamp() / 3600 / _HOURS_A_CELL
        static = self.static
        sun = cos_zenith(self.latitude.ravel(), self.longitude.ravel(), np.array(when.timestamp()))
        cloud = np.clip(0.65 + 0.5 * self._field("cloud", time), 0, 1)
        mild = warmth(self.latitude, season(when)) - 265.15 + 3 * self._field("warm", time)
        daily = 6 * (sun.reshape(cloud.shape) - 0.3) * static["model_laf"] * (1.2 - cloud)
        temperature = mild + daily - LAPSE_RATE * static["model_altitude"]
        width = 0.8 + 0.3 * np.abs(self._field("width", time))
        yesterday = 0.75 * self._field("bias", self.start.timestamp() / 86400)
        found = {
            "air_temperature_0.1_2m": temperature - 1.2816 * width,
            "air_temperature_0.9_2m": temperature + 1.2816 * width,
            "air_temperature_2m": temperature,
            "bias_yesterday": yesterday,
            "cloud_area_fraction": cloud,
            "precipitation_amount": np.maximum(0, 1.5 * (cloud - 0.8) * (1 + self._field("rain", time))),
            "x_wind_10m": 0.4 + 4.5 * self._field("x_wind", time),
            "y_wind_10m": -0.7 + 4.5 * self._field("y_wind", time),
        }
        random = generator(self.seed, "yr", "target", self.start.timestamp(), hour)
        target = (
            temperature
            + YESTERDAY * yesterday
            + RECENT * static["bias_recent"]
            + ALTITUDE * (static["altitude"] - static["model_altitude"])
            + NOISE * random.standard_normal(temperature.shape)
        )
        spread = static["analysis_std"] * (0.8 + 0.4 * cloud)
        return np.stack([found[name].astype(np.float32) for name in PREDICTORS], 2), target, spread

    def _field(self, name: str, time: float) -> Floats:
        """Of variance 1, (y, x)."""
        found: Floats = _noise(self.seed, name).grid(np.array([time]), self.y / _CELL_M, self.x / _CELL_M)[0]
        return found


def _around_oslo(whole: Domain, scale: float) -> Domain:
    """A part of the domain with that share of its points, as near to Oslo in its middle as the domain allows."""
    rows, columns = (
        scaled(full, scale**0.5 if scale > 0 else scale, least=4) for full in (whole.rows, whole.columns)
    )
    y = min(max(_OSLO[0] - rows // 2, whole.y), whole.y + whole.rows - rows)
    x = min(max(_OSLO[1] - columns // 2, whole.x), whole.x + whole.columns - columns)
    return Domain(y, x, rows, columns, whole.leadtimes)


def _static(y: Floats, x: Floats, seed: int) -> dict[str, Floats]:
    """Fields (y, x) that do not change; the model's are smoother than what is there."""

    def field(name: str) -> Floats:
        found: Floats = _noise(seed, name).grid(np.zeros(1), y / _CELL_M, x / _CELL_M)[0]
        return found

    coarse, fine = field("terrain"), _noise(seed, "hills").grid(np.zeros(1), y / 10e3, x / 10e3)[0]
    land = np.clip(0.5 + 4 * (coarse + 0.1 * fine), 0, 1)
    model_altitude = 350 * np.maximum(0, coarse)
    return {
        "altitude": np.maximum(0, model_altitude + 60 * fine * land),
        "analysis_std": 0.3 + 0.2 * np.abs(field("analysis")),
        "bias_recent": 0.5 * field("recent"),
        "land_area_fraction": land,
        "model_altitude": model_altitude,
        "model_laf": np.clip(0.5 + 4 * coarse, 0, 1),
    }


@lru_cache(maxsize=32)
def _noise(seed: int, name: str) -> Noise:
    """Over time, y and x; more octaves than 200 km alone would show."""
    return noise(generator(seed, "yr", name), 3, octaves=5, falloff=0.6)


def _put_projection(file: netCDF4.Dataset) -> None:
    put(
        file,
        "projection_lcc",
        "i4",
        (),
        0,
        grid_mapping_name="lambert_conformal_conic",
        proj4="+proj=lcc +lat_0=63 +lon_0=15 +lat_1=63 +lat_2=63 +no_defs +R=6.371e+06",
        standard_parallel=[63.0, 63.0],
        longitude_of_central_meridian=15.0,
        latitude_of_projection_origin=63.0,
        earth_radius=_RADIUS,
        coordinates="longitude latitude",
    )
