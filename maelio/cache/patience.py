"""How long a failing server is borne: longer and longer pauses, what the server asks for, and an end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from maelio.errors import MaelioError

FIRST_S, LONGEST_S = 0.5, 30.0


class Transient(MaelioError):
    """A failure that may pass. `retry_after_s`: the pause that the server asks for; `offline`: it was not reached at all."""

    def __init__(self, message: str, retry_after_s: float | None = None, offline: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.offline = offline


def pause_s(failures: int, asked_s: float | None, chance: float) -> float:
    """Seconds before the next attempt after so many failures in a row: 0.5, 1, 2 ... 30, at least what was asked for.

    `chance`, in [0, 1), takes up to half of that away, so that many clients do not come back at once.
    """
    backoff = min(FIRST_S * 2.0 ** min(failures - 1, 16), LONGEST_S) * (1 - chance / 2)
    return max(backoff, asked_s or 0.0)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None where it is neither. Source: RFC 9110, 10.2.3."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    known = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (known - (now or datetime.now(UTC))).total_seconds())


@dataclass(slots=True)
class Patience:
    """Of one file, shared by all who fetch its parts: it ends `limit_s` after the last byte that came.

    `sleep` returns whether the wait was broken off.
    """

    limit_s: float
    sleep: Callable[[float], bool]
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    begun: bool = False  # anything has come
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def progress(self) -> None:
        self.begun = True
        self._last = self.clock()

    def bear(self, failure: Transient, failures: int) -> None:
        """Wait before the next attempt. Raises `failure` where there shall be none."""
        wait = pause_s(failures, failure.retry_after_s, self.chance())
        left = self._last + self.limit_s - self.clock()
        if (failure.offline and not self.begun) or wait > left or self.sleep(wait):
            raise failure
