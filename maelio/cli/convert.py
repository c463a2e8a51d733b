"""`maelio convert`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maelio.cli.loading import loading
from maelio.cli.output import AsJson, emit
from maelio.cli.progress import shown
from maelio.cli.stores import assignments, numbers, sizes
from maelio.converters.policies import choices, policies
from maelio.errors import BadRequest
from maelio.files import parse_bytes, show_bytes

if TYPE_CHECKING:
    from maelio.converters.convert import PartDone, Progress
    from maelio.converters.options import Options
    from maelio.store import Store


def convert(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Files, quoted patterns, URLs, climetlab:NAME?key=value."),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The store to write.")],
    samples: Annotated[
        str | None,
        typer.Option(metavar="DIM[,DIM]", help="The dimension(s) to draw samples from.", show_default="time"),
    ] = None,
    variables: Annotated[
        str | None, typer.Option(metavar="A,B", help="Keep only these.", show_default="all")
    ] = None,
    format: Annotated[
        Literal["zarr", "tar", "tfrecord", "netcdf"],
        typer.Option(help="What the files are: see docs/formats.md. netcdf: STORE is one NetCDF4 file."),
    ] = "zarr",
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIM=WHAT",
            help="Only these labels: time=2000-01:2000-06, level=850,500, x=0:100:4. May be repeated.",
        ),
    ] = None,
    reduce: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIM=WHAT",
            help="Store statistics in place of a dimension: number=mean,std over ensemble members.",
        ),
    ] = None,
    codec: Annotated[Literal["none", "lz4", "zstd"], typer.Option(help="How chunks are packed.")] = "lz4",
    dtype: Annotated[
        Literal["float32"] | None,
        typer.Option(help="Store 64-bit floats as this.", show_default="as the source"),
    ] = None,
    max_error: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VAR=VALUE",
            help="Round a variable, no value by more than this, in its unit. May be repeated.",
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROBLEM=ACTION",
            help=f"What to do about a problem of the sources: {choices()}. May be repeated.",
            show_default="refuse it, with one line that says where it is",
        ),
    ] = None,
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Bytes of one output file.")] = "64MiB",
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The most to hold at once.", show_default="setting memory, 2GiB"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Workers.", show_default="setting threads, all cores")
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="Read this group of NetCDF4 files or Zarr.", show_default="the root"
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do only this part, beside other processes and machines; then once without it, to publish.",
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            help="Who does the work: local:N processes, slurm:N jobs, or the address of a scheduler.",
            show_default="threads of this process",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan, all problems of the sources and the time it takes; write nothing.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restructure files into a store. Interrupted, the same command goes on where it stopped."""
    with loading():
        from maelio.converters.convert import convert as run
        from maelio.converters.convert import convert_part
        from maelio.converters.dry_run import dry_run as look_ahead
        from maelio.converters.hdf5 import hdf5
        from maelio.converters.options import Options
        from maelio.converters.share import Share
        from maelio.settings import load_settings

    settings = load_settings()
    options = Options(
        samples=samples,
        variables=None if variables is None else tuple(name.strip() for name in variables.split(",")),
        format="zarr" if format == "netcdf" else format,
        select=assignments(select or (), "--select"),
        reduce={
            dimension: tuple(name.strip() for name in what.split(","))
            for dimension, what in assignments(reduce or (), "--reduce").items()
        },
        dtype=dtype,
        on=policies(assignments(on or (), "--on")),
        max_error=numbers(max_error or (), "--max-error"),
        codec=codec,
        shard_bytes=parse_bytes(shard_size),
        memory=settings.memory if memory is None else parse_bytes(memory),
        threads=settings.threads if threads is None else threads,
        group=group,
        overwrite=overwrite,
        dask=dask,
    )
    share = None if part is None else Share.parse(part)
    hdf5.start()  # a bar would be drawn by a thread
    if format == "netcdf":
        if share or dask:
            raise BadRequest("--format netcdf is written by one process: leave out --part and --dask")
        _export(sources, store, options, dry_run, as_json)
        return
    if dry_run:
        found = look_ahead(sources, store, options)
        if as_json:
            emit(found.to_json())
        else:
            typer.echo(found.describe())
        raise typer.Exit(found.exit_code)
    start = time.perf_counter()
    with shown() as show:
        watch = Watch(show)
        try:
            if share is None:
                summary, line = summarise(run(sources, store, options, progress=watch)), one_line
            else:
                ended = convert_part(sources, store, share, options, progress=watch)
                summary, line = summarise_part(ended, store), part_line
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from here") from None
    wall_s = time.perf_counter() - start
    summary |= {"wall_s": wall_s, "decoded_bytes_per_s": watch.bytes_here / wall_s}
    if as_json:
        emit(summary)
    else:
        typer.echo(line(summary))


