"""A benchmark runs from the command line to its exports; what it cannot prove, it does not print."""

import json
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from maelio.benchmarks.stalls.delivered import check
from maelio.benchmarks.stalls.device import Emulated, calibrated
from maelio.benchmarks.stalls.layouts import Place, Reading, prepare
from maelio.benchmarks.stalls.loop import train
from maelio.benchmarks.stalls.run import EPOCHS, STEPS, read_lines
from maelio.benchmarks.stalls.schedule import ARMS, Turn
from maelio.benchmarks.stalls.turn import Way, take
from maelio.benchmarks.stalls.workloads import WORKLOADS
from maelio.cli import main
from maelio.errors import BadData, InvalidMeasurement, NotFound
from maelio.records import read_record

LAYOUTS = ("tar", "converted-zarr")
ASKED = [word for layout in LAYOUTS for word in ("--layout", layout)]
_DELAY_S = 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def place(folder: Path) -> Place:
    place = Place(WORKLOADS["field"], "tiny", folder / "field" / "tiny")
    for layout in LAYOUTS:
        prepare(place, layout)  # type: ignore[arg-type]
    return place


def bench(folder: Path, runs: Path, *more: str) -> int:
    given = ["--folder", str(folder), "--size", "tiny", "--step-time", "0.001", "--repeats", "3"]
    return main(["bench", "run", "field", *given, *ASKED, "--runs", str(runs), *more])


@pytest.fixture(scope="module")
def run(folder: Path, place: Place) -> Path:
    """Without the cold arm, which some file systems cannot have."""
    assert bench(folder, folder / "runs", "--arm", "null", "--arm", "warm", "--arm", "load-only") == 0
    (found,) = (folder / "runs").iterdir()
    return found


def test_the_record_has_every_epoch_apart_and_its_parts_sum_to_the_wall_time(run: Path) -> None:
    record, lines = read_record(run), read_lines(run)
    arms = ("null", "warm", "load-only")
    assert list(record.arms) == [
        f"{layout}/{arm}/{epoch}" for layout in LAYOUTS for arm in arms for epoch in (1, 2)
    ]
    assert all(len(epochs) == 3 for epochs in record.arms.values())
    assert record.parameters["compute"] == "emulated"
    assert len({each.digest for each in record.inputs}) == 1
    assert record.outputs == (EPOCHS, STEPS)
    for line in lines:
        assert abs(line.times.residual_s) <= 0.01 * line.times.wall_s
        assert (line.au is None) == (line.arm == "load-only")
    assert record.metrics["converted-zarr/null/1/au"] > 0


def test_steps_are_within_their_epoch(run: Path) -> None:
    """What they do not have is the end of the loader, after the last one."""
    steps = [json.loads(line) for line in (run / STEPS).read_text().splitlines()]
    for line in read_lines(run):
        where = line.model_dump(include={"layout", "arm", "repeat", "epoch"})
        mine = [step for step in steps if {key: step[key] for key in where} == where]
        assert [step["step"] for step in mine] == list(range(line.times.steps))
        assert sum(step["samples"] for step in mine) == line.times.samples == 8
        wall = sum(step["wait_s"] + step["compute_s"] + step["other_s"] for step in mine)
        assert 0 < wall <= line.times.wall_s


