"""A conversion may be stopped anywhere: nothing half-made opens, and the next call ends with the same bytes."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.convert import Progress, convert
from maelio.converters.options import Options
from maelio.errors import BadRequest, NotFound
from maelio.store import CONTAINERS, Container, open_store, unfinished
from tests.converters.netcdf_files import damage, write_netcdf

MANY = Options(shard_bytes=1)  # every chunk is a region of its own

# Says "ready" when a few regions are committed, then goes on slowly until somebody stops it.
SLOW_CONVERSION = """
import signal, sys, time
from maelio.converters.convert import convert
from maelio.converters.options import Options

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

def slowly(progress):
    if progress.regions_done >= 3:
        print("ready", flush=True)
        time.sleep(60)

convert([sys.argv[1]], sys.argv[2], Options(format=sys.argv[3], shard_bytes=1), progress=slowly)
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Twelve samples of 64 KiB: twelve regions."""
    field = np.random.default_rng(0).random((12, 128, 128)).astype(np.float32)
    return write_netcdf(tmp_path / "big.nc", {"t": field}, zlib=True)


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def start_and_stop(source: Path, target: Path, form: Container, how: signal.Signals) -> int:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_CONVERSION, source, target, form], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == b"ready\n"
        process.send_signal(how)
    return process.wait(timeout=30)


@pytest.mark.parametrize(
    ("form", "how"),
    [(form, signal.SIGKILL) for form in CONTAINERS] + [("zarr", signal.SIGINT), ("zarr", signal.SIGTERM)],
)
def test_a_killed_conversion_goes_on_to_the_same_bytes(
    tmp_path: Path, big: Path, form: Container, how: signal.Signals
) -> None:
    """Nothing opens before; the second run keeps what was committed; the result is the uninterrupted one's."""
    target = tmp_path / "s.zarr"
    options = Options(format=form, shard_bytes=1)
    assert start_and_stop(big, target, form, how) != 0
    with pytest.raises(NotFound, match="was not finished; run it again"):
        open_store(target)
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_zarr(unfinished(target))
    seen: list[Progress] = []
    convert([big], target, options, progress=seen.append)
    assert seen[0].resumed_regions >= 3
    whole = tmp_path / "whole.zarr"
    convert([big], whole, options)
    assert contents(target) == contents(whole)
    assert not unfinished(target).exists()


class Interruption:
    """Raises KeyboardInterrupt once `regions` are done, as Ctrl-C would in the main thread."""

    def __init__(self, regions: int) -> None:
        self.regions = regions

    def __call__(self, progress: Progress) -> None:
        if progress.regions_done >= self.regions:
            raise KeyboardInterrupt


def interrupted(source: Path, target: Path, regions: int, options: Options = MANY) -> None:
    with pytest.raises(KeyboardInterrupt):
        convert([source], target, options, progress=Interruption(regions))


def test_an_interrupted_conversion_leaves_no_thread_and_no_store(tmp_path: Path, big: Path) -> None:
    """Ctrl-C waits for the regions in flight and no longer."""
    before = threading.active_count()
    interrupted(big, tmp_path / "s.zarr", 2)
    assert threading.active_count() == before
    assert not (tmp_path / "s.zarr").exists()


def test_interrupted_before_the_first_region_leaves_nothing(tmp_path: Path, big: Path) -> None:
    """No empty folder is in the way of the next try."""
    interrupted(big, tmp_path / "s.zarr", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["big.nc"]


def test_a_committed_shard_that_was_damaged_is_made_again(tmp_path: Path, big: Path) -> None:
    """The journal is believed only where size and checksum agree."""
    target = tmp_path / "s.zarr"
    interrupted(big, target, 4)
    shards = sorted(path for path in (unfinished(target) / "fields" / "c").rglob("*") if path.is_file())
    shards[0].write_bytes(b"")
    content = bytearray(shards[1].read_bytes())
    content[100] ^= 1
    shards[1].write_bytes(content)
    store = convert([big], target, MANY)
    with xr.open_dataset(big) as source, xr.open_dataset(store.path, engine="maelio") as found:
        xr.testing.assert_identical(found.load(), source.load())


def test_a_torn_last_line_of_the_journal_is_ignored(tmp_path: Path, big: Path) -> None:
    """A line cut in the middle costs its region, nothing else."""
    target = tmp_path / "s.zarr"
    interrupted(big, target, 4)
    journal = unfinished(target) / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - 10)
    seen: list[Progress] = []
    convert([big], target, MANY, progress=seen.append)
    assert seen[0].resumed_regions >= 2


