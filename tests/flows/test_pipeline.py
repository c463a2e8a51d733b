"""The pipeline as a whole, in this process, with a server of its own. One run serves most tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic_core import to_json

from maelio.errors import BadRequest, NotPermitted
from maelio.flows.run import DEFAULTS, run_pipeline
from maelio.records import RunRecord, read_record
from maelio.store import open_store

pytest.importorskip("prefect", reason='Prefect is not installed: pip install "maelio[flows]"')

pytestmark = [
    pytest.mark.slow,
    # Prefect and its dependencies, at import and while they run; nothing of ours
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

TASKS = ("ingest", "convert", "train", "benchmark", "report")


@dataclass
class Run:
    folder: Path
    record: RunRecord
    passed: list[tuple[str, Any]] = field(default_factory=list)
    """What went into each task and came out of it, by its name."""


def recorded(name: str, task: Callable[..., Any], passed: list[tuple[str, Any]]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        result = task(*arguments)
        passed.append((name, (arguments, result)))
        return result

    return call


@pytest.fixture(scope="module")
def run(hadgem: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("quickstart")
    passed: list[tuple[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**DEFAULTS, "PREFECT_HOME": str(folder / "prefect")}.items():
            patch.setenv(name, value)  # so that they are gone afterwards
        import maelio.flows.pipeline as steps

        for name in TASKS:
            patch.setattr(steps, name, recorded(name, getattr(steps, name), passed))
        yield Run(folder, run_pipeline(folder, epochs=2, benchmark_epochs=1, threads=2), passed)


def test_the_record_and_the_report_are_written(run: Run) -> None:
    folder = run.folder / "runs" / run.record.run
    assert read_record(folder) == run.record
    assert {path.name for path in folder.iterdir()} == {
        "record.json", "report.md", "report.html", "plot.svg", "model.pt",
    }  # fmt: skip
    assert all(Path(output).is_file() for output in run.record.outputs)
    assert {name: len(epochs) for name, epochs in run.record.arms.items()} == {"naive": 1, "maelio": 1}
    assert run.record.metrics["rmse_K"] < run.record.metrics["persistence_rmse_K"]
    assert run.record.metrics["naive_loss"] == pytest.approx(run.record.metrics["maelio_loss"], rel=1e-6)


def test_everything_lies_below_the_folder(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} <= {"stores", "runs", "prefect"}
    for scenario in ("E1", "A1B"):
        assert open_store(run.folder / "stores" / f"maelio-hadgem-{scenario}.zarr").samples == 240


def test_what_passes_between_tasks_is_small_and_no_array(run: Run) -> None:
    """References with digests, and figures: all of it is JSON."""
    assert [name for name, _ in run.passed[:6]] == ["ingest"] * 2 + ["convert"] * 2 + ["train", "benchmark"]
    for name, values in run.passed:
        assert len(to_json(values)) < 20_000, name


def test_a_second_run_keeps_stores_that_fit_and_makes_the_others_again(run: Run) -> None:
    stores = [run.folder / "stores" / f"maelio-hadgem-{scenario}.zarr" for scenario in ("E1", "A1B")]
    (stores[1] / "zarr.json").write_text("{}")
    before = (stores[0] / "zarr.json").stat().st_mtime_ns
    again = run_pipeline(run.folder, epochs=2, benchmark_epochs=1, threads=2)
    assert (stores[0] / "zarr.json").stat().st_mtime_ns == before
    assert open_store(stores[1]).samples == 240
    assert again.run != run.record.run
    assert again.metrics["rmse_K"] == pytest.approx(run.record.metrics["rmse_K"], rel=1e-6)


def test_an_expected_error_reaches_the_caller_and_is_logged_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import maelio.flows.pipeline as steps

    monkeypatch.setattr(steps, "TRAIN", "E2")
    with pytest.raises(BadRequest, match="scenario 'E2', wanted one of"):
        run_pipeline(run.folder, epochs=1, benchmark_epochs=1)
    assert "Traceback" not in capfd.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotPermitted, match="cannot be made: Not a directory"):
        run_pipeline(tmp_path / "file" / "quickstart")


INTERRUPTED = """
import signal, sys
from pathlib import Path
from maelio.flows.run import run_pipeline
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
try:
    run_pipeline(Path(sys.argv[1]), epochs=10_000)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_no_server_stays(how: signal.Signals, tmp_path: Path, hadgem: Path) -> None:
    """Ctrl-C reaches the whole process group; a killed process can tidy up nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stderr
        assert any("epoch 1 of" in line for line in process.stderr)
        children = psutil.Process(process.pid).children()  # the server, and what reads the sources
        servers = [child for child in children if "prefect" in " ".join(child.cmdline())]
        os.killpg(process.pid, how)
        process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert len(servers) == 1
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