def _export(sources: list[str], target: Path, options: "Options", dry_run: bool, as_json: bool) -> None:
    from maelio.converters.export import describe, dry_run_export, export

    if dry_run:
        found = dry_run_export(sources, target, options)
        if as_json:
            emit({**found.to_json(), "format": "netcdf", "codec": None})
        else:
            typer.echo(found.describe(lambda plan: describe(plan, target)))
        raise typer.Exit(found.exit_code)
    start = time.perf_counter()
    with shown() as show:
        plan = export(sources, target, options, progress=show)
    wall_s, stored = time.perf_counter() - start, target.stat().st_size
    summary = {
        "decoded_bytes": plan.bytes,
        "stored_bytes": stored,
        "ratio": plan.bytes / stored,
        "store": str(target),
        "samples": plan.samples.count,
        "variables": [*plan.stacked],
        "wall_s": wall_s,
        "decoded_bytes_per_s": plan.bytes / wall_s,
    }
    if as_json:
        emit(summary)
    else:
        typer.echo(one_line(summary))


class Watch:
    """Passes reports on; `bytes_here` are the decoded bytes that this run did itself."""

    def __init__(self, then: "Callable[[Progress], None]") -> None:
        self._then = then
        self.bytes_here = 0

    def __call__(self, progress: "Progress") -> None:
        self.bytes_here = progress.bytes_done - progress.resumed_bytes
        self._then(progress)


def summarise(store: "Store") -> dict[str, Any]:
    """What a conversion made. `ratio`: decoded over stored bytes. The rate, added to it, is of what this run decoded."""
    return {
        **sizes(store),
        "store": str(store.path),
        "samples": store.samples,
        "variables": [name for array in store.arrays.values() for name in array.variables],
    }


def summarise_part(part: "PartDone", store: Path) -> dict[str, Any]:
    return {
        "store": str(store.absolute()),
        "part": str(part.share),
        "regions": part.regions,
        "regions_done": part.regions_done,
        "regions_wanted": part.regions_wanted,
    }


def one_line(summary: dict[str, Any]) -> str:
    return (
        f"{summary['store']}: {summary['samples']} samples of {', '.join(summary['variables'])}; "
        f"{show_bytes(summary['stored_bytes'])}, {summary['ratio']:.2f} times smaller than decoded; {_pace(summary)}"
    )


def part_line(summary: dict[str, Any]) -> str:
    all_done = summary["regions_done"] == summary["regions_wanted"]
    return (
        f"{summary['store']}: part {summary['part']} has ended, {summary['regions']} regions; of the whole "
        f"{summary['regions_done']} of {summary['regions_wanted']} are done; {_pace(summary)}; "
        f"the same command without --part {'publishes it' if all_done else 'does what is missing and publishes'}"
    )


def _pace(summary: dict[str, Any]) -> str:
    return f"{summary['wall_s']:.2f} s, {summary['decoded_bytes_per_s'] / 1e6:.1f} MB/s"
