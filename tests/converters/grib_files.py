"""Small GRIB files of both editions, written by eccodes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 4, 6


def message(values: NDArray[Any] | None = None, *, edition: int = 2, **keys: Any) -> bytes:
    """A field on a regular grid of 4 x 6 points, or as `keys` say. NaN is missing."""
    handle = eccodes.codes_grib_new_from_samples(f"GRIB{edition}")
    wanted: dict[str, Any] = {
        "Ni": COLUMNS,
        "Nj": ROWS,
        "latitudeOfFirstGridPointInDegrees": 60,
        "latitudeOfLastGridPointInDegrees": 30,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 50,
        "iDirectionIncrementInDegrees": 10,
        "jDirectionIncrementInDegrees": 10,
        "dataDate": 20200101,
        "dataTime": 0,
        "shortName": "t",
        "typeOfLevel": "isobaricInhPa",
        "level": 500,
        "bitsPerValue": 24,
        **keys,
    }
    try:
        for key, value in wanted.items():
            eccodes.codes_set(handle, key, value)
        if values is None:
            values = np.arange(int(wanted["Ni"] * wanted["Nj"])) * 0.25 + 250
        flat = np.ravel(values).astype("f8")
        if np.isnan(flat).any():
            eccodes.codes_set(handle, "bitmapPresent", 1)
            eccodes.codes_set(handle, "missingValue", -1e30)
            flat = np.where(np.isnan(flat), -1e30, flat)
        eccodes.codes_set_values(handle, flat)
        encoded: bytes = eccodes.codes_get_message(handle)
        return encoded
    finally:
        eccodes.codes_release(handle)


def times(count: int, step_h: int = 6) -> list[dict[str, Any]]:
    """Keys of reference times."""
    return [
        {"dataDate": 20200101 + hour // 24, "dataTime": hour % 24 * 100}
        for hour in range(0, count * step_h, step_h)
    ]


def cube(
    names: Iterable[str] = ("t", "u"), levels: Iterable[int] = (850, 500), count: int = 3, **keys: Any
) -> list[bytes]:
    """One message for every time, name and level, no two fields equal."""
    places = [(time, name, level) for time in times(count) for name in names for level in levels]
    base = np.arange(ROWS * COLUMNS) * 0.25 + 250
    return [
        message(base + 100 * number, **time, shortName=name, level=level, **keys)
        for number, (time, name, level) in enumerate(places)
    ]


def write_grib(path: Path, messages: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(messages))
    return path


def several_fields(messages: Iterable[bytes]) -> bytes:
    """One message of edition 2 that holds the fields of several: sections 4 to 7 follow each other.

    Bitmaps equal to the one before are left out, as edition 2 allows.
    """
    head, bodies, bitmap = b"", b"", b""
    for encoded in messages:
        at, sections = 16, {}
        while encoded[at : at + 4] != b"7777":
            size = int.from_bytes(encoded[at : at + 4], "big")
            sections[encoded[at + 4]] = encoded[at : at + size]
            at += size
        head = head or encoded[:8] + bytes(8) + sections[1] + sections[3]
        if sections[6] == bitmap and bitmap[5] == 0:
            sections[6] = b"\0\0\0\6\6\xfe"
        else:
            bitmap = sections[6]
        bodies += b"".join(sections[number] for number in (4, 5, 6, 7))
    whole = head + bodies + b"7777"
    return whole[:8] + len(whole).to_bytes(8, "big") + whole[16:]
