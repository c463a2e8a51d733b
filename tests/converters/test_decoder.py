"""A damaged message ends in one line, whatever it does to eccodes."""

import os
import random
import signal
import threading
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from maelio.converters.convert import Progress, convert
from maelio.converters.decoder import Decoder, decoder
from maelio.converters.formats import describe, read_stored
from maelio.converters.options import Options
from maelio.converters.storage import Messages
from maelio.errors import BadData, MaelioError
from tests.converters.grib_files import COLUMNS, ROWS, message, times, write_grib

NOISE = np.random.default_rng(0).normal(280, 20, ROWS * COLUMNS)
PACKINGS = [  # PNG is read from real files
    (1, "grid_simple", "simply packed"),
    (1, "grid_second_order", "second-order packed"),
    (2, "grid_simple", "simply packed"),
    (2, "grid_complex", "complex packed"),
    (2, "grid_complex_spatial_differencing", "complex packed"),
    (2, "grid_second_order", "second-order packed"),
    (2, "grid_ccsds", "CCSDS"),
    (2, "grid_jpeg", "JPEG 2000"),
    (2, "grid_ieee", "IEEE"),
]
PLAIN = ("grid_simple", "grid_ieee")


def encoded(edition: int, kind: str, **keys: Any) -> bytes:
    return message(NOISE, edition=edition, packingType=kind, bitsPerValue=16, **keys)


def children() -> list[psutil.Process]:
    """The decoders of this process; it may have other children, which are none of ours."""
    return [
        child
        for child in psutil.Process().children()
        if "maelio.converters.decoder" in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize(("edition", "kind", "words"), PACKINGS)
def test_whatever_is_damaged_the_process_lives(tmp_path: Path, edition: int, kind: str, words: str) -> None:
    """Values, or an error that is expected: a byte or a few anywhere behind the first sixteen."""
    whole = [encoded(edition, kind, **time) for time in times(2)]
    dice = random.Random(f"{edition} {kind}")
    for number in range(25):
        damaged = bytearray(b"".join(whole))
        for _times in range(dice.choice((1, 1, 3))):
            damaged[dice.randrange(16, len(damaged))] = dice.choice((0, 128, 255, dice.randrange(256)))
        path = write_grib(tmp_path / f"{number}.grib", [bytes(damaged)])
        with suppress(MaelioError):
            read_all(path)


def read_all(path: Path) -> None:
    source = describe(path)
    with open(path, "rb") as file:
        for variable in source.variables.values():
            if isinstance(variable.storage, Messages) and prod(variable.shape) < 1e6:
                out = np.empty(variable.shape)
                read_stored(file.fileno(), source, variable, 0, range(len(out)), out)


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGSEGV])
def test_the_death_of_a_decoder_is_told_and_the_next_is_another(how: signal.Signals) -> None:
    """Only the message that it happened to is lost."""
    whole = encoded(2, "grid_ccsds")
    before = decoder()
    wanted = before.values(whole, NOISE.size).copy()
    (child,) = children()
    os.kill(child.pid, how)
    with pytest.raises(BadData, match=f"eccodes was killed by {how.name}"):
        before.values(whole, NOISE.size)
    assert decoder() is not before
    np.testing.assert_array_equal(decoder().values(whole, NOISE.size), wanted)


def test_a_message_that_takes_too_long_is_given_up() -> None:
    """The process ends itself, also while it is deep within a library."""
    side = 2000
    large = message(np.zeros(side * side), Ni=side, Nj=side, packingType="grid_ieee")
    hasty = Decoder(limit_s=-side * side / 1e6 + 1e-3)
    with pytest.raises(BadData, match=r"eccodes took more than 0\.001 s"):
        hasty.values(large, side * side)


def test_latitudes_do_not_depend_on_what_else_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """earthkit switches eccodes to another library for grids, which starts some of them a row too late."""
    keys = {"Ni": 96, "Nj": 73, "latitudeOfFirstGridPoint": 89999983, "latitudeOfLastGridPoint": -89999983}
    keys |= {
        "longitudeOfLastGridPoint": 356249908,
        "iDirectionIncrement": 3749999,
        "jDirectionIncrement": 2499999,
    }
    whole = message(np.zeros(96 * 73), shapeOfTheEarth=6, **keys) + bytes(4096)
    monkeypatch.setenv("ECCODES_ECKIT_GEO", "1")
    _, grid = Decoder().facts_and_grid(whole)
    assert grid.dimensions == ("latitude", "longitude")
    assert grid.coordinates["latitude"][1][0] == 89.999983


def test_values_grow_beyond_the_memory_that_is_shared() -> None:
    """And a small message after a large one is read as well."""
    side = 500
    large = np.arange(side * side) / 8
    kept = decoder().values(message(large, Ni=side, Nj=side, packingType="grid_ieee"), large.size)
    np.testing.assert_allclose(kept, large, atol=0.01)
    small = decoder().values(message(NOISE, packingType="grid_ieee"), NOISE.size)
    np.testing.assert_allclose(small, NOISE, atol=1e-4)


def test_a_decoder_ends_with_its_owner() -> None:
    """No process is left behind."""
    own = Decoder()
    own.values(encoded(2, "grid_ccsds"), NOISE.size)
    before = {child.pid for child in children()}
    del own
    assert len(before - {child.pid for child in children()}) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_conversion_whose_decoder_was_killed_goes_on_later(tmp_path: Path, threads: int) -> None:
    """As the kernel does it where memory runs out: one line, and what was committed stays."""
    options = Options(shard_bytes=1, threads=threads)
    field = np.random.default_rng(0).normal(280, 20, 128 * 128)  # of 64 KiB: each is a region
    keys: dict[str, Any] = {"packingType": "grid_ccsds", "Ni": 128, "Nj": 128}
    path = write_grib(tmp_path / "a.grib", [message(field, **keys, **time) for time in times(12)])
    whole = convert([path], tmp_path / "whole.zarr", options)

    killers: list[threading.Timer] = []
    killed: list[psutil.Process] = []

    def kill(progress: Progress) -> None:
        if progress.regions_done == 1:
            for child in children():
                child.suspend()  # so that it dies over a message, not between two
                killed.append(child)
                killers.append(threading.Timer(0.3, child.kill))
                killers[-1].start()

    with pytest.raises(
        BadData, match=r"a\.grib: variable 't': message \d+ .*killed by SIGKILL .*CCSDS data\?"
    ):
        convert([path], tmp_path / "s.zarr", options, progress=kill)
    for killer in killers:
        killer.join()
    psutil.wait_procs(killed)
    assert not (tmp_path / "s.zarr").exists()
    seen: list[Progress] = []
    convert([path], tmp_path / "s.zarr", options, progress=seen.append)
    assert seen[0].resumed_regions >= 1
    for file in (path for path in (whole.path / "fields" / "c").rglob("*") if path.is_file()):
        assert (tmp_path / "s.zarr" / file.relative_to(whole.path)).read_bytes() == file.read_bytes()
