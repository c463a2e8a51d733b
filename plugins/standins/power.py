"""Stand-ins of the wind turbines: what they produce, the weather around them, and constants of its levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.atmosphere import half_levels, moment
from maelio.plugins.standins.fields import Noise, generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put
from maelio.plugins.standins.weather import bounds, weather

Floats = NDArray[np.float64]

TURBINES = 45
RATINGS = (2000.0, 2300.0, 3050.0, 3300.0)  # kW
CUT_IN, RATED, CUT_OUT = 3.0, 12.5, 25.0  # m s-1
IDLE = -0.004  # of the rating: what a turbine that stands still takes
GUSTS = 0.6  # m s-1, standard deviation of the wind at a turbine beside that of the model
OUTPUT_NOISE = 0.01  # of the rating, standard deviation

HUB_LEVEL = 133
MODEL_LEVELS = tuple(range(128, 138))
PRESSURE_LEVELS = (500, 700, 850, 925, 1000)  # hPa
HOURS = 49  # of a forecast, every one of 0..48


@dataclass(frozen=True, slots=True)
class Packed:
    """A variable as 16-bit integers between two values. Source: CF conventions 1.11, section 8.1."""

    unit: str
    text: str
    least: float
    most: float

    @property
    def scale(self) -> float:
        return (self.most - self.least) / 65532

    @property
    def offset(self) -> float:
        return (self.most + self.least) / 2

    def encoded(self, values: Floats) -> NDArray[np.int16]:
        return np.rint((np.clip(values, self.least, self.most) - self.offset) / self.scale).astype(np.int16)


_WINDS = {
    "u": Packed("m s**-1", "U component of wind", -90, 90),
    "v": Packed("m s**-1", "V component of wind", -90, 90),
}
_TEMPERATURE = Packed("K", "Temperature", 180, 330)
_HUMIDITY = Packed("kg kg**-1", "Specific humidity", 0, 0.03)
WEATHER: Mapping[str, Mapping[str, Packed]] = {
    "ml": {"t": _TEMPERATURE, "q": _HUMIDITY, **_WINDS},
    "pl": {
        "z": Packed("m**2 s**-2", "Geopotential", -8000, 62000),
        "t": _TEMPERATURE,
        "q": _HUMIDITY,
        **_WINDS,
    },
    "sfc": {
        "sp": Packed("Pa", "Surface pressure", 85000, 110000),
        "t2m": Packed("K", "2 metre temperature", 220, 330),
        "u10": Packed("m s**-1", "10 metre U wind component", -60, 60),
        "v10": Packed("m s**-1", "10 metre V wind component", -60, 60),
    },
}
"""Variables by kind of level. Those of the originals beside t, q, u, v, z and sp are not known."""

_MEAN_WIND = {"u": 5.0, "v": 1.0}  # m s-1
_SHORT_NAMES = {"t2m": "2t", "u10": "10u", "v10": "10v"}
_MISSING = -32767
_NORTH, _WEST, _ROWS, _COLUMNS = 73.5, -27.0, 406, 721  # of Europe, by 0.1 degrees
_FIRST, _STEPS = datetime(2017, 1, 1, tzinfo=UTC), 1461 * 144  # of production, every ten minutes


def write_constants(
    path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
) -> None:
    """The file of maelstrom-constants-a-b: `ECMWF_AB137.nc`; `request`, `scale` and `seed` do not matter.

    `hyai`, `hybi` of half levels and `hyam`, `hybm` in their middles, in Pa and 1, float64, first dimension of 1.
    As `atmosphere.half_levels`, not the IFS's own numbers.
    """
    a, b = half_levels(137)
    with new_netcdf(path, {"dim0": 1, "dim0_0": 137, "dim0_1": 138}) as file:
        for name, values, unit in (("hya", a, "Pa"), ("hyb", b, "1")):
            middle = (values[1:] + values[:-1]) / 2
            put(
                file,
                f"{name}m",
                "f8",
                ("dim0", "dim0_0"),
                [middle],
                units=unit,
                long_name="at layer midpoints",
            )
            put(
                file,
                f"{name}i",
                "f8",
                ("dim0", "dim0_1"),
                [values],
                units=unit,
                long_name="at layer interfaces",
            )


def write_production(
    path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
) -> None:
    """One file of maelstrom-power-production: `production_data/wind_turbine_{wind_turbine_id}.nc`.

    `request`: `wind_turbine_id` (1 to 45). float64 (time, level, latitude, longitude), the last three of 1, every ten
    minutes of 2017 to 2020. `scale` keeps that share of the time, from its start, at least two days.

    wind_speed is that of the model at `HUB_LEVEL` there plus normal noise of GUSTS, production is `power_curve` of
    it plus noise of OUTPUT_NOISE; while curtailment is 1 it is at most half of the rating, and idle turbines take IDLE.

    Raises BadRequest: another turbine.
    """
    number = int(str(request["wind_turbine_id"]))
    if not 1 <= number <= TURBINES:
        raise BadRequest(
            f"stand-in of maelstrom-power-production: wind_turbine_id {number}, wanted 1..{TURBINES}"
        )
    rating = RATINGS[number % len(RATINGS)]
    latitude, longitude = turbine(number)
    count = scaled(_STEPS, scale, least=288)
    seconds = _FIRST.timestamp() + 600.0 * np.arange(count, dtype=np.float64)
    random = generator(seed, "power", number)
    u, v = (wind_at(name, latitude, longitude, seconds, seed) for name in "uv")
    speed = np.maximum(0, np.sqrt(u * u + v * v) + GUSTS * random.standard_normal(count))
    curtailed = random.random(count) < 0.02
    produced = power_curve(speed, rating)
    idle = produced <= 0
    produced = np.minimum(
        produced, np.where(curtailed, rating / 2, rating)
    ) + OUTPUT_NOISE * rating * random.standard_normal(count)
    fields = {
        "production": (np.where(idle, IDLE * rating, produced), "kW"),
        "wind_speed": (speed, "m s**-1"),
        "rotor_speed": (np.where(idle, 0.0, np.clip(5 + 1.1 * speed, 0, 16)), "rpm"),
        "status": (np.where(idle, 0.0, 1.0), "1"),
        "curtailment": (np.where(curtailed, 1.0, 0.0), "1"),
    }
    sizes = {"time": count, "level": 1, "latitude": 1, "longitude": 1}
    about: dict[str, Any] = {"wind turbine id": number, "power rating [kW]": rating, "hub height [m]": 100.0}
    with new_netcdf(path, sizes, **about) as file:
        minutes = (seconds / 60).astype(np.int64)
        put(
            file,
            "time",
            "i8",
            ("time",),
            minutes,
            units="minutes since 1970-01-01",
            calendar="proleptic_gregorian",
        )
        put(file, "level", "i8", ("level",), [HUB_LEVEL])
        put(file, "latitude", "f8", ("latitude",), [latitude], units="degrees_north")
        put(file, "longitude", "f8", ("longitude",), [longitude], units="degrees_east")
        for name, (values, unit) in fields.items():
            put(file, name, "f8", tuple(sizes), values.reshape(-1, 1, 1, 1), units=unit)


def write_model_level(
    path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
) -> None:
    """One file of maelstrom-weather-model-level, `ml_{date}_{hour}.nc`: see `_write_weather`."""
    _write_weather(path, "ml", request, scale, seed)


def write_pressure_level(
    path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
) -> None:
    """One file of maelstrom-weather-pressure-level, `pl_{date}_{hour}.nc`: see `_write_weather`."""
    _write_weather(path, "pl", request, scale, seed)


def write_surface_level(
    path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
) -> None:
    """One file of maelstrom-weather-surface-level, `sfc_{date}_{hour}.nc`: see `_write_weather`."""
    _write_weather(path, "sfc", request, scale, seed)


def turbine(number: int) -> tuple[float, float]:
    """Degrees north and east of a turbine, somewhere in Germany."""
    return round(48.5 + 5.4 * (number * 0.618 % 1), 3), round(7.5 + 6.0 * (number * 0.414 % 1), 3)


def power_curve(speed: Floats, rating: float) -> Floats:
    """kW at a wind speed in m s-1: none below CUT_IN and from CUT_OUT, cubic up to the rating at RATED."""
    cubic = (speed * speed * speed - CUT_IN**3) / (RATED**3 - CUT_IN**3)
    return rating * np.where((speed < CUT_IN) | (speed >= CUT_OUT), 0.0, np.minimum(1.0, cubic))


def wind(name: str, latitude: Floats, longitude: Floats, seconds: Floats, seed: int) -> Floats:
    """A component of the wind on HUB_LEVEL, m s-1, (time, latitude, longitude); 8 percent less a level below."""
    return _MEAN_WIND[name] + 4.5 * _noise(seed, name).grid(seconds / 86400, latitude / 5, longitude / 5)


def wind_at(name: str, latitude: float, longitude: float, seconds: Floats, seed: int) -> Floats:
    """As `wind`, at one place, (time,)."""
    place = (np.full(len(seconds), degrees / 5) for degrees in (latitude, longitude))
    return _MEAN_WIND[name] + 4.5 * _noise(seed, name).points(seconds / 86400, *place)


def _write_weather(path: Path, kind: str, request: Mapping[str, JsonValue], scale: float, seed: int) -> None:
    """`request`: `date` (YYYYMMDD), `hour` ("00" | "12"): forecasts of Europe for every hour of two days.

    Taken to be as grib_to_netcdf writes them: NetCDF classic with 64-bit offsets, 16-bit integers with a scale and an
    offset, (time, level, latitude, longitude), 0.1 degrees; levels MODEL_LEVELS and PRESSURE_LEVELS. Of the
    originals grid, levels and packing are not known. `scale` takes every so many points, to about that share of
    them, at least 8 rows; times and levels stay.

    Raises BadRequest: another request.
    """
    hour = str(request["hour"])
    if hour not in ("00", "12"):
        raise BadRequest(f"stand-in of weather around wind turbines: hour {hour!r}, wanted 00 or 12")
    start = moment(f"{request['date']} {hour}", "%Y%m%d %H")
    stride = _ROWS // scaled(_ROWS, scale**0.5 if scale > 0 else scale, least=8)
    latitude = _NORTH - 0.1 * np.arange(0, _ROWS, stride, dtype=np.float64)
    longitude = _WEST + 0.1 * np.arange(0, _COLUMNS, stride, dtype=np.float64)
    levels = {"ml": MODEL_LEVELS, "pl": PRESSURE_LEVELS, "sfc": ()}[kind]
    sizes = {"longitude": len(longitude), "latitude": len(latitude), **({"level": len(levels)} if levels else {}),
             "time": HOURS}  # fmt: skip
    dimensions = tuple(reversed(sizes))
    with new_netcdf(path, sizes, format="NETCDF3_64BIT_OFFSET", Conventions="CF-1.6") as file:
        put(file, "longitude", "f4", ("longitude",), longitude, units="degrees_east", long_name="longitude")
        put(file, "latitude", "f4", ("latitude",), latitude, units="degrees_north", long_name="latitude")
        if levels:
            unit = {"units": "millibars"} if kind == "pl" else {}
            put(
                file,
                "level",
                "i4",
                ("level",),
                levels,
                long_name=f"{'pressure' if unit else 'model'}_level",
                **unit,
            )
        hours = int(start.timestamp() // 3600) + 613608 + np.arange(HOURS)
        put(file, "time", "i4", ("time",), hours, units="hours since 1900-01-01 00:00:00.0", long_name="time",
            calendar="gregorian")  # fmt: skip
        for name, packed in WEATHER[kind].items():
            variable = declare(
                file, name, "i2", dimensions, fill=np.int16(_MISSING), scale_factor=packed.scale,
                add_offset=packed.offset, missing_value=np.int16(_MISSING), units=packed.unit, long_name=packed.text,
            )  # fmt: skip
            for number in range(HOURS):
                fields = _fields(kind, name, latitude, longitude, start + timedelta(hours=number), seed)
                variable[number] = packed.encoded(fields if levels else fields[0])


def _fields(kind: str, name: str, latitude: Floats, longitude: Floats, when: datetime, seed: int) -> Floats:
    """A variable at one time, (level, latitude, longitude)."""
    if kind == "ml" and name in "uv":
        share = 1 - 0.08 * (np.array(MODEL_LEVELS, np.float64) - HUB_LEVEL)
        return share[:, None, None] * wind(name, latitude, longitude, np.array([when.timestamp()]), seed)
    levels: Mapping[str, Sequence[int | None]] = {
        "ml": [1000 - 3 * (137 - level) for level in MODEL_LEVELS],
        "pl": PRESSURE_LEVELS,
        "sfc": (None,),
    }
    short = _SHORT_NAMES.get(name, name)
    return np.clip(
        weather(short, levels[kind], latitude, longitude, when, seed), *bounds(short, levels[kind][0])
    )


@lru_cache(maxsize=4)
def _noise(seed: int, name: str) -> Noise:
    """Over time, latitude and longitude."""
    return noise(generator(seed, "power", "wind", name), 3, octaves=4)