def test_a_run_is_listed_shown_exported_and_compared(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(folder / "runs")]
    assert main(["bench", "ls", *runs]) == 0
    assert capsys.readouterr().out.startswith(f"{run.name}  field tiny  3 repeats of tar, converted-zarr")
    assert main(["bench", "show", run.name, *runs]) == 0
    assert "all layouts were found to deliver the same samples" in capsys.readouterr().out
    assert main(["bench", "show", str(run), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 12
    for to in ("jube", "csv"):
        assert main(["bench", "export", str(run), "--to", to]) == 0
        assert "load-only" in capsys.readouterr().out
    target = tmp_path / "summary.json"
    assert (
        main(["bench", "export", str(run), "--to", "mlperf", "--arm", "warm", "--output", str(target)]) == 0
    )
    assert len(json.loads(target.read_text())["metric"]["train_au_percentage"]) == 2
    assert main(["bench", "compare", str(run), str(run), "--json"]) == 0
    assert {ratio["ratio"] for ratio in json.loads(capsys.readouterr().out)["ratios"]} == {1.0}


def test_a_slower_run_is_a_regression_with_an_exit_code(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document: dict[str, Any] = json.loads((run / "record.json").read_text())
    for epochs in document["arms"].values():
        fastest = min(epoch["wall_s"] for epoch in epochs)
        for epoch in epochs:
            epoch["wall_s"] = fastest
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text(json.dumps(document))
    for epochs in document["arms"].values():
        for epoch in epochs:
            epoch["wall_s"] *= 1.1
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_text(json.dumps(document))
    assert main(["bench", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 8
    said = capsys.readouterr()
    assert "maelio: slower by more than 1.05: tar/warm/1 1.100 times" in said.err
    assert "slower" in said.out
    assert main(["bench", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--factor", "1.2"]) == 0


def test_a_cold_arm_whose_files_stay_in_memory_is_invalid(
    folder: Path, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mapped file cannot be dropped. The other arms have their figures, and the exit code says that one has not."""
    with ExitStack() as stack:
        for path in place.files("converted-zarr"):
            if path.stat().st_size:
                file = stack.enter_context(open(path, "rb"))
                mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
                assert len(mapped[:: mmap.PAGESIZE])
        code = bench(folder, tmp_path, "--arm", "null", "--arm", "cold")
    assert code == 9
    printed = capsys.readouterr().out
    assert "INVALID: converted-zarr/cold: " in printed
    assert "of its files are in memory before the run" in printed
    (run,) = tmp_path.iterdir()
    arms = read_record(run).arms
    assert "converted-zarr/null/1" in arms
    assert "converted-zarr/cold/1" not in arms


def test_a_warm_arm_whose_files_leave_memory_is_invalid(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at before the turn and after it."""
    reading = Reading(batch_size=2, threads=1)
    way = Way(
        check(place.open("tar", reading)).memory,
        lambda: place.open("tar", reading),
        tuple(place.files("tar")),
    )
    shares = [1.0, 0.97]
    monkeypatch.setattr("maelio.benchmarks.stalls.turn.resident", lambda files: shares.pop(0))
    with pytest.raises(InvalidMeasurement, match=r"tar/warm: 97\.0% of its files are in memory, wanted 98%"):
        take(Turn("tar", "warm", 1), way, Emulated(0.0), epochs=1)


def test_a_slow_store_is_waited_for_and_compute_hides_its_part(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every read takes 20 ms longer: eight samples, one thread. What is read while the device computes is not waited for."""
    reading = Reading(batch_size=2, threads=1)
    way = Way(
        check(place.open("tar", reading)).memory,
        lambda: place.open("tar", reading),
        tuple(place.files("tar")),
    )
    read = os.preadv

    def slowly(*arguments: Any) -> int:
        time.sleep(_DELAY_S)
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", slowly)
    epochs = {
        arm: take(Turn("tar", arm, 1), way, Emulated(4 * _DELAY_S), epochs=1)[0]
        for arm in ("null", "load-only", "warm")
    }
    (null, _), (loaded, _), (warm, steps) = epochs.values()
    assert loaded.times.regions_s["wait"] >= 8 * _DELAY_S
    assert null.times.regions_s["forward"] >= 0.99 * 16 * _DELAY_S
    assert steps[0].wait_s >= 2 * _DELAY_S
    assert warm.times.wall_s >= 0.99 * (16 + 2) * _DELAY_S


def test_a_step_takes_as_long_as_it_was_told() -> None:
    def batches() -> Iterator[Any]:
        yield from [{"a": [0.0]}] * 5

    epoch = train(batches(), Emulated(0.01))
    assert all(step.compute_s >= 0.0099 for step in epoch.steps)
    assert calibrated(0.01).late_s >= 0
    assert [step.compute_s for step in train(batches(), None).steps] == [0.0] * 5


def test_what_is_no_run_or_a_damaged_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"epochs\.jsonl: no epochs; wanted a run of `maelio bench run`"):
        read_lines(tmp_path)
    (tmp_path / EPOCHS).write_text("{}\n")
    with pytest.raises(BadData, match=r"epochs\.jsonl, line 1: Field required"):
        read_lines(tmp_path)


def test_the_command_refuses_what_there_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "run", "column", "--layout", "grib"]) == 2
    assert main(["bench", "run", "column", "--arm", "hot"]) == 2
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["maelio"] * 2
    assert ARMS == ("null", "warm", "cold", "load-only")
