"""A plausible atmosphere in formulas: hybrid levels, profiles of temperature and moisture, where the sun stands."""

from datetime import UTC, datetime
from functools import cache

import eccodes
import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.plugins.standins.elementary import cos, exp, log, sin

Floats = NDArray[np.float64]

GRAVITY = 9.80665  # m s-2
GAS_CONSTANT = 287.0597  # of dry air, J kg-1 K-1
HEAT_CAPACITY = 1004.0  # of dry air at constant pressure, J kg-1 K-1
SURFACE_PRESSURE = 101325.0  # Pa
LAPSE_RATE = 0.0065  # K m-1
DEGREES = 0.017453292519943295
SECONDS_A_DAY = 86400


@cache
def half_levels(levels: int) -> tuple[Floats, Floats]:
    """a (Pa) and b of p = a + b * surface pressure at `levels` + 1 half levels, from the top.

    Of 91 levels those of the IFS, as ecCodes has them; of another number, these interpolated by level number, so
    that the top and the surface are the same. Source: IFS Documentation, Part III, equation 2.11.
    """
    handle = eccodes.codes_grib_new_from_samples("reduced_gg_ml_grib1")
    try:
        a, b = np.split(eccodes.codes_get_double_array(handle, "pv"), 2)
    finally:
        eccodes.codes_release(handle)
    places = np.arange(levels + 1) * ((len(a) - 1) / levels)
    given = np.arange(len(a), dtype=float)
    return np.interp(places, given, a), np.interp(places, given, b)


def half_level_pressure(surface: Floats, levels: int) -> Floats:
    """Pa, (place, half level), of surface pressures (place,)."""
    a, b = half_levels(levels)
    return a + b * surface[:, None]


def temperature(pressure: Floats, surface_pressure: Floats, surface_temperature: Floats) -> Floats:
    """K, of a troposphere with one lapse rate below a stratosphere that warms to 1 hPa and cools above.

    Arguments broadcast. Source: US Standard Atmosphere 1976, simplified.
    """
    height = log(np.maximum(pressure, 1.0) / surface_pressure)
    troposphere = surface_temperature * exp(LAPSE_RATE * GAS_CONSTANT / GRAVITY * height)
    scale_heights = -log(np.maximum(pressure, 1.0) / SURFACE_PRESSURE)
    stratosphere = (
        212 + 20 * np.clip(scale_heights - 3.5, 0, 3.2) - 18 * np.clip(scale_heights - 7.2, 0, None)
    )
    return np.maximum(troposphere, stratosphere)


def saturation(temperature: Floats, pressure: Floats) -> Floats:
    """Specific humidity at saturation over water, kg kg-1, at most 0.05. Source: Bolton 1980, equation 10."""
    vapour = 611.2 * exp(17.67 * (temperature - 273.15) / (temperature - 29.65))
    return np.minimum(0.05, 0.622 * vapour / np.maximum(pressure, vapour))


def warmth(latitude: Floats, season: Floats | float) -> Floats:
    """K: temperature at sea level by latitude (degrees) and season (turns since 1 January); they broadcast."""
    s = sin(latitude * DEGREES)
    return 300.0 - 45.0 * s * s - 12.0 * s * cos(2 * np.pi * (np.asarray(season) - 0.055))


def cos_zenith(latitude: Floats, longitude: Floats, seconds: Floats) -> Floats:
    """Cosine of the solar zenith angle, 0 at night; degrees, and seconds since 1970. Source: Spencer 1971, short."""
    days = seconds / SECONDS_A_DAY
    season = (days - 10957.0 + 10.0) / 365.2425  # turns since a December solstice
    declination = -0.409 * cos(2 * np.pi * season)
    hour = 2 * np.pi * (days - np.floor(days)) + longitude * DEGREES - np.pi
    phi = latitude * DEGREES
    height = sin(phi) * sin(declination) + cos(phi) * cos(declination) * cos(hour)
    return np.maximum(0.0, height)


def season(when: datetime) -> float:
    """Turns since 1 January."""
    return (when.timetuple().tm_yday - 1) / 365.25


def moment(text: object, pattern: str) -> datetime:
    """A time in UTC. Raises BadRequest: the text does not fit the pattern."""
    try:
        return datetime.strptime(str(text), pattern).replace(tzinfo=UTC)
    except ValueError:
        raise BadRequest(f"date of a stand-in: {text!r}, wanted {pattern}") from None
