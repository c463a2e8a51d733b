"""`maelio flow`: a server, workers and deployed flows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.cli.runs import flow
from maelio.errors import Missing

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from maelio.flows.deployed import Run

__all__ = ["flow"]

Pool = Annotated[str, typer.Option(metavar="NAME", help="Work pool.")]
Named = Annotated[str, typer.Argument(metavar="RUN", help="Id or name of a flow run.")]
Kind = Annotated[
    Literal["process", "slurm"], typer.Option("--type", help="Runs are processes here, or jobs of Slurm.")
]


@flow.command()
def up(
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where Prefect keeps its files.")] = Path(
        "prefect"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="On the loopback interface.")] = 4200,
    pool: Pool = "maelio",
    kind: Kind = "process",
    database: Annotated[
        str | None,
        typer.Option(
            envvar="MAELIO_DATABASE", metavar="URL", help="postgresql+asyncpg://...; default: sqlite in DIR."
        ),
    ] = None,
) -> None:
    """Start a server and a worker; both end with Ctrl-C. Nothing is sent outside."""
    with _prefect():
        from maelio.flows.up import served, tunnel, work
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        served(folder.absolute(), port=port, database=database) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        typer.echo(
            f"pages      {url.removesuffix('/api')}\n"
            f"from afar  {tunnel(port)}\n"
            f"elsewhere  export PREFECT_API_URL={url}"
        )
        os.environ["PREFECT_API_URL"] = url
        work(kind, pool)


@flow.command()
def worker(pool: Pool = "maelio", kind: Kind = "slurm") -> None:
    """Run a worker of a server that is up; PREFECT_API_URL names it. One of its name goes on where it ended."""
    with _prefect():
        from maelio.flows.deployed import SERVER
        from maelio.flows.up import work
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    url = get_current_settings().api.url or SERVER
    os.environ["PREFECT_API_URL"] = url
    with temporary_settings({PREFECT_API_URL: url}):
        work(kind, pool)


@flow.command()
def deploy(
    pool: Annotated[
        str | None, typer.Option(metavar="NAME", help="Work pool.", show_default="maelio")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="SITE", help="Site file: its name or path.")] = None,
) -> None:
    """Tell the server of our flows."""
    with _server() as client:
        from maelio.flows.deployed import deploy as deploy_flows

        variables = None if site is None else {"site": site}
        for name in deploy_flows(client, pool, variables):
            typer.echo(name)


@flow.command()
def start(
    deployment: Annotated[str, typer.Argument(metavar="FLOW/DEPLOYMENT")], as_json: AsJson = False
) -> None:
    """Let a worker run what is deployed."""
    with _server() as client:
        from maelio.flows.deployed import start as start_run

        _show([start_run(client, deployment)], as_json)


@flow.command("ls")
def list_flow_runs(as_json: AsJson = False) -> None:
    """List the newest flow runs that the server knows, the newest last."""
    with _server() as client:
        from maelio.flows.deployed import runs as newest

        _show(newest(client), as_json)


@flow.command()
def logs(run: Named) -> None:
    """Print the log of a flow run."""
    with _server() as client:
        from maelio.flows.deployed import log

        for line in log(client, run):
            typer.echo(line)


@flow.command()
def cancel(run: Named, as_json: AsJson = False) -> None:
    """Cancel a flow run, and its job."""
    with _server() as client:
        from maelio.flows.deployed import cancel as cancel_run

        _show([cancel_run(client, run)], as_json)


def _show(found: "list[Run]", as_json: bool) -> None:
    if as_json:
        emit({"flow_runs": [asdict(run) for run in found]})
    elif found:
        typer.echo(columns([(run.id, run.name, run.state, run.message) for run in found]))


@contextmanager
def _server() -> "Iterator[SyncPrefectClient]":
    with _prefect():
        from maelio.flows.deployed import server
    with server() as client:
        yield client


@contextmanager
def _prefect() -> Iterator[None]:
    """Inside, Prefect is imported. Raises Missing: it is not installed."""
    defaults: dict[str, Any] = {"DO_NOT_TRACK": "1", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prefect":
            raise
        raise Missing('Prefect is not installed; run: pip install "maelio[flows]"') from None
