"""The comparisons with other tools run, at sizes that prove nothing but that they run."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from maelio.benchmarks.peers import task_fields
from maelio.benchmarks.peers.convert import TASKS, main
from maelio.benchmarks.peers.rounds import Cost, rows, run
from maelio.benchmarks.peers.task import Task, make, same
from maelio.converters.convert import convert
from maelio.errors import BadRequest, InvalidMeasurement


@pytest.fixture(scope="module")
def fields() -> Task:
    return task_fields.task("tiny")


@pytest.fixture(scope="module")
def folder(fields: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources, maelio's store of them, and one in the layout of the h5py arm."""
    folder = tmp_path_factory.mktemp("peers")
    convert(make(folder / "source", fields.work), folder / "maelio")
    shutil.copytree(folder / "maelio" / "fields", folder / "h5py + zarr, 2 processes")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fields", "columns", "grib", "rechunk"])  # CCSDS has the tools of GRIB
def test_all_tools_write_the_values_of_the_sources(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The table is printed after that was found, with a row for each tool, or the reason why it has none."""
    assert main([str(tmp_path), "--set", name, "--size", "tiny", "--rounds", "1"]) == 0
    printed = capfd.readouterr().out
    assert "all values equal the sources'" in printed
    for arm in TASKS[name]("tiny").arms:
        assert re.search(rf"^{re.escape(arm)} +(\d.*x$|not installed: )", printed, re.MULTILINE)


def test_a_tool_that_is_not_installed_is_told_and_how_to_get_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing is left out in silence."""
    command = [str(tmp_path), "--size", "tiny", "--rounds", "1", "--arm", "anemoi-datasets"]
    assert main([*command, "--environments", str(tmp_path / "none")]) == 0
    printed = capfd.readouterr().out
    assert re.search(
        r"^anemoi-datasets +not installed: no .*/anemoi; `make peers` makes it$", printed, re.MULTILINE
    )
    assert len(re.findall(r"x$", printed, re.MULTILINE)) == 1


def test_a_tool_that_loses_a_value_is_found(fields: Task, folder: Path, tmp_path: Path) -> None:
    """No speed is given for it."""
    sources, arm = fields.work.paths(folder / "source"), "h5py + zarr, 2 processes"
    targets = {"maelio": folder / "maelio", arm: tmp_path / "copy"}
    shutil.copytree(folder / arm, targets[arm])
    fields.check(sources, targets)
    zarr.open_array(targets[arm])[3, 2, 1, 1] = 0
    with pytest.raises(InvalidMeasurement, match="2 processes does not hold the values of the sources: msl"):
        fields.check(sources, targets)


@pytest.mark.parametrize("files", [1, 3])
def test_samples_too_many_or_too_few_are_found(fields: Task, folder: Path, files: int) -> None:
    """Not only the values that both have are compared."""
    path = fields.work.paths(folder / "source")[0]
    with pytest.raises(InvalidMeasurement, match=r"maelio (wrote|does not hold)"):
        fields.check([path] * files, {"maelio": folder / "maelio"})


def test_bits_are_compared() -> None:
    """Zero is not minus zero, and a float64 is not its float32; NaN is itself."""
    values = np.array([0.0, np.nan], np.float32)
    assert same(values, values.copy())
    assert not same(values, np.array([-0.0, np.nan], np.float32))
    assert not same(values, values.astype(np.float64))


def test_a_folder_with_another_data_set_is_refused(fields: Task, folder: Path) -> None:
    """Its files would be taken for this one's."""
    with pytest.raises(BadRequest, match=r"source holds something else than Columns\(files=2"):
        make(folder / "source", TASKS["columns"]("tiny").work)
    assert make(folder / "source", fields.work) == fields.work.paths(folder / "source")


def test_ratios_are_of_medians_to_the_arm_that_does_the_same() -> None:
    """One slow run does not count, the extremes are told; without another the first arm is the measure."""
    costs = {
        "a": [Cost(1.0, 1.0, 10, 10), Cost(2.0, 1.0, 30, 40), Cost(9.0, 1.0, 20, 20)],
        "b": [Cost(6.0, 3.0, 5, 5)] * 3,
        "c": [Cost(12.0, 3.0, 5, 5)] * 3,
    }
    first, second, third = rows(costs, {"c": "b"})
    assert (first.wall_s, first.wall_min_s, first.wall_max_s) == (2.0, 1.0, 9.0)
    assert (first.peak_bytes, first.tree_bytes) == (30, 40)
    assert (second.wall_ratio, second.cpu_ratio) == (3.0, 3.0)
    assert (third.wall_ratio, third.cpu_ratio) == (2.0, 1.0)


def test_a_failed_run_is_not_a_measurement(tmp_path: Path) -> None:
    """It stops the comparison and names the command, and the file with what it said."""
    with pytest.raises(InvalidMeasurement, match=r"exit code 3; its output is in .*said\.log"):
        run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path / "said.log")
    assert (tmp_path / "said.log").read_text() == "why\n"


def test_memory_is_that_of_the_command_and_its_children() -> None:
    """Not of the process that starts it, which `wait4` would count."""
    ours = bytearray(400_000_000)
    hold = "held = bytearray(100_000_000); import time; time.sleep(2)"
    start = f"import subprocess, sys; [p.wait() for p in [subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in '12']]"
    cost = run([sys.executable, "-c", start])
    assert 100_000_000 < cost.peak_bytes < 200_000_000 < cost.tree_bytes < len(ours)
    assert cost.cpu_s > 0
