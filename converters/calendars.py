"""Times of one file as another file counts them: another epoch, other steps, another calendar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
from numpy.typing import NDArray

_SYNONYMS = {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}  # CF 1.11, section 4.4.2


@dataclass(frozen=True, slots=True)
class Clock:
    """How times are counted: "hours since 2000-01-01", in a calendar of CF."""

    units: str
    calendar: str

    @property
    def step(self) -> str:
        return self.units.partition(" since ")[0].strip()

    def runs_like(self, other: "Clock") -> bool:
        """The two differ in their epoch at most."""
        return (self.step, self.calendar) == (other.step, other.calendar)

    def date(self, time: float) -> str | None:
        """As ISO 8601 has it; None where units or calendar are not known here, such as months of any length."""
        try:
            return str(cftime.num2date(time, self.units, self.calendar).isoformat(timespec="seconds"))
        except (ValueError, OverflowError, TypeError):  # the last: of what is no date
            return None


def clock(attributes: Mapping[str, Any]) -> Clock:
    """Of a coordinate of time; synonyms of a calendar are one."""
    calendar = str(attributes.get("calendar", "standard")).lower()
    return Clock(str(attributes.get("units", "")), _SYNONYMS.get(calendar, calendar))


def translate(values: NDArray[Any], found: Clock, wanted: Clock) -> NDArray[Any]:
    """The same dates by another clock, the same shape; integers stay integers where that is exact.

    Raises ValueError, OverflowError, TypeError: a date is not in the calendar that is wanted, or a clock cannot be read.
    """
    if found == wanted:
        return values
    if found.runs_like(wanted):
        shift = float(
            cftime.date2num(cftime.num2date(0, found.units, found.calendar), wanted.units, wanted.calendar)
        )
        exact = values.dtype.kind == "f" or shift.is_integer()
        moved: NDArray[Any] = values + np.asarray(shift).astype(values.dtype if exact else np.float64)
        return moved
    dates = np.ravel(cftime.num2date(values, found.units, found.calendar))
    converted = cftime.date2num(
        [_in_calendar(date, wanted.calendar) for date in dates], wanted.units, wanted.calendar
    )
    return np.asarray(converted, np.float64).reshape(values.shape)


def _in_calendar(date: cftime.datetime, calendar: str) -> cftime.datetime:
    parts = (date.year, date.month, date.day, date.hour, date.minute, date.second, date.microsecond)
    try:
        return cftime.datetime(*parts, calendar=calendar)
    except ValueError:
        raise ValueError(f"{date.isoformat()[:10]} is no date in {calendar!r}") from None