def test_work_of_another_plan_is_not_mixed_in(tmp_path: Path, big: Path, field: NDArray[np.float32]) -> None:
    """Other sources or options are refused; `overwrite` discards what was there."""
    target = tmp_path / "s.zarr"
    interrupted(big, target, 3)
    other = write_netcdf(tmp_path / "other.nc", {"t": field})
    tar, zstd = (Options(format="tar", shard_bytes=1), Options(codec="zstd", shard_bytes=1))
    for sources, options in ([other], MANY), ([big], zstd), ([big], tar):
        with pytest.raises(BadRequest, match="unfinished conversion of other sources or options"):
            convert(sources, target, options)
    convert([other], target, Options(overwrite=True))
    assert open_store(target).samples == 24


@pytest.mark.parametrize("form", ["tar", "tfrecord"])
def test_nothing_of_a_discarded_plan_stays(
    tmp_path: Path, big: Path, field: NDArray[np.float32], form: Container
) -> None:
    """Readers that go by names would take old shards for new ones."""
    interrupted(big, tmp_path / "s", 6, Options(format=form, shard_bytes=1))
    other = write_netcdf(tmp_path / "other.nc", {"t": field})
    for target in ("s", "clean"):
        convert([other], tmp_path / target, Options(format=form, overwrite=True))
    assert contents(tmp_path / "s") == contents(tmp_path / "clean")


@pytest.mark.parametrize("lost", ["fields-000001.tar", "fields-000001.index"])
def test_a_shard_whose_index_is_lost_is_made_again(tmp_path: Path, big: Path, lost: str) -> None:
    """The two files count together."""
    target, options = tmp_path / "s", Options(format="tar", shard_bytes=1, threads=1)
    interrupted(big, target, 4, options)
    (unfinished(target) / lost).unlink()
    convert([big], target, options)
    convert([big], tmp_path / "whole", options)
    assert contents(target) == contents(tmp_path / "whole")


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_shards_of_somebody_else_are_never_touched(
    tmp_path: Path, big: Path, form: Container, overwrite: bool
) -> None:
    """At the target, and where it is built."""
    for folder in (tmp_path / "s", unfinished(tmp_path / "t")):
        folder.mkdir()
        for name in ("fields-000000.tar", "fields-000000.tfrecord", "fields-000000.index"):
            (folder / name).write_bytes(b"precious")
        before = contents(folder)
        with pytest.raises(
            BadRequest, match="exists; --overwrite" if folder.name == "s" and not overwrite else "in the way"
        ):
            convert([big], tmp_path / folder.stem, Options(format=form, overwrite=overwrite))
        assert contents(folder) == before


def test_two_processes_do_not_convert_into_one_store(tmp_path: Path, big: Path) -> None:
    """The second is told; it does not spoil the first."""
    target = tmp_path / "s.zarr"

    def second(progress: Progress) -> None:
        with pytest.raises(BadRequest, match="another process is converting here"):
            convert([big], target, MANY)

    convert([big], target, MANY, progress=second)
    assert open_store(target).samples == 12


def test_a_failure_without_committed_regions_leaves_nothing(
    tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """The next try starts from a clean place."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, zlib=True)
    damage(source, "t")
    with pytest.raises(Exception, match=r"a\.nc"):
        convert([source], tmp_path / "s.zarr")
    assert not unfinished(tmp_path / "s.zarr").exists()


def test_many_threads_may_convert_at_once(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """The NetCDF library crashes the process where two threads are inside; it is entered by one at a time."""
    sources = [write_netcdf(tmp_path / f"{n}.nc", {"t": field + n}, fletcher32=True) for n in range(8)]

    def one(source: Path) -> float:
        store = convert([source], source.with_suffix(".zarr"), Options(shard_bytes=1, threads=2))
        return store.contents.stacks["fields"].statistics["t"].min[0]

    with ThreadPoolExecutor(8) as pool:
        lowest = list(pool.map(one, sources))
    assert lowest == [float((field + n).min()) for n in range(8)]
