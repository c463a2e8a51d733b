"""The pipeline from a plain Python call, in this process, with no server set up."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from maelio.errors import MaelioError, Missing, NotPermitted
from maelio.settings import load_settings

if TYPE_CHECKING:
    from maelio.records import RunRecord

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # torch's threads share the cores with those of the stream: when they spin while they wait, both crawl
    "OMP_WAIT_POLICY": "PASSIVE",
}


def run_pipeline(
    folder: Path, *, epochs: int = 12, benchmark_epochs: int = 5, threads: int | None = None
) -> "RunRecord":
    """Run the pipeline below `folder`; returns the record, which is also in `folder/runs/<run>/record.json`.

    Prefect keeps its own files in `folder/prefect`, and a server for this process alone is started, unless
    PREFECT_HOME and PREFECT_API_URL say otherwise. These defaults stay set in the environment of this process.

    Raises:
        Missing: Prefect is not installed.
        NotPermitted: `folder` cannot be written.
        MaelioError: as the steps raise it.
    """
    folder = folder.absolute()
    threads = threads or load_settings().threads
    _make(folder)
    for name, value in {**DEFAULTS, "PREFECT_HOME": str(folder / "prefect")}.items():
        os.environ.setdefault(name, value)
    try:
        from maelio.flows.server import a_server, start_early
    except ModuleNotFoundError:
        raise Missing('Prefect is not installed; run: pip install "maelio[flows]"') from None
    start_early()
    from maelio.flows.pipeline import pipeline

    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(_worth_a_line)
    with a_server():
        return pipeline(folder, epochs=epochs, benchmark_epochs=benchmark_epochs, threads=threads)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotPermitted(f"{folder} cannot be made: {error.strerror}") from None


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Prefect logs what a task raises with its traceback, and a link to pages that our own server does not have."""
    if record.exc_info and isinstance(record.exc_info[1], MaelioError):
        record.exc_info = None
    return not str(record.msg).startswith("View at http://127.0.0.1")
