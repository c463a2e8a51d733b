"""Where a source came from, and what was said about it there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

_ETAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "CRC")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created")


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

    @property
    def tells(self) -> bool:
        """Whether a change of the file would show."""
        return (self.bytes, self.modified_ns, self.etag) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Located:
    """A source where it can be opened. `origin` is None for the user's own files."""

    path: Path
    origin: Origin | None = None


def origin_of(url: str, info: Mapping[str, Any]) -> Origin:
    """What fsspec's `info` says, whichever names a file system has for it."""
    size = info.get("size")
    etag = next((info[name] for name in _ETAGS if info.get(name)), None)
    times = (_nanoseconds(info[name]) for name in _TIMES if info.get(name))
    return Origin(
        url=url,
        bytes=None if size is None else int(size),
        modified_ns=next((time for time in times if time is not None), None),
        etag=None if etag is None else str(etag),
    )


def _nanoseconds(time: object) -> int | None:
    """Since 1970, of a time as servers write it; None where it is none of the usual forms."""
    match time:
        case int() | float():
            return int(time * 1e9)
        case str():
            return _nanoseconds(_parsed(time))
        case datetime():
            known = time if time.tzinfo else time.replace(tzinfo=UTC)
            return round(known.timestamp() * 1e6) * 1000
        case _:
            return None


def _parsed(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except ValueError:
            continue
    return None
