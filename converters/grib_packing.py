"""How a GRIB message holds its values, and whether its sizes are such that nothing in it leads eccodes astray.

Source: WMO manual on codes, volume I.2, FM 92: sections 3, 4 of edition 1; sections 3, 5, 6, 7 of edition 2.
"""

from collections.abc import Iterator

_TEMPLATES = {  # of section 5
    0: "simply packed", 2: "complex packed", 3: "complex packed", 4: "IEEE", 40: "JPEG 2000", 41: "PNG", 42: "CCSDS",
    50: "spectral", 51: "spectral", 40000: "JPEG 2000", 40010: "PNG", 50001: "second-order packed",
    50002: "second-order packed",
}  # fmt: skip
_SIMPLE, _IEEE = 0, 4
_IEEE_BITS = {1: 32, 2: 64}
_NO_BITMAP = 255
_MOST_BITS = 64


def packing(message: bytes) -> str:
    """In words; "packed" where the kind is not known."""
    if message[7] == 1:
        flags = message[_sections_1(message)[4][0] + 3] >> 4
        return "simply packed" if not flags else "spectral" if flags & 8 else "second-order packed"
    return _TEMPLATES.get(_int(message, _sections_2(message)[5][0] + 9, 2), "packed")


def is_plain(message: bytes, points: int) -> bool:
    """The values stand side by side, each in as many bits, there are `points` of them, and all sizes agree.

    Of other packings the decoder follows what it reads, and a damaged one takes it anywhere.
    """
    return _is_plain_1(message, points) if message[7] == 1 else _is_plain_2(message, points)


def _is_plain_1(message: bytes, points: int) -> bool:
    sections = _sections_1(message)
    at, length = sections[4]
    flags, bits = message[at + 3], message[at + 10]
    if flags >> 4 or bits > _MOST_BITS or length < 11:
        return False
    count = points
    if 3 in sections:
        first, size = sections[3]
        if _int(message, first + 4, 2) or (size - 6) * 8 - message[first + 3] < points:
            return False  # a bitmap of a catalogue, or one that is too short
        count = _ones(message[first + 6 : first + size])
    return count * bits <= (length - 11) * 8 - (flags & 15)


def _is_plain_2(message: bytes, points: int) -> bool:
    sections = _sections_2(message)
    at, length = sections[5]
    if length < 12 or sections[3][1] < 14:
        return False
    count, template = _int(message, at + 5, 4), _int(message, at + 9, 2)
    if template == _SIMPLE and length >= 21:
        bits = message[at + 19]
    elif template == _IEEE:
        bits = _IEEE_BITS.get(message[at + 11], _MOST_BITS + 1)
    else:
        return False
    first, size = sections[6]
    if message[first + 5] == _NO_BITMAP:
        agree = count == points
    else:
        agree = (
            message[first + 5] == 0
            and (size - 6) * 8 >= points
            and count == _ones(message[first + 6 : first + 6 + -(-points // 8)])
        )
    told = _int(message, sections[3][0] + 6, 4)
    return agree and told == points and bits <= _MOST_BITS and count * bits <= (sections[7][1] - 5) * 8


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


def _ones(bitmap: bytes) -> int:
    return int.from_bytes(bitmap, "big").bit_count()
