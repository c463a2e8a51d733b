"""Several processes convert into one folder: every region once, and the bytes are those of a single run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cli import main
from maelio.codecs import Codec
from maelio.converters.convert import Progress, convert, convert_part
from maelio.converters.options import Options
from maelio.converters.plan import Region
from maelio.converters.samples import Samples
from maelio.converters.share import Share
from maelio.errors import BadRequest
from maelio.store import StackedArray, open_store, unfinished
from tests.converters.netcdf_files import write_netcdf
from tests.converters.test_resume import contents

MANY = Options(shard_bytes=1)  # every chunk is a region of its own

# Says what it has done, then goes on when a line comes in.
PART = """
import sys
from maelio.converters.convert import convert_part
from maelio.converters.options import Options
from maelio.converters.samples import Samples
from maelio.converters.share import Share

def told(progress):
    print(progress.regions_done, flush=True)
    sys.stdin.readline()

convert_part([sys.argv[1]], sys.argv[2], Share.parse(sys.argv[3]), Options(shard_bytes=1), progress=told)
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Twelve samples of 64 KiB: twelve regions."""
    field = np.random.default_rng(0).random((12, 128, 128)).astype(np.float32)
    return write_netcdf(tmp_path / "big.nc", {"t": field}, zlib=True)


@pytest.fixture
def whole(tmp_path: Path, big: Path) -> dict[str, bytes]:
    return contents(convert([big], tmp_path / "whole.zarr", MANY).path)


@contextmanager
def part(source: Path, target: Path, share: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does a part, one region for every line it is given."""
    command = [sys.executable, "-c", PART, str(source), str(target), share]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"  # it holds its part now
            yield process
        finally:
            process.kill()


def advance(process: subprocess.Popen[str], regions: int) -> None:
    """Let it do so many more, and wait until it has."""
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(regions):
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline()


def region(name: str, shard: int, samples: int, row_bytes: int, rows: int) -> Region:
    array = StackedArray(
        name,
        ("t",),
        ("time", "variable", "x"),
        (samples, 1, row_bytes),
        np.dtype("u1"),
        (1, 1),
        rows,
        Codec("none"),
    )
    return Region(array, shard, Samples(("time",), (samples,)), (), (), MANY)


@st.composite
def many_regions(draw: st.DrawFn) -> list[Region]:
    """Those of one to three arrays with the same samples."""
    samples = draw(st.integers(1, 40))
    sizes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3))
    return [
        region(f"array{number}", shard, samples, row_bytes, rows)
        for number, (row_bytes, rows) in enumerate(sizes)
        for shard in range(-(-samples // rows))
    ]


@given(many_regions(), st.integers(1, 60))
def test_over_all_parts_every_region_occurs_once(regions: list[Region], of: int) -> None:
    """Also where there are more parts than regions."""
    taken = [one for number in range(1, of + 1) for one in Share(number, of).take(regions)]
    assert sorted(map(id, taken)) == sorted(map(id, regions))


@given(many_regions(), st.integers(1, 20))
def test_parts_are_neighbours_and_nearly_equal(regions: list[Region], of: int) -> None:
    """No part begins before an earlier one has, and none is larger than its share by more than one region."""
    parts = [Share(number, of).take(regions) for number in range(1, of + 1)]
    starts = [one.rows.start for part in parts for one in part]
    assert starts == sorted(starts)
    fair, largest = sum(one.bytes for one in regions) / of, max(one.bytes for one in regions)
    assert all(sum(one.bytes for one in part) <= fair + largest for part in parts)


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "a/b", "1/0", "-1/4", "1/2/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="wanted a number"):
        Share.parse(text)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 14), st.data())
def test_parts_in_any_order_and_some_missing_make_the_same_store(
    tmp_path_factory: pytest.TempPathFactory, of: int, data: st.DataObject
) -> None:
    """The call without a part does what is missing."""
    folder = tmp_path_factory.mktemp("parts")
    field = np.arange(12 * 128 * 128, dtype="f4").reshape(12, 128, 128)
    source = write_netcdf(folder / "a.nc", {"t": field})
    shares = data.draw(st.lists(st.integers(1, of), unique=True, max_size=of))
    for number in shares:
        done = convert_part([source], folder / "s.zarr", Share(number, of), MANY)
        assert not (folder / "s.zarr").exists()
    seen: list[Progress] = []
    convert([source], folder / "s.zarr", MANY, progress=seen.append)
    assert seen[0].resumed_regions == (done.regions_done if shares else 0)
    convert([source], folder / "whole.zarr", MANY)
    assert contents(folder / "s.zarr") == contents(folder / "whole.zarr")


