"""Where a source came from, and what was said about it there."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from maelio.cache.tier import Revision


@dataclass(frozen=True, slots=True)
class Origin:
    """A URL, and what its server said about the file: None where it said nothing.

    `in_place`: a Zarr group whose values are read from there; only its metadata was fetched.
    """

    url: str
    bytes: int | None = None
    modified_ns: int | None = None
    etag: str | None = None
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Located:
    """A source where it can be opened. `origin` is None for the user's own files."""

    path: Path
    origin: Origin | None = None


def origin_of(url: str, revision: Revision) -> Origin:
    """What a server said when the file was fetched."""
    modified = None if revision.modified is None else _parsed(revision.modified)
    return Origin(url, revision.bytes, None if modified is None else _nanoseconds(modified), revision.etag)


def _nanoseconds(time: datetime) -> int:
    """Since 1970; a time without a zone is in UTC."""
    known = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(known.timestamp() * 1e6) * 1000


def _parsed(text: str) -> datetime | None:
    """A time as servers write it; None where it is in none of the usual forms."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except ValueError:
            continue
    return None
