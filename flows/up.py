"""A Prefect server with its pages, and workers, on this machine, for flows that are deployed."""

import asyncio
import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from maelio.flows.server import OwnServer
from maelio.flows.slurm.worker import SlurmWorker

Kind = Literal["process", "slurm"]
SERVED = {
    "PREFECT_UI_ENABLED": "1",
    "PREFECT__SERVER_EPHEMERAL": "",  # it runs schedules too
}


@contextmanager
def served(folder: Path, *, port: int | None = None, database: str | None = None) -> Iterator[str]:
    """The address of a server's API, which listens on the loopback interface and sends nothing anywhere.

    Args:
        folder: where Prefect keeps its files; its database too, unless `database` is a URL of one.
        port: default: a free one.
        database: `postgresql+asyncpg://USER:PASSWORD@HOST/NAME`, kept off every command line.

    Raises MaelioError: the server does not start.
    """
    settings = {**SERVED, "PREFECT_HOME": str(folder)}
    if database:
        settings["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    server = OwnServer(port, settings)
    try:
        url = server.url()
        yield url
    finally:
        server.stop()


def worker_of(kind: Kind, pool: str) -> BaseWorker[Any, Any, Any]:
    """Of this work pool, which it makes if it is missing."""
    if kind == "slurm":
        return SlurmWorker(pool)
    return ProcessWorker(pool, name=f"process-{socket.gethostname()}")


def work(kind: Kind, pool: str) -> None:
    """Run a worker in this process until it is interrupted. Prefect's settings name the server."""
    asyncio.run(worker_of(kind, pool).start())


def tunnel(port: int) -> str:
    """What to type on one's own machine to see the pages of a server on this one."""
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"