@pytest.mark.slow
def test_parts_run_together_and_one_is_killed(tmp_path: Path, big: Path, whole: dict[str, bytes]) -> None:
    """Three processes at once; the killed one's regions are done by the last call, which publishes."""
    target = tmp_path / "s.zarr"
    with (
        part(big, target, "1/3") as one,
        part(big, target, "2/3") as two,
        part(big, target, "3/3") as three,
    ):
        for process in (one, two, three):
            advance(process, 2)
        with pytest.raises(BadRequest, match=r"s\.zarr\.part: another process is converting here"):
            convert([big], target, MANY)
        with pytest.raises(BadRequest, match=r"s\.zarr\.part: part 2/3: another process is converting here"):
            convert_part([big], target, Share(2, 3), MANY)
        two.send_signal(signal.SIGKILL)
        for process in (one, three):
            advance(process, 2)
            process.communicate("\n", timeout=60)
            assert process.returncode == 0
    seen: list[Progress] = []
    convert([big], target, MANY, progress=seen.append)
    assert 10 <= seen[0].resumed_regions < 12
    assert contents(target) == whole


def test_a_part_is_refused_while_the_whole_is_converted(tmp_path: Path, big: Path) -> None:
    target = tmp_path / "s.zarr"

    def second(progress: Progress) -> None:
        with pytest.raises(BadRequest, match="another process is converting here"):
            convert_part([big], target, Share(1, 2), MANY)

    convert([big], target, MANY, progress=second)


def test_a_part_of_another_plan_is_refused_and_overwrite_spares_the_same_plan(
    tmp_path: Path, big: Path, whole: dict[str, bytes]
) -> None:
    """`overwrite` in every job of an array discards an old plan once, and never the others' parts."""
    target, again = tmp_path / "s.zarr", Options(shard_bytes=1, overwrite=True)
    convert_part([big], target, Share(1, 2), Options(shard_bytes=1, codec="zstd"))
    with pytest.raises(BadRequest, match="unfinished conversion of other sources or options"):
        convert_part([big], target, Share(2, 2), MANY)
    assert convert_part([big], target, Share(2, 2), again).regions_done == 6
    assert convert_part([big], target, Share(1, 2), again).regions_done == 12
    convert([big], target, again)
    assert contents(target) == whole


def test_overwrite_does_not_discard_a_plan_that_others_work_on(tmp_path: Path, big: Path) -> None:
    target = tmp_path / "s.zarr"

    def second(progress: Progress) -> None:
        with pytest.raises(BadRequest, match="of other sources or options, is converting here"):
            convert_part([big], target, Share(2, 2), Options(codec="zstd", shard_bytes=1, overwrite=True))

    assert convert_part([big], target, Share(1, 2), MANY, progress=second).regions_done == 6


def test_a_store_at_the_target_stands_until_the_parts_are_published(
    tmp_path: Path, big: Path, field: NDArray[np.float32]
) -> None:
    target, again = tmp_path / "s.zarr", Options(shard_bytes=1, overwrite=True)
    convert([write_netcdf(tmp_path / "old.nc", {"t": field})], target)
    with pytest.raises(BadRequest, match="exists; --overwrite"):
        convert_part([big], target, Share(1, 1), MANY)
    convert_part([big], target, Share(1, 1), again)
    assert open_store(target).samples == 24
    convert([big], target, again)
    assert open_store(target).samples == 12
    assert not unfinished(target).exists()


def test_a_failed_part_leaves_what_others_have_done(tmp_path: Path, big: Path) -> None:
    target = tmp_path / "s.zarr"
    convert_part([big], target, Share(1, 2), MANY)

    def fail(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_part([big], target, Share(2, 2), MANY, progress=fail)
    assert convert_part([big], target, Share(1, 2), MANY).regions_done == 6


def test_the_command_tells_how_far_the_whole_is(
    tmp_path: Path, big: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part without regions ends well too."""
    target = tmp_path / "s.zarr"

    def told(*more: str) -> str:
        assert main(["convert", str(big), str(target), "--shard-size", "1", *more]) == 0
        return capsys.readouterr().out

    assert "part 1/40 has ended, 0 regions; of the whole 0 of 12 are done" in told("--part", "1/40")
    assert "0 of 12 are done" in told("--part", "1/40")
    line = told("--part", "1/2")
    assert "6 of 12 are done" in line
    assert line.endswith("without --part does what is missing and publishes\n")
    assert '"regions_done": 12' in told("--part", "2/2", "--json")
    assert told("--part", "2/2").endswith("the same command without --part publishes it\n")
    assert "12 samples of t" in told()
    assert sorted(os.listdir(tmp_path)) == ["big.nc", "s.zarr"]


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(0, 11)))
def test_what_was_damaged_and_nothing_else_is_done_again(
    tmp_path_factory: pytest.TempPathFactory, damaged: set[int]
) -> None:
    """Files that several threads have checked, of journals of several parts."""
    folder = tmp_path_factory.mktemp("damaged")
    field = np.arange(12 * 128 * 128, dtype="f4").reshape(12, 128, 128)
    source, target = write_netcdf(folder / "a.nc", {"t": field}), folder / "s.zarr"
    for number in (1, 2, 3):
        convert_part([source], target, Share(number, 3), MANY)
    for shard in damaged:
        path = unfinished(target) / "fields" / "c" / str(shard) / "0" / "0" / "0"
        content = path.read_bytes()
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    seen: list[Progress] = []
    convert([source], target, MANY, progress=seen.append)
    assert seen[0].resumed_regions == 12 - len(damaged)
    assert contents(target) == contents(convert([source], folder / "whole.zarr", MANY).path)
