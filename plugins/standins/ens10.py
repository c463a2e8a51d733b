"""Stand-ins of maelstrom-ens10: ensemble hindcasts in GRIB edition 1, whose statistics are known."""

import calendar
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.files import replacing
from maelio.plugins.standins.atmosphere import DEGREES
from maelio.plugins.standins.elementary import cos, log, sin
from maelio.plugins.standins.fields import PERIOD, generator, noise, scaled
from maelio.plugins.standins.weather import bounds, error, sea, weather

Floats = NDArray[np.float64]

MEMBERS = 10
YEARS = tuple(range(1998, 2018))
STEPS = (0, 24, 48)  # h
LEVELS = (1000, 925, 850, 700, 500, 400, 300, 200, 100, 50, 10)  # hPa
PARAMETERS: Mapping[str, Mapping[str, int]] = {
    "pl": {"z": 129, "t": 130, "q": 133, "w": 135, "d": 155, "u": 131, "v": 132},
    "sfc": {"sst": 34, "tcw": 136, "tcwv": 137, "cp": 143, "msl": 151, "tcc": 164, "10u": 165, "10v": 166, "2t": 167,
            "tp": 228, "skt": 235},
}  # fmt: skip
"""Short names and parameter numbers, by kind of level, in the order of a file."""

BIAS = 0.4
"""By how many standard deviations of a member's error members are off on average."""
GROWTH = {0: 0.3, 24: 0.7, 48: 1.0}
"""How large errors are at a step, beside those of two days."""
UNDERDISPERSION = 1.3
"""How many times farther than a member the truth lies from what all of them have in common."""

_INTERVALS = (360, 300, 250, 240, 200, 180, 150, 125, 120, 100, 90, 75, 72, 60, 50, 48, 45, 40, 36, 30, 25, 24, 20, 18,
              15, 12, 10, 9, 8, 6)  # fmt: skip
"""Rows between the poles that are whole thousandths of a degree, as GRIB edition 1 counts them."""

_FROM_START = ("tp", "cp")
_MISSING = 9999.0
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Hindcasts:
    """What one file is about. Latitudes from 90 to -90, longitudes from 0 eastwards, degrees."""

    dtype: str
    month: int
    day: int
    years: tuple[int, ...]
    intervals: int
    seed: int

    @property
    def latitude(self) -> Floats:
        return 90 - np.arange(self.intervals + 1, dtype=np.float64) * (180 / self.intervals)

    @property
    def longitude(self) -> Floats:
        return np.arange(2 * self.intervals, dtype=np.float64) * (180 / self.intervals)

    def start(self, year: int) -> datetime:
        return datetime(year, self.month, self.day, tzinfo=UTC)


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-ens10: `output.{dtype}.2018{month}{day}`, without an extension.

    `request`: `dtype` ("pl" | "sfc"), `month`, `day` (two digits each). Regular 0.5 degrees, 10 members, hindcasts of
    20 years, 3 steps, all variables of PARAMETERS, 11 levels; simple packing of 16 bits, sea surface temperature
    with a bitmap. Messages stand by variable, member, year, step, level, as cfgrib writes them: what one sample
    needs lies scattered over the file. `scale` coarsens the grid to that share of its points and keeps that share
    of the years, the first ones, at least two; variables, levels, steps and members stay.

    Of a variable without bounds, a member is signal + BIAS e + e n, where e is `spread` and n is normal with
    variance 1, another in every member; `truth` is signal + UNDERDISPERSION e n. A linear regression
    of the truth on the mean of M members thus has the intercept -BIAS e, and the variance about it is
    (UNDERDISPERSION**2 + 1 / M) e**2. Values are then cut at legal ones.

    Raises BadRequest: another request.
    """
    about = hindcasts(request, scale=scale, seed=seed)
    with replacing(path) as part, open(part, "wb") as file:
        file.writelines(_messages(about))


def hindcasts(request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> Hindcasts:
    """The grid and years of a file. Raises BadRequest: another request."""
    dtype, month, day = str(request["dtype"]), int(str(request["month"])), int(str(request["day"]))
    if dtype not in PARAMETERS:
        raise BadRequest(f"stand-in of maelstrom-ens10: dtype {dtype!r}, wanted one of {[*PARAMETERS]}")
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(2018, month)[1]:
        raise BadRequest(f"stand-in of maelstrom-ens10: month {month}, day {day}, wanted a day of 2018")
    years = YEARS[: scaled(len(YEARS), scale, least=2)]
    rows = scaled(360, scale**0.5 if scale > 0 else scale, least=6)
    intervals = next(count for count in _INTERVALS if count <= rows)
    return Hindcasts(dtype, month, day, years, intervals, seed)


def truth(about: Hindcasts, name: str, level: int | None, year: int, step: int) -> Floats:
    """What an analysis shows at the valid time, (latitude, longitude); sea surface temperature is NaN on land."""
    off = UNDERDISPERSION * _pattern(about, name, level, 0, year)
    return _legal(about, name, level, signal(about, name, (level,), year, step)[0], off, step)


def member(about: Hindcasts, name: str, level: int | None, number: int, year: int, step: int) -> Floats:
    """A field as `truth` has it, before it is packed. Members are numbered from 1."""
    off = BIAS + _pattern(about, name, level, number, year)
    return _legal(about, name, level, signal(about, name, (level,), year, step)[0], off, step)


def signal(about: Hindcasts, name: str, levels: Sequence[int | None], year: int, step: int) -> Floats:
    """What all members and the truth have in common, (level, latitude, longitude). Rain is counted from the start."""
    when = about.start(year) + timedelta(hours=step)
    found = weather(name, levels, about.latitude, about.longitude, when, about.seed)
    return found * (step / 24) if name in _FROM_START else found


@lru_cache(maxsize=256)
def spread(about: Hindcasts, name: str, level: int | None, step: int) -> Floats:
    """Standard deviation of a member's error, (latitude,): larger towards the poles."""
    s = sin(about.latitude * DEGREES)
    return error(name, level) * GROWTH[step] * (0.5 + s * s)


