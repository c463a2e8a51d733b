"""The command line: parse, call one function, explain.

A component is imported when its command runs, so that `maelio --help` answers at once.
"""

import atexit
import gc
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from maelio import __version__
from maelio.cli import bench, cache, convert, datasets, flows, health, mirror, runs, stores
from maelio.errors import MaelioError, NotPermitted


class Edge(TyperGroup):
    """Where expected errors become one line and an exit code. Any other error is a fault and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MaelioError as error:
            self._stop(str(error), error.exit_code)
        except BrokenPipeError:  # `maelio runs ls | head`
            raise
        except OSError as error:
            if error.strerror is None:
                raise
            text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
            self._stop(text, NotPermitted.exit_code if isinstance(error, PermissionError) else 1)
        except KeyboardInterrupt as stop:
            self._stop("; ".join(("interrupted", *map(str, stop.args))), 130)

    def _stop(self, message: str, code: int) -> None:
        typer.echo(f"maelio: {' '.join(message.splitlines())}", err=True)
        raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maelio {__version__}")
        raise typer.Exit


def _maelio(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """A fast, proven data path for weather and climate machine learning."""


app = typer.Typer(
    cls=Edge,
    callback=_maelio,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(convert.convert)
app.command()(stores.inspect)
app.command()(stores.verify)
app.command()(stores.compare)
app.command()(health.doctor)
app.add_typer(bench.bench, name="bench")
app.add_typer(cache.cache, name="cache")
app.add_typer(datasets.datasets, name="datasets")
app.add_typer(mirror.mirror, name="mirror")
app.add_typer(flows.flow, name="flow")
app.add_typer(runs.runs, name="runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `maelio` with `argv` (default: the process's) and return its exit code; `maelio.errors` lists them."""
    atexit.register(gc.freeze)  # at its end Python would look for garbage in all that it loaded
    try:
        app(args=argv, prog_name="maelio")
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
