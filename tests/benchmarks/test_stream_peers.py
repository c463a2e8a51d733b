"""The comparison of streams runs, at sizes that prove nothing but that it runs; what is wrong or unproven has no speed."""

import mmap
import re
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from maelio.benchmarks.peers.pagecache import evict, expect_cold, expect_warm, fetch
from maelio.benchmarks.peers.processes import usage
from maelio.benchmarks.peers.stream import Place, check, main, prepare
from maelio.benchmarks.peers.stream_sets import ROWS, SETS, Goal, Set, cold, columns_set, fields_set, warm
from maelio.benchmarks.peers.stream_table import Row, table, verdicts
from maelio.benchmarks.peers.turns import Reading, Turn
from maelio.errors import InvalidMeasurement

FIGURES = r"\d+ \(\d+-\d+\)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(fields_set("tiny"), tmp_path_factory.mktemp("streams"), Path("none"))
    prepare(place)
    return place


ARMS = {
    "fields": (
        "WebDataset, 2 workers",
        "zarr-python, in process",
        "tensorstore, lz4",
        "xarray over NetCDF",
        "zarrs, in process",
    ),
    "columns": ("zarr-python, in process", "LitData, 2 workers"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_every_reader_has_figures_or_a_reason(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What runs in maelio's own environment delivers what the sources hold; the rest tells how to get it."""
    command = [str(tmp_path), "--set", name, "--size", "tiny", "--rounds", "1", "--seconds", "0"]
    arms = [word for arm in ARMS[name] for word in ("--arm", arm)]
    assert main([*command, *arms, "--environments", str(tmp_path / "none")]) == 0
    printed = capfd.readouterr().out
    for arm, reader in warm(SETS[name]("tiny")).readers.items():
        told = "not installed: no .*; `make peers` makes it" if reader.environment else FIGURES
        there = re.search(rf"^{re.escape(arm)} +{told}", printed, re.MULTILINE)
        assert bool(there) == (arm in ARMS[name] or reader.kind != "peer")


@pytest.mark.slow
def test_cold_figures_are_proven(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where files are in memory alone there are none, and the exit code says so."""
    command = [str(tmp_path), "--cold", "--size", "tiny", "--rounds", "1", "--arm", "maelio, lz4"]
    invalid = "INVALID: .*(in memory before the run|came from the disk)"
    code, printed = main(command), capfd.readouterr().out
    for arm in ("disk limit, buffered", "maelio, uncompressed", "maelio, lz4"):
        assert re.search(rf"^{arm} +({invalid if code else FIGURES})", printed, re.MULTILINE), printed
    assert code in (0, InvalidMeasurement.exit_code)


@pytest.mark.parametrize(
    ("into", "reason"), [(None, "1 of them are not the sources', or came twice"), (5, "came twice")]
)
def test_a_reader_that_delivers_another_sample_is_found(
    place: Place, into: int | None, reason: str, tmp_path: Path
) -> None:
    """Be it one that is in no source, or one that is delivered in place of another."""
    damaged = Place(place.task, tmp_path, place.environments)
    truth = prepare(place)
    rows = np.fromfile(place.folder / ROWS, np.float32).reshape(place.task.count, -1)
    rows[3] = -1 if into is None else rows[into]
    rows.tofile(tmp_path / ROWS)
    for where, message in ((place, None), (damaged, reason)):
        with where.reading("copy limit, preadv") as reading:
            reading.ready()
            if message is None:
                check(where, reading, truth)
                continue
            with pytest.raises(InvalidMeasurement, match=message):
                check(where, reading, truth)


def test_a_reader_that_ends_has_no_figures(tmp_path: Path) -> None:
    """The file with what it said is named."""
    log = tmp_path / "said.log"
    command = [sys.executable, "-c", "import sys; sys.exit('why')"]
    with (
        Reading("it", command, log) as reading,
        pytest.raises(InvalidMeasurement, match=r"it ended; .*said\.log"),
    ):
        reading.ready()
    assert log.read_text() == "why\n"


def test_a_file_that_is_mapped_stays_in_memory_and_is_not_cold(tmp_path: Path) -> None:
    """The kernel is asked, and then asked what it did."""
    path = tmp_path / "file"
    path.write_bytes(bytes(2**20))
    fetch([path])
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert not any(mapped[:: mmap.PAGESIZE])
        share = evict([path])
    assert share > 0.9
    with pytest.raises(InvalidMeasurement, match=r"it: \d+\.\d% of its files are in memory before the run"):
        expect_cold("it", share, 2**20, 2**20)


def test_a_file_that_nobody_holds_leaves_memory(tmp_path: Path) -> None:
    """Where files are on a disk."""
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    nearest = next(str(folder) for folder in tmp_path.parents if str(folder) in mounts)
    if mounts[nearest] == "tmpfs":
        pytest.skip("temporary files are in memory here")
    path = tmp_path / "file"
    path.write_bytes(bytes(2**20))
    assert evict([path]) == 0
    expect_cold("it", 0, 2**20, 2**20)


def test_bytes_that_did_not_come_from_the_disk_are_not_cold_and_those_that_did_not_warm() -> None:
    with pytest.raises(InvalidMeasurement, match="it: 90 MB came from the disk, wanted 95% of 100 MB"):
        expect_cold("it", 0, 90_000_000, 100_000_000)
    with pytest.raises(InvalidMeasurement, match="it: 90 of 100 MB came from a disk"):
        expect_warm("it", 90_000_000, 100_000_000)
    expect_warm("it", 1_000_000, 100_000_000)


def test_usage_counts_children_that_ended() -> None:
    """A worker's time is not lost with the worker."""
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print('done', flush=True); input()"
    with psutil.Popen([sys.executable, "-c", start], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        found = usage(process.pid)
        process.communicate(b"\n")
    assert 0.45 <= found.cpu_s < 3  # the kernel counts in ticks of 10 ms and may round each down
    assert 0 < found.own_bytes < found.resident_bytes


def turn(rate: float, cpu_s: float = 1.0) -> Turn:
    return Turn(1000, 1000 / rate, 0.1, cpu_s, 10 * 2**20, 5 * 2**20, 0)


def test_medians_count_and_goals_are_of_the_best_of_the_others() -> None:
    """A goal of what was not measured has no verdict; a ratio that only rounds to the goal does not keep it."""
    task = fields_set("tiny")
    gb = 1e9 / (1000 * task.row_bytes)
    turns = {
        "copy limit, mapped": [turn(100.0)] * 3,
        "copy limit, preadv": [turn(80.0)] * 3,
        "maelio, uncompressed": [turn(84.9, 0.1 / gb), turn(10.0, 0.1 / gb), turn(99.0, 0.1 / gb)],
        "LitData, in process": [turn(8.0)] * 3,
        "LitData, 2 workers": [turn(5.0)] * 3,
    }
    rows = {name: Row.of(found, task.row_bytes) for name, found in turns.items()}
    assert verdicts(task, rows) == [
        "maelio, uncompressed: 0.849 times the copy limit (copy limit, mapped), wanted at least 0.85: MISSED",
        "maelio, uncompressed: 10.6 times the best peer (LitData, in process), wanted at least 10: kept",
        "maelio, uncompressed: 0.100 CPU s/GB, wanted at most 0.2: kept",
    ]
    printed = table(task, rows, {"zarrs, 2 workers": "not installed: no zarrs"})
    assert re.search(
        r"^maelio, uncompressed +85 \(10-99\) +11 +0\.100 +10 +5-5 +0\.100 +0\.8490$", printed, re.MULTILINE
    )
    assert re.search(r"^zarrs, 2 workers +not installed: no zarrs$", printed, re.MULTILINE)


@pytest.mark.parametrize("task", [warm(fields_set("tiny")), cold(fields_set("tiny")), columns_set("tiny")])
def test_goals_name_readers_there_are(task: Set) -> None:
    """One that names nobody would never be missed."""
    goals: tuple[Goal, ...] = task.goals
    assert goals
    assert {goal.arm for goal in goals} | {name for goal in goals for name in goal.others} <= set(
        task.readers
    )
    assert task.work.bytes == task.count * 4 * int(np.prod(task.shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "columns", "--cold"], "--set columns has no arms for --cold"),
        (["--rounds", "0"], "--rounds 0; wanted 1 or more"),
        (["--arm", "Petastorm"], "no arm 'Petastorm'; there are 'copy limit, mapped'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Before anything is written."""
    with pytest.raises(SystemExit):
        main([str(tmp_path), *arguments])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
