"""Where the messages of a GRIB file lie, by a walk over their sections: headers are read, values are not."""

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from maelio.converters.storage import Field
from maelio.errors import BadData
from maelio.packed import pread

log = logging.getLogger(__name__)

_HEADERS = 4096  # bytes read at once: sections 0 to 4 of most messages
_SEARCH = _HEADERS
_MAGIC, _END = b"GRIB", b"7777"
_LARGE = 0x800000  # edition 1, lengths beyond 24 bits: this bit, and a count of 120 bytes
_BITMAP_BEFORE = 254  # edition 2: the bitmap of the last field that had one

# Edition 2, where section 4 says when its interval ends, by product template (WMO manual on codes, I.2, 4.8-4.12).
_INTERVAL_ENDS = {8: 34, 9: 47, 10: 35, 11: 37, 12: 36}


@dataclass(frozen=True, slots=True)
class Header:
    """A field, and what tells it from others.

    `key` is all that its names, level, step and member depend on: fields that differ in their time alone share
    it. `grid` is the grid section. `time` is the reference time in seconds since 1970.
    """

    key: bytes
    grid: bytes
    time: int
    field: Field


def walk(path: Path) -> list[Header]:
    """Every field of a file, in the file's order.

    Zeros between messages are padding, as archives write it; other bytes there, such as the headings of
    bulletins, are skipped with a warning.

    Raises BadData: naming the message and the byte where the file is damaged or cut short.
    """
    with open(path, "rb") as file:
        content = _Content(file.fileno())
        headers: list[Header] = []
        offset = number = strange = 0
        while True:
            start, skipped = _next(path, content, offset, number)
            strange += skipped
            if start is None:
                break
            number += 1
            try:
                length, found = _message(content, start, number)
            except BadData as error:
                raise BadData(f"{path}: message {number} at byte {start}: {error}") from error
            headers += found
            offset = start + length
    if strange:
        log.warning("%s: %d bytes between messages belong to none and are skipped", path, strange)
    if not headers:
        raise BadData(f"{path} holds no GRIB message")
    return headers