def _legal(about: Hindcasts, name: str, level: int | None, common: Floats, off: Floats, step: int) -> Floats:
    found = np.clip(common + spread(about, name, level, step)[:, None] * off, *bounds(name, level))
    if name == "sst":
        found[~sea(about.latitude, about.longitude, about.seed)] = np.nan
    return found


def _pattern(about: Hindcasts, name: str, level: int | None, number: int, year: int) -> Floats:
    """An error of variance 1, (latitude, longitude): that of neighbouring levels is alike."""
    here, there = _patterns(about, name, number, year)
    along, across = _turn(level or 1000)
    return along * here + across * there


@cache
def _turn(level: int) -> tuple[float, float]:
    turn = 0.5 * log(np.array(level / 1000.0))
    return float(cos(turn)), float(sin(turn))


@lru_cache(maxsize=2)
def _patterns(about: Hindcasts, name: str, number: int, year: int) -> tuple[Floats, Floats]:
    random = generator(about.seed, "ens10", name, number, year, about.month, about.day)
    cells = about.latitude * (8 / 180), about.longitude * (PERIOD / 360)
    return noise(random, 2).grid(*cells), noise(random, 2).grid(*cells)


def _messages(about: Hindcasts) -> Iterator[bytes]:
    """Encoded messages in the order of the file."""
    levels: tuple[int | None, ...] = LEVELS if about.dtype == "pl" else (None,)
    kept = _KEPT_BYTES // (16 * about.intervals**2 * len(levels))
    common = lru_cache(maxsize=max(1, kept))(signal)
    for name, parameter in PARAMETERS[about.dtype].items():
        with _message(about, parameter) as handle:
            for number, year, step, (place, level) in product(
                range(1, MEMBERS + 1), about.years, STEPS, [*enumerate(levels)]
            ):
                off = BIAS + _pattern(about, name, level, number, year)
                field = _legal(about, name, level, common(about, name, levels, year, step)[place], off, step)
                keys = {
                    "dataDate": int(f"{about.start(year):%Y%m%d}"),
                    "perturbationNumber": number,
                    "endStep": step,
                }
                for key, value in {**keys, **({"level": level} if level else {})}.items():
                    eccodes.codes_set(handle, key, value)
                eccodes.codes_set_double_array(
                    handle, "values", np.where(np.isnan(field), _MISSING, field).ravel()
                )
                yield eccodes.codes_get_message(handle)


@contextmanager
def _message(about: Hindcasts, parameter: int) -> Iterator[Any]:
    """A message of edition 1 whose date, step, member, level and values are yet to be set."""
    size = 180 / about.intervals
    handle = eccodes.codes_grib_new_from_samples("GRIB1")
    try:
        for key, value in {
            "setLocalDefinition": 1,
            "localDefinitionNumber": 26,  # hindcasts of an ensemble
            "class": "od",
            "type": "pf",
            "stream": "enfh",
            "expver": "0001",
            "numberOfForecastsInEnsemble": MEMBERS + 1,
            "referenceDate": 20180000 + 100 * about.month + about.day,
            "dataTime": 0,
            "stepUnits": "h",
            "gridType": "regular_ll",
            "Ni": 2 * about.intervals,
            "Nj": about.intervals + 1,
            "latitudeOfFirstGridPointInDegrees": 90,
            "latitudeOfLastGridPointInDegrees": -90,
            "longitudeOfFirstGridPointInDegrees": 0,
            "longitudeOfLastGridPointInDegrees": 360 - size,
            "iDirectionIncrementInDegrees": size,
            "jDirectionIncrementInDegrees": size,
            "indicatorOfTypeOfLevel": 100 if about.dtype == "pl" else 1,
            "level": 0,
            "paramId": parameter,
            "packingType": "grid_simple",
            "bitsPerValue": 16,
            "bitmapPresent": int(parameter == PARAMETERS["sfc"]["sst"]),
            "missingValue": _MISSING,
        }.items():
            eccodes.codes_set(handle, key, value)
        yield handle
    finally:
        eccodes.codes_release(handle)
