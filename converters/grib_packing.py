"""How a GRIB message holds its values; those that stand side by side are taken here, several times as fast as eccodes.

Source: WMO manual on codes, volume I.2, FM 92: sections 3, 4 of edition 1; sections 3, 5, 6, 7 of edition 2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd, ldexp

import numpy as np
from numpy.typing import NDArray

_TEMPLATES = {  # of section 5
    0: "simply packed", 2: "complex packed", 3: "complex packed", 4: "IEEE", 40: "JPEG 2000", 41: "PNG", 42: "CCSDS",
    50: "spectral", 51: "spectral", 40000: "JPEG 2000", 40010: "PNG", 50001: "second-order packed",
    50002: "second-order packed",
}  # fmt: skip
_SIMPLE, _IEEE = 0, 4
_IEEE_BITS = {1: 32, 2: 64}
_NO_BITMAP = 255
_MOST_BITS = 32
_MOST_BINARY, _MOST_DECIMAL = 1000, 100  # far beyond what is packed, and no float overflows


def packing(message: bytes) -> str:
    """In words; "packed" where the kind is not known."""
    if message[7] == 1:
        flags = message[_sections_1(message)[4][0] + 3] >> 4
        return "simply packed" if not flags else "spectral" if flags & 8 else "second-order packed"
    return _TEMPLATES.get(_int(message, _sections_2(message)[5][0] + 9, 2), "packed")


@dataclass(frozen=True, slots=True)
class Plain:
    """Values that stand side by side in a message, each in as many bits: (reference + integer * binary) * decimal.

    They begin at byte `start`; `ieee`: they are floats already. `bitmap` is where a bit for each of the `points`
    tells whether it has a value; None: all have. All sizes agree: what is read lies within the message.
    """

    points: int
    start: int
    bits: int
    ieee: bool = False
    reference: float = 0.0
    binary: float = 1.0
    decimal: float = 1.0
    bitmap: slice | None = None

    def values(self, message: bytes) -> NDArray[np.float64]:
        """In the order of the message, NaN where missing; bit for bit as eccodes computes them."""
        if self.bitmap is None:
            return self._known(message, self.points)
        there = np.unpackbits(np.frombuffer(message[self.bitmap], np.uint8), count=self.points).view(bool)
        values = np.full(self.points, np.nan)
        values[there] = self._known(message, int(there.sum()))
        return values

    def _known(self, message: bytes, count: int) -> NDArray[np.float64]:
        if self.ieee:
            return np.frombuffer(message, f">f{self.bits // 8}", count, self.start).astype(np.float64)
        if not self.bits:
            return np.full(count, self.reference)
        values = unpack(message, self.start, self.bits, count)
        values *= self.binary
        values += self.reference
        if self.decimal != 1:
            values *= self.decimal
        return values


def unpack(packed: bytes, start: int, bits: int, count: int) -> NDArray[np.float64]:
    """`count` unsigned integers of 1 to 32 bits, one behind the other from byte `start`, most significant bits first.

    Every so many of them begin at a byte again: all first ones are taken together, then all second ones, ... Reads
    up to seven bytes beyond the last one.
    """
    period = 8 // gcd(bits, 8)
    values = np.empty(-(-count // period) * period)
    for number, into in enumerate(values.reshape(-1, period).T):
        byte, skipped = divmod(number * bits, 8)
        width = next(size for size in (1, 2, 4, 8) if size * 8 >= skipped + bits)
        stride = bits * period // 8
        held = np.ndarray(len(into), f">u{width}", packed, start + byte, (stride,)).astype(f"=u{width}")
        if below := width * 8 - skipped - bits:
            held >>= held.dtype.type(below)
        if skipped:
            held &= held.dtype.type((1 << bits) - 1)
        into[:] = held
    return values[:count]


def plain(message: bytes, points: int) -> Plain | None:
    """None: the values of the message do not stand side by side, or sizes in it do not agree with `points`.

    Of other packings a decoder follows what it reads, and a damaged one takes it anywhere. `message` has zeros behind it.
    """
    return _plain_1(message, points) if message[7] == 1 else _plain_2(message, points)


def _plain_1(message: bytes, points: int) -> Plain | None:
    sections = _sections_1(message)
    at, length = sections[4]
    if length < 11 or sections[1][1] < 28:
        return None
    flags, bits = message[at + 3], message[at + 10]
    if flags >> 4:
        return None
    count, bitmap = points, None
    if 3 in sections:
        first, size = sections[3]
        if _int(message, first + 4, 2) or (size - 6) * 8 - message[first + 3] < points:
            return None  # a bitmap of a catalogue, or one that is too short
        bitmap = slice(first + 6, first + size)
        count = _ones(message[bitmap], points)
    if count * bits > (length - 11) * 8 - (flags & 15):
        return None
    decimal = _signed(message, sections[1][0] + 26, 2)
    found = Plain(points, at + 11, bits, bitmap=bitmap, reference=_ibm_float(message, at + 6))
    return _scaled(found, _signed(message, at + 4, 2), decimal)


def _plain_2(message: bytes, points: int) -> Plain | None:
    sections = _sections_2(message)
    at, length = sections[5]
    if length < 12 or sections[3][1] < 14:
        return None
    count, template = _int(message, at + 5, 4), _int(message, at + 9, 2)
    first, size = sections[6]
    bitmap = None
    if message[first + 5] != _NO_BITMAP:
        bitmap = slice(first + 6, first + size)
        if message[first + 5] or (size - 6) * 8 < points:
            return None
    agree = count == (points if bitmap is None else _ones(message[bitmap], points))
    if not agree or _int(message, sections[3][0] + 6, 4) != points:
        return None
    start, held_bits = sections[7][0] + 5, (sections[7][1] - 5) * 8
    if template == _IEEE:
        bits = _IEEE_BITS.get(message[at + 11], 0)
        return Plain(points, start, bits, ieee=True, bitmap=bitmap) if 0 < count * bits <= held_bits else None
    if template != _SIMPLE or length < 21 or count * message[at + 19] > held_bits:
        return None
    (reference,) = struct.unpack_from(">f", message, at + 11)
    found = Plain(points, start, message[at + 19], bitmap=bitmap, reference=reference)
    return _scaled(found, _signed(message, at + 15, 2), _signed(message, at + 17, 2))


def _scaled(found: Plain, binary: int, decimal: int) -> Plain | None:
    """None: of numbers that nobody packs with; eccodes may make of them what it wants."""
    if not found.bits:  # one value for all, which eccodes writes and reads without a scale
        return found
    if not 1 <= found.bits <= _MOST_BITS or abs(binary) > _MOST_BINARY or abs(decimal) > _MOST_DECIMAL:
        return None
    return replace(found, binary=2.0**binary, decimal=_power_of_10(-decimal))


def _power_of_10(exponent: int) -> float:
    """As eccodes has it: rounded at every step."""
    power = 1.0
    for _ in range(abs(exponent)):
        power = power * 10 if exponent > 0 else power / 10
    return power


def _ibm_float(message: bytes, at: int) -> float:
    """Sign, 7 bits of an exponent of 16, and 24 bits: WMO, regulation 92.6.4."""
    sign = -1.0 if message[at] & 0x80 else 1.0
    return sign * ldexp(_int(message, at + 1, 3), 4 * ((message[at] & 0x7F) - 64) - 24)


def _signed(message: bytes, at: int, length: int) -> int:
    """The first bit is the sign, the others are the number."""
    found = _int(message, at, length)
    half = 1 << (8 * length - 1)
    return half - found if found >= half else found


def _sections_1(message: bytes) -> dict[int, tuple[int, int]]:
    """First byte and length by number. The message is one that `walk` found."""
    at = 8
    sections = {1: (at, _int(message, at, 3))}
    flags = message[at + 7]
    at += sections[1][1]
    for number, there in ((2, flags & 0x80), (3, flags & 0x40), (4, True)):
        if there:
            sections[number] = (at, _int(message, at, 3))
            at += sections[number][1]
    return sections


def _sections_2(message: bytes) -> dict[int, tuple[int, int]]:
    return {number: (at, length) for number, at, length in _each_section(message)}


def _each_section(message: bytes) -> Iterator[tuple[int, int, int]]:
    at, stop = 16, _int(message, 8, 8) - 4
    while at < stop:
        length = _int(message, at, 4)
        yield message[at + 4], at, length
        at += length


def _int(raw: bytes, at: int, length: int) -> int:
    return int.from_bytes(raw[at : at + length], "big")


def _ones(bitmap: bytes, points: int) -> int:
    """Of the first `points` bits."""
    return int(np.unpackbits(np.frombuffer(bitmap, np.uint8), count=points).sum())
