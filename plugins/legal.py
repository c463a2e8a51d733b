"""What an argument of a dataset may be, and how what a user typed becomes one spelling of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from functools import cached_property
from math import isfinite
from typing import Any, Protocol

from pydantic import JsonValue


class Illegal(Exception):
    """A value is none of those that may be; `nearest` of them, where one is near."""

    def __init__(self, nearest: JsonValue = None) -> None:
        super().__init__(nearest)
        self.nearest = nearest


class Legal(Protocol):
    """`str()` of it completes "must be ..."."""

    def normal(self, value: Any) -> JsonValue:
        """The one spelling of a value. Raises Illegal."""


def nearest_word(word: str, words: Iterable[str], alike: float = 0.5) -> str | None:
    """The word that was probably meant, whatever its case; None where none is `alike`, from 0 to 1."""
    lower = {each.lower(): each for each in words}
    found = get_close_matches(word.lower(), lower, n=1, cutoff=alike)
    return lower[found[0]] if found else None


@dataclass(frozen=True, slots=True)
class Words:
    """One of these, in upper or lower case, as CliMetLab takes them."""

    words: tuple[str, ...]

    def normal(self, value: Any) -> JsonValue:
        text = str(value)
        for word in self.words:
            if word.lower() == text.lower():
                return word
        raise Illegal(nearest_word(text, self.words))

    def __str__(self) -> str:
        return self.words[0] if len(self.words) == 1 else "one of " + ", ".join(self.words)


@dataclass(frozen=True, slots=True)
class Steps:
    """Integers from `first` to `last`, each `step` after the one before, and `others`."""

    first: int
    last: int
    step: int = 1
    others: tuple[int, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        return (*range(self.first, self.last + 1, self.step), *self.others)

    def normal(self, value: Any) -> JsonValue:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise Illegal from None
        if isinstance(value, bool) or not isfinite(number):
            raise Illegal
        nearest = min(self.values, key=lambda each: abs(each - number))
        if nearest != number:
            raise Illegal(nearest)
        return nearest

    def __str__(self) -> str:
        steps = f"{self.first}..{self.last}" + (f" step {self.step}" if self.step != 1 else "")
        return " or ".join((steps, *map(str, self.others)))


@dataclass(frozen=True, slots=True)
class Flag:
    def normal(self, value: Any) -> JsonValue:
        known = {"true": True, "1": True, "false": False, "0": False}
        try:
            return known[str(value).lower()]
        except KeyError:
            raise Illegal from None

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True, slots=True)
class Text:
    """Any text that ends with `end`; `about` says what it is."""

    about: str = "a text"
    end: str = ""

    def normal(self, value: Any) -> JsonValue:
        text = str(value)
        if not text.endswith(self.end):
            raise Illegal(text + self.end)
        return text

    def __str__(self) -> str:
        return self.about


@dataclass(frozen=True, slots=True)
class Unheeded:
    """Anything: the original takes it, and does nothing with it."""

    def normal(self, value: Any) -> JsonValue:
        return None

    def __str__(self) -> str:
        return "anything: it is not heeded"


@dataclass(frozen=True)
class Dates:
    """Days or months, spelt by `spelling` as `strftime` has it, in order. `also`: how else a user may spell them.

    A date of pandas, NumPy or `datetime` will do as well. `gaps` are such as one would expect, and of which there
    is no file.
    """

    values: tuple[str, ...]
    spelling: str
    also: tuple[str, ...] = ("%Y-%m-%d", "%Y%m%d")
    gaps: tuple[str, ...] = ()

    def normal(self, value: Any) -> JsonValue:
        moment = self._moment(value)
        if moment is None:
            raise Illegal(nearest_word(str(value), self.values))
        text = moment.strftime(self.spelling)
        if text in self._known:
            return text
        day = self._day(text)
        raise Illegal(min(self.values, key=lambda each: abs((self._day(each) - day).days)))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset((*self.values, *self.gaps))

    def between(self, first: Any, last: Any) -> tuple[str, ...]:
        """All from one date to another, both of which are some, in their one spelling."""
        low, high = self._day(first), self._day(last)
        return tuple(each for each in self.values if low <= self._day(each) <= high)

    def _day(self, text: str) -> datetime:
        return datetime.strptime(f"2000 {text}", f"%Y {self.spelling}") if "%Y" not in self.spelling else (
            datetime.strptime(text, self.spelling)
        )  # fmt: skip

    def _moment(self, value: Any) -> date | None:
        if isinstance(value, date):  # pandas' and datetime's are some
            return value
        text = str(value)
        for spelling in (self.spelling, *self.also):
            try:
                year = "" if "%Y" in spelling else "2000 "  # a leap year
                return datetime.strptime(year + text, ("%Y " if year else "") + spelling)
            except ValueError:
                continue
        try:
            return datetime.fromisoformat(text[:26])  # numpy's have nine digits of a second
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"one of {len(self.values)} dates {self.values[0]}..{self.values[-1]}"


def listed(value: Any) -> Sequence[Any]:
    """A single value, or several in whatever holds them, as several."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)
