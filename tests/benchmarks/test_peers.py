"""The comparisons with other tools run, at sizes that prove nothing but that they run."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import zarr

from maelio.benchmarks.peers import convert, stream
from maelio.benchmarks.peers.fields import WorkSet, make
from maelio.benchmarks.peers.rounds import Cost, rows, run
from maelio.errors import InvalidMeasurement

TINY = WorkSet(files=2, steps=4, latitudes=9, longitudes=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the comparison of converters leaves behind: the sources, and a store of every arm."""
    folder = tmp_path_factory.mktemp("peers")
    sources = make(folder / "source", TINY)
    for name, arm in convert.ARMS.items():
        if name != "h5py + zarr, 2 proc.":  # forks: see tests/loaders/test_processes.py
            arm(sources, folder / name)
    return folder


@pytest.mark.slow
def test_all_converters_hold_the_same_values(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The table is printed after that was found, with a row for each."""
    size = ["--files", "2", "--steps", "4", "--grid", "9", "12"]
    assert convert.main([str(tmp_path), *size, "--rounds", "1"]) == 0
    printed = capfd.readouterr().out
    assert "values equal in all arms" in printed
    assert all(re.search(rf"^{re.escape(arm)} +\d", printed, re.MULTILINE) for arm in convert.ARMS)


def test_a_converter_that_loses_a_value_is_found(folder: Path, tmp_path: Path) -> None:
    """No speed is given for it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copytree(copy / "maelio" / "fields", copy / "h5py + zarr, 2 proc.")
    convert.check(copy)
    zarr.open_group(copy / "xarray to_zarr")["msl"][3, 2, 1] = 0  # type: ignore[index]
    with pytest.raises(InvalidMeasurement, match="xarray to_zarr and maelio do not hold the same values"):
        convert.check(copy)


def test_all_streams_deliver_the_same_samples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the same order, or there is no table."""
    assert stream.main([str(folder), "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "8 samples of 1.7 KiB" in printed
    assert len(re.findall(r"x$", printed, re.MULTILINE)) == 5


def test_ratios_are_of_medians_to_the_first_arm() -> None:
    """One slow run does not count, the extremes are told."""
    costs = {
        "a": [Cost(1.0, 1.0, 10), Cost(2.0, 1.0, 30), Cost(9.0, 1.0, 20)],
        "b": [Cost(6.0, 3.0, 5)] * 3,
    }
    first, second = rows(costs)
    assert (first.wall_s, first.wall_min_s, first.wall_max_s, first.peak_bytes) == (2.0, 1.0, 9.0, 30)
    assert (second.wall_ratio, second.cpu_ratio) == (3.0, 3.0)


def test_a_failed_run_is_not_a_measurement() -> None:
    """It stops the comparison and names the command."""
    with pytest.raises(InvalidMeasurement, match="exit code 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])
    cost = run([sys.executable, "-c", "bytearray(50_000_000)"])
    assert cost.peak_bytes > 50_000_000
    assert cost.cpu_s > 0
