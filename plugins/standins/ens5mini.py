"""Stand-ins of maelstrom-ens5mini: a small part of ENS-10 over Europe, in NetCDF."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import netCDF4
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.elementary import cos, log, sin
from maelio.plugins.standins.ens10 import BIAS, LEVELS
from maelio.plugins.standins.fields import generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put
from maelio.plugins.standins.weather import bounds, error, weather

Floats = NDArray[np.float64]

VARIABLES = {  # name in full, unit
    "z": ("Geopotential", "m**2 s**-2"),
    "t": ("Temperature", "K"),
    "q": ("Specific humidity", "kg kg**-1"),
    "w": ("Vertical velocity", "Pa s**-1"),
    "d": ("Divergence", "s**-1"),
    "u": ("U component of wind", "m s**-1"),
    "v": ("V component of wind", "m s**-1"),
}
MEMBERS = 5
YEARS = range(1998, 2008)
STEPS = (0, 48)  # h
GROWTH = {0: 0.3, 48: 1.0}


def days(month: int) -> list[tuple[int, int]]:
    """Month and day of the Mondays and Thursdays of a month of 2018."""
    first = date(2018, month, 1)
    every = [first + timedelta(days=number) for number in range(31)]
    return [(day.month, day.day) for day in every if day.month == month and day.weekday() in (0, 3)]


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-ens5mini: `ens5mini.{month}.nc`.

    `request`: `month` ("01" ... "12"). Variables float32 (number 5, time, step 2, isobaricInhPa 11, latitude 40,
    longitude 80), contiguous; times are the Mondays and Thursdays of the month in 2018, in ten years from 1998.
    A member is what `ens10` says, with a `spread` that is the same everywhere. `scale` keeps that share of times (at
    least 2) and of the points (at least 4 a side, the north-western ones); the other dimensions stay.

    Raises BadRequest: not a month.
    """
    month = int(str(request["month"]))
    if not 1 <= month <= 12:
        raise BadRequest(f"stand-in of maelstrom-ens5mini: month {month}, wanted 1..12")
    starts = [datetime(year, *day, tzinfo=UTC) for year in YEARS for day in days(month)]
    starts = starts[: scaled(len(starts), scale, least=2)]
    rows, columns = (scaled(full, scale**0.5 if scale > 0 else scale, least=4) for full in (40, 80))
    latitude = 60 - np.arange(rows, dtype=np.float64) / 2
    longitude = np.arange(columns, dtype=np.float64) / 2
    sizes = {"number": MEMBERS, "time": len(starts), "step": len(STEPS), "isobaricInhPa": len(LEVELS),
             "latitude": rows, "longitude": columns}  # fmt: skip
    with new_netcdf(path, sizes, Conventions="CF-1.7", institution="maelio stand-in: synthetic") as file:
        _put_coordinates(file, starts, latitude, longitude)
        for name, (text, unit) in VARIABLES.items():
            about = {"long_name": text, "units": unit, "coordinates": "valid_time"}
            variable = declare(file, name, "f4", tuple(sizes), fill=np.float32("nan"), **about)
            for place, start in enumerate(starts):
                variable[:, place] = _members(name, start, latitude, longitude, seed)


def _put_coordinates(
    file: netCDF4.Dataset, starts: list[datetime], latitude: Floats, longitude: Floats
) -> None:
    hours = np.array([start.timestamp() / 3600 for start in starts])
    since = {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian"}
    put(
        file, "number", "i8", ("number",), range(MEMBERS), long_name="ensemble member numerical id", units="1"
    )
    put(file, "time", "i8", ("time",), hours, standard_name="forecast_reference_time", **since)
    put(file, "step", "i8", ("step",), STEPS, units="hours", standard_name="forecast_period")
    put(file, "isobaricInhPa", "f8", ("isobaricInhPa",), LEVELS, units="hPa", standard_name="air_pressure")
    put(file, "latitude", "f8", ("latitude",), latitude, units="degrees_north", standard_name="latitude")
    put(file, "longitude", "f8", ("longitude",), longitude, units="degrees_east", standard_name="longitude")
    put(file, "valid_time", "i8", ("time", "step"), hours[:, None] + STEPS, standard_name="time", **since)


def spread(name: str, level: int, step: int) -> float:
    """Standard deviation of a member's error."""
    return error(name, level) * GROWTH[step]


def _members(
    name: str, start: datetime, latitude: Floats, longitude: Floats, seed: int
) -> NDArray[np.float32]:
    """A variable at one time, (number, step, isobaricInhPa, latitude, longitude)."""
    cells = latitude / 5, longitude / 5
    shape = MEMBERS, len(STEPS), len(LEVELS), len(latitude), len(longitude)
    found = np.empty(shape, np.float32)
    patterns = []
    for number in range(MEMBERS):
        random = generator(seed, "ens5mini", name, number, start.timestamp())
        patterns.append((noise(random, 2).grid(*cells), noise(random, 2).grid(*cells)))
    for step, hours in enumerate(STEPS):
        when = start + timedelta(hours=hours)
        signals = weather(name, LEVELS, latitude, longitude, when, seed)
        for place, level in enumerate(LEVELS):
            turn = 0.5 * log(np.array(level / 1000))
            for number, (here, there) in enumerate(patterns):
                off = BIAS + cos(turn) * here + sin(turn) * there
                field = signals[place] + spread(name, level, hours) * off
                found[number, step, place] = np.clip(field, *bounds(name, level))
    return found
