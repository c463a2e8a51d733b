"""`maelio flow` and `maelio runs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.errors import BadData

if TYPE_CHECKING:
    from maelio.records import RunRecord

flow = typer.Typer(help="Run chained jobs.", no_args_is_help=True, rich_markup_mode=None)
runs = typer.Typer(help="Look at what ran.", no_args_is_help=True, rich_markup_mode=None)

Runs = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="Where records lie.", show_default="setting runs")
]


@flow.command("run")
def run_flow(
    name: Annotated[Literal["pipeline"], typer.Argument(metavar="FLOW", help="`pipeline`.")],
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where stores and pictures go.")] = Path(
        "quickstart"
    ),
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Training epochs.")] = 12,
    as_json: AsJson = False,
) -> None:
    """pipeline: ingest, convert, train on the source and on the store, report. Needs no server."""
    from maelio.flows.run import run_pipeline

    record = run_pipeline(folder, epochs=epochs)
    _show(record, as_json)
    if not as_json:
        typer.echo(f"record  {folder / 'runs' / record.run}")


def _show(record: "RunRecord", as_json: bool) -> None:
    if as_json:
        emit(record.model_dump(mode="json"))
        return
    from rich.console import Console

    from maelio.benchmarks.report import print_summary

    print_summary(record, Console())


def _folder(chosen: Path | None) -> Path:
    from maelio.settings import load_settings

    return load_settings().runs if chosen is None else chosen


@runs.command("ls")
def list_runs(folder: Runs = None, as_json: AsJson = False) -> None:
    """List the run records, the oldest first. Exit code 6 where one is damaged; the others are listed."""
    from maelio.records import RECORD, read_record

    records: list[RunRecord] = []
    damaged: list[str] = []
    for path in sorted(_folder(folder).glob(f"*/{RECORD}")):
        try:
            records.append(read_record(path.parent))
        except BadData as error:
            damaged.append(str(error))
    if as_json:
        emit({"runs": [record.model_dump(mode="json") for record in records], "damaged": damaged})
    else:
        rows = [(record.run, f"{record.wall_s:.1f} s", _metrics(record.metrics)) for record in records]
        if rows:
            typer.echo(columns(rows))
    for message in damaged:
        typer.echo(f"maelio: {message}", err=True)
    if damaged:
        raise typer.Exit(BadData.exit_code)


def _metrics(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name}={value:.4g}" for name, value in metrics.items())


@runs.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="The run's id, or its folder.")],
    folder: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Show one run record."""
    _show(find(run, folder), as_json)


def find(run: str, folder: Path | None) -> "RunRecord":
    """The record of a run, by its id or its folder."""
    from maelio.records import read_record

    return read_record(folder_of(run, folder))


def folder_of(run: str, folder: Path | None) -> Path:
    from maelio.records import RECORD

    return Path(run) if (Path(run) / RECORD).exists() else _folder(folder) / run