class _Content:
    """The bytes of a file, of which headers are read ahead."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._start, self._ahead = 0, b""

    def take(self, offset: int, length: int) -> bytes:
        first = offset - self._start
        if first < 0 or first + length > len(self._ahead):
            if offset + length > self.size:
                raise BadData(f"is cut short: the file ends at byte {self.size}")
            self._start, first = offset, 0
            self._ahead = pread(self._fd, min(max(length, _HEADERS), self.size - offset), offset)
        return self._ahead[first : first + length]

    def last(self, offset: int) -> bytes:
        return pread(self._fd, 4, offset)


def _next(path: Path, content: _Content, offset: int, number: int) -> tuple[int | None, int]:
    """Where the next message starts, None where there is none; and how many bytes before it are not zero."""
    strange = 0
    start, tail = offset, b""
    while start < content.size:
        part = tail + content.take(start, min(_SEARCH, content.size - start))
        at = part.find(_MAGIC)
        between = part if at < 0 else part[:at]
        strange += len(between) - between.count(0) - (len(tail) - tail.count(0))
        if _END in between:
            raise BadData(
                f"{path}: behind message {number}, from byte {offset} on, there is no start of a message but the end "
                "of one: its start is damaged"
            )
        if at >= 0:
            return start - len(tail) + at, strange
        start += len(part) - len(tail)
        tail = part[-(len(_MAGIC) - 1) :]
    if any(tail.endswith(_MAGIC[:count]) for count in (1, 2, 3)):
        raise BadData(f"{path}: message {number + 1} is cut short: the file ends at byte {content.size}")
    return None, strange


def _message(content: _Content, start: int, number: int) -> tuple[int, list[Header]]:
    """Length and fields of the message at byte `start`."""
    edition = content.take(start, 8)[7]
    if edition == 1:
        return _edition_1(content, start, number)
    if edition == 2:
        return _edition_2(content, start, number)
    raise BadData(f"is of GRIB edition {edition}, wanted 1 or 2")


def _check_end(content: _Content, start: int, length: int) -> None:
    if start + length > content.size:
        raise BadData(f"is cut short: it ends at byte {start + length}, the file at {content.size}")
    found = content.last(start + length - 4)
    if found != _END:
        raise BadData(f"has {found!r} at its end, byte {start + length - 4}, wanted {_END!r}")


def _edition_1(content: _Content, start: int, number: int) -> tuple[int, list[Header]]:
    length = _int(content.take(start + 4, 3))
    at = start + 8
    product = content.take(at, _int(content.take(at, 3)))
    if len(product) < 28:
        raise BadData(f"has a product section of {len(product)} bytes, wanted 28 or more")
    at += len(product)
    has_grid, has_bitmap = product[7] & 0x80, product[7] & 0x40
    grid = product[4:5] + product[6:7]  # of a catalogue, by centre and number
    if has_grid:
        grid = content.take(at, _int(content.take(at, 3)))
        at += len(grid)
    if has_bitmap:
        at += _int(content.take(at, 3))
    values = _int(content.take(at, 3))
    if length & _LARGE and values < 120:  # as eccodes reads what ECMWF writes
        length = (length & ~_LARGE) * 120 - values + 4
    elif at + values != start + length - 4:
        raise BadData(f"has sections up to byte {at + values}, its length says {start + length - 4}")
    _check_end(content, start, length)
    year = (product[24] - 1) * 100 + product[12]
    time = _seconds(year, *product[13:17])
    key = b"\1" + product[:12] + product[17:24] + product[25:26] + product[28:]
    return length, [Header(key, grid, time, Field(number, ((start, length),)))]


def _edition_2(content: _Content, start: int, number: int) -> tuple[int, list[Header]]:
    indicator = content.take(start, 16)
    length = _int(indicator[8:16])
    if length < 16 + 4:
        raise BadData(f"says that it is {length} bytes long")
    stop = start + length - 4
    _check_end(content, start, length)
    at = start + 16
    sections: dict[int, tuple[int, int]] = {}
    bitmap: tuple[int, int] | None = None
    headers = []
    held: dict[int, bytes] = {2: b""}
    while at < stop:
        head = content.take(at, 6)
        size, section = _int(head[:4]), head[4]
        if not 1 <= section <= 7 or size < 5 or at + size > stop:
            raise BadData(f"has a section {section} of {size} bytes at byte {at}, which cannot be")
        sections[section] = (at, size)
        if section <= 4:
            held[section] = content.take(at, size)
        if section == 6 and head[5] == 0:
            bitmap = sections[6]
        elif section == 6 and head[5] == _BITMAP_BEFORE and bitmap is not None:
            sections[6] = bitmap
        at += size
        if section == 7:
            missing = {1, 3, 4, 5, 6} - sections.keys()
            if missing:
                raise BadData(f"has no section {min(missing)}")
            pieces = ((start, 16), *(sections[part] for part in sorted(sections)), (stop, 4))
            headers.append(_field(indicator[6], held, Field(number, pieces)))
    if not headers:
        raise BadData("has no section 7")
    if len(headers) == 1:
        whole = Field(number, ((start, length),))
        headers = [Header(header.key, header.grid, header.time, whole) for header in headers]
    return length, headers


def _field(discipline: int, held: dict[int, bytes], field: Field) -> Header:
    identification, product = held[1], held[4]
    if len(identification) < 21 or len(product) < 9:
        raise BadData("has a section 1 or 4 that is too short")
    year, month, day, hour, minute, second = _date(identification[12:19])
    time = _seconds(year, month, day, hour, minute, second)
    ends = _INTERVAL_ENDS.get(_int(product[7:9]))
    if ends is not None and len(product) >= ends + 7:  # its distance from the reference time is what matters
        try:
            interval = _seconds(*_date(product[ends : ends + 7])) - time
            product = product[:ends] + interval.to_bytes(8, "big", signed=True) + product[ends + 7 :]
        except BadData:
            pass  # an undated end; then the date stays part of the key
    key = b"".join((b"\2", bytes((discipline,)), identification[:12], identification[19:], held[2], product))
    return Header(key, held[3], time, field)


def _date(raw: bytes) -> tuple[int, ...]:
    return _int(raw[:2]), *raw[2:7]


def _seconds(year: int, *rest: int) -> int:
    try:
        return int(datetime(year, *rest, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]
    except ValueError:
        raise BadData(f"has the reference time {(year, *rest)}, which is no date") from None


def _int(raw: bytes) -> int:
    return int.from_bytes(raw, "big")
