"""`maelio bench explain`, `maelio bench report` and `maelio bench timers`."""

import json
from pathlib import Path

import pytest

from maelio.cli import main
from maelio.records import write_record
from tests.benchmarks.records import some_record

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_record(some_record(), tmp_path / "runs")


def test_what_bounds_each_arm_is_said(run: Path, capsys: Capture) -> None:
    """By the run's id as by its folder."""
    assert main(["bench", "explain", str(run)]) == 0
    text = capsys.readouterr().out
    assert "naive: bound by loading data" in text
    assert "maelio: bound by" in text
    assert "  - load as the arm `maelio` does: predicted" in text
    assert main(["bench", "explain", run.name, "--runs", str(run.parent)]) == 0
    assert capsys.readouterr().out == text


def test_json_has_seconds_and_remedies(run: Path, capsys: Capture) -> None:
    assert main(["bench", "explain", str(run), "--arm", "naive", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["arm"], found["bound"], found["verified"]) == ("naive", "loading", None)
    assert all(remedy["predicted_s"] < found["step_s"] for remedy in found["remedies"])


def test_what_is_not_there_is_one_line(run: Path, capsys: Capture) -> None:
    assert main(["bench", "explain", str(run), "--arm", "none"]) == 3
    assert "no steps of arm 'none'; found naive, maelio" in capsys.readouterr().err
    assert main(["bench", "explain", str(run.parent / "gone")]) == 3
    assert main(["bench", "explain", str(run), "--arm", "naive", "--verify"]) == 3
    assert "its store is gone: /data/E1.nc" in capsys.readouterr().err


def test_the_report_is_written_where_the_run_lies_or_elsewhere(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["bench", "report", str(run)]) == 0
    assert capsys.readouterr().out.split() == [
        str(run / name) for name in ("report.md", "report.html", "plot.svg")
    ]
    assert main(["bench", "report", str(run), "--out", str(tmp_path / "there")]) == 0
    assert (tmp_path / "there" / "report.html").read_text() == (run / "report.html").read_text()


def test_timers_have_a_line_an_epoch_and_key(run: Path, capsys: Capture) -> None:
    assert main(["bench", "timers", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 4 * 7
    assert lines[1].split()[:5] == ["naive", "1", "EPOCH", "1", "0.500000"]
    assert main(["bench", "timers", str(run), "--json"]) == 0
    assert {row["key"] for row in json.loads(capsys.readouterr().out)} >= {"EPOCH", "BATCH", "IO", "OTHER"}
