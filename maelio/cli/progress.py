"""How far a conversion is: a bar on a terminal, a line now and then elsewhere. Both go to standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from maelio.converters.convert import Progress

EVERY_S = 30.0

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


class Lines:
    """Writes one line for the first report after every `EVERY_S` seconds of `clock`."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._begun: float | None = None
        self._next = clock() + EVERY_S

    def __call__(self, progress: "Progress") -> None:
        now = self._clock()
        self._begun = now if self._begun is None else self._begun
        if now >= self._next:
            self._next = now + EVERY_S
            self._write(describe(progress, now - self._begun))


def describe(progress: "Progress", elapsed_s: float) -> str:
    """`12 of 96 regions, 0.8 of 6.1 GB, 310 MB/s, 17 s left`, after `elapsed_s` of this run.

    The rate is of what this run did itself; it and the time left are not there before there is something to tell.
    """
    parts = [
        f"{progress.regions_done} of {progress.regions} regions",
        _of(progress.bytes_done, progress.bytes),
    ]
    if progress.resumed_regions:
        parts.append(f"{progress.resumed_regions} from an earlier run")
    here = progress.bytes_done - progress.resumed_bytes
    if here > 0 and elapsed_s > 0:
        rate = here / elapsed_s
        parts += [f"{_of(rate)}/s", f"{_duration((progress.bytes - progress.bytes_done) / rate)} left"]
    return ", ".join(parts)


def _of(done: float, whole: float | None = None) -> str:
    """One size, or how much of another it is, in the unit of the larger."""
    largest = done if whole is None else whole
    size, unit = next(((size, unit) for size, unit in _UNITS if largest >= size), _UNITS[-1])
    if whole is None:
        return f"{done / size:.3g} {unit}" if done < 999.5 * size else f"{done / size:.0f} {unit}"
    return f"{done / size:.1f} of {whole / size:.1f} {unit}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def shown() -> Iterator[Callable[["Progress"], None]]:
    """Give what to call with every report."""
    if not sys.stderr.isatty():
        yield Lines(lambda line: typer.echo(line, err=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    begun: float | None = None

    def show(progress: "Progress") -> None:
        nonlocal begun
        begun = bar.get_time() if begun is None else begun
        line = describe(progress, bar.get_time() - begun)
        bar.update(task, total=progress.bytes, completed=progress.bytes_done, description=line)

    with Bar(
        BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        yield show
