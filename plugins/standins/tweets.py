"""Stand-ins of tweets that may tell whether it rains, and of the rain; the originals were never public."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.fields import Noise, generator, noise, scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put

Floats = NDArray[np.float64]

TWEETS = 100_000
HOURS = 744  # of January 2020
THRESHOLD = 1e-4  # m in an hour, above which it is raining
RAIN_WORDS = ("rain", "raining", "wet", "umbrella", "soaked", "drizzle", "puddles", "downpour")
OTHER_WORDS = ("the", "today", "train", "coffee", "football", "work", "again", "morning", "love", "city", "walk", "just",
               "home", "new", "weekend", "sun", "music", "people", "time", "dinner")  # fmt: skip
RAIN_SHARE = {True: 0.25, False: 0.03}
"""How often a word is one of RAIN_WORDS, by whether it rains."""

_SOURCES = ("Twitter for iPhone", "Twitter for Android", "Twitter Web App")
_START = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
_SOUTH, _WEST, _ROWS, _COLUMNS = 49.5, -8.5, 101, 111  # of the United Kingdom, by 0.1 degrees
_SINCE = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One of two files of maelstrom-tweets.

    `request`: nothing, or `kind` "tweets": one dimension `index`, 100000 tweets of January 2020 in the United Kingdom,
    random words of which RAIN_SHARE are about rain. `tp` is the hourly precipitation (m) of the other file at the
    rounded place and half hour, `raining` whether it is above THRESHOLD.
    `kind` "precipitation": `tp_h` (time_half, latitude, longitude), float32, hourly, 0.1 degrees.
    `scale` keeps that share of the tweets (at least 32) or hours (at least 4).

    Raises BadRequest: another kind.
    """
    kind = str(request.get("kind", "tweets"))
    if kind == "tweets":
        _write_tweets(path, scaled(TWEETS, scale, least=32), seed)
    elif kind == "precipitation":
        _write_precipitation(path, scaled(HOURS, scale, least=4), seed)
    else:
        raise BadRequest(f"stand-in of maelstrom-tweets: kind {kind!r}, wanted tweets or precipitation")


def _write_tweets(path: Path, count: int, seed: int) -> None:
    random = generator(seed, "tweets")
    rows, columns = random.integers(_ROWS, size=count), random.integers(_COLUMNS, size=count)
    hours = np.sort(random.integers(HOURS, size=count))
    latitude, longitude = (np.round(axis, 1) for axis in (_SOUTH + rows * 0.1, _WEST + columns * 0.1))
    half = _START + 3600 * hours + 1800
    precipitation = rain(seed).points(*_cells(half, latitude, longitude))
    tp = _amount(precipitation)
    raining = tp > THRESHOLD
    lengths = random.integers(4, 16, size=count)
    about_rain = random.binomial(lengths, np.where(raining, RAIN_SHARE[True], RAIN_SHARE[False]))
    texts = [
        f"{first} {second}".strip()
        for first, second in zip(
            _words(random, OTHER_WORDS, (lengths - about_rain).tolist()),
            _words(random, RAIN_WORDS, about_rain.tolist()),
            strict=True,
        )
    ]
    near = np.round(random.uniform(-0.0499, 0.0499, (2, count)), 6)
    boxes = [
        f"[{west:.1f}, {south:.1f}, {west + 0.1:.1f}, {south + 0.1:.1f}]"
        for west, south in zip((longitude - 0.05).tolist(), (latitude - 0.05).tolist(), strict=True)
    ]
    identity = 1_212_000_000_000_000_000 + np.arange(count) * 4096
    with new_netcdf(path, {"index": count}, title="stand-in: synthetic words, no tweets of people") as file:
        put(file, "index", "i8", ("index",), np.arange(count))
        put(file, "text", str, ("index",), texts)
        put(file, "source", str, ("index",), _words(random, _SOURCES, [1] * count))
        put(file, "id", "i8", ("index",), identity)
        put(file, "author_id", "i8", ("index",), random.integers(1, 10**9, size=count))
        put(file, "created_at", "i8", ("index",), half + random.integers(-1800, 1800, size=count), **_SINCE)
        put(file, "time_half", "i8", ("index",), half, **_SINCE)
        for name, values, off in (("longitude", longitude, near[0]), ("latitude", latitude, near[1])):
            unit = "degrees_east" if name == "longitude" else "degrees_north"
            put(file, name, "f8", ("index",), values + off, units=unit)
            put(file, f"{name}_rounded", "f8", ("index",), values, units=unit)
        put(
            file,
            "place",
            str,
            ("index",),
            [f"Town {row}-{column}" for row, column in zip(rows, columns, strict=True)],
        )
        put(file, "bounding_box", str, ("index",), boxes)
        put(file, "tp", "f8", ("index",), tp, units="m", long_name="Total precipitation of an hour")
        put(file, "raining", "i1", ("index",), raining)


def _write_precipitation(path: Path, count: int, seed: int) -> None:
    latitude = np.round(_SOUTH + 0.1 * np.arange(_ROWS, dtype=np.float64), 1)[::-1]
    longitude = np.round(_WEST + 0.1 * np.arange(_COLUMNS, dtype=np.float64), 1)
    half = _START + 3600 * np.arange(count) + 1800
    sizes = {"time_half": count, "latitude": _ROWS, "longitude": _COLUMNS}
    with new_netcdf(path, sizes, title="stand-in: synthetic") as file:
        put(file, "time_half", "i8", ("time_half",), half, **_SINCE)
        put(file, "latitude", "f8", ("latitude",), latitude, units="degrees_north")
        put(file, "longitude", "f8", ("longitude",), longitude, units="degrees_east")
        field = declare(
            file, "tp_h", "f4", tuple(sizes), units="m", long_name="Total precipitation of an hour"
        )
        for number in range(count):
            field[number] = _amount(
                rain(seed).grid(*_cells(half[number : number + 1], latitude, longitude))[0]
            )


@lru_cache(maxsize=2)
def rain(seed: int) -> Noise:
    """Over time, latitude and longitude."""
    return noise(generator(seed, "tweets", "rain"), 3, octaves=4)


def _cells(seconds: NDArray[np.int64], latitude: Floats, longitude: Floats) -> tuple[Floats, Floats, Floats]:
    return (seconds - _START) / 21600, latitude / 2, longitude / 2


def _amount(field: Floats) -> Floats:
    """m in an hour: none for about two thirds of the time."""
    return np.round(np.maximum(0, field - 0.4) * 1.2e-3, 9)


def _words(random: np.random.Generator, choices: Sequence[str], counts: Sequence[int]) -> list[str]:
    """One text for every count, of that many words."""
    picked = random.integers(len(choices), size=sum(counts)).tolist()
    texts, at = [], 0
    for count in counts:
        texts.append(" ".join(choices[number] for number in picked[at : at + count]))
        at += count
    return texts
