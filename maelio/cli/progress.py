"""How far a conversion is: a bar on a terminal, a line now and then elsewhere. Both go to standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from maelio.files import show_bytes

if TYPE_CHECKING:
    from maelio.converters.convert import Progress

EVERY_S = 30.0


class Lines:
    """Writes one line for the first report after every `EVERY_S` seconds of `clock`."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next = clock() + EVERY_S

    def __call__(self, progress: "Progress") -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY_S
            self._write(describe(progress))


def describe(progress: "Progress") -> str:
    resumed = f", {progress.resumed_regions} from an earlier run" if progress.resumed_regions else ""
    return (
        f"{progress.regions_done} of {progress.regions} regions, "
        f"{show_bytes(progress.bytes_done)} of {show_bytes(progress.bytes)}{resumed}"
    )


@contextmanager
def shown() -> Iterator[Callable[["Progress"], None]]:
    """Give what to call with every report."""
    if not sys.stderr.isatty():
        yield Lines(lambda line: typer.echo(line, err=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    with Bar(
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("convert", total=None)
        yield lambda progress: bar.update(task, total=progress.bytes, completed=progress.bytes_done)
