"""`maelio bench run`, `ls`, `show`, `compare` and `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.cli.runs import Runs, find, folder_of

if TYPE_CHECKING:
    from maelio.records import RunRecord

Kind = Literal["column", "patch", "field", "ensemble", "window"]
Run = Annotated[str, typer.Argument(help="The run's id, or its folder.")]


def run(
    workload: Annotated[Kind, typer.Argument(help="What is read, and how.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the data go; kept, and used again.")
    ] = Path("bench"),
    size: Annotated[
        Literal["tiny", "small", "full"], typer.Option(help="Of the data; `full` gives comparable figures.")
    ] = "small",
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="netcdf, grib, zarr, tar as they are, converted-zarr, -tar, -tfrecord; may be repeated.",
            show_default="all that there are",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="null, warm, cold, load-only; may be repeated.", show_default="all"
        ),
    ] = None,
    step_time: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="What an accelerator takes for a step; emulated.",
            show_default="an assumption",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, metavar="N", show_default="the workload's")] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Of every turn, told apart.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Turns of every arm after a warm-up.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    shuffle: Annotated[
        Literal["global", "window", "none"], typer.Option(help="The order of samples.")
    ] = "global",
    codec: Annotated[Literal["lz4", "zstd", "none"], typer.Option(help="Of converted layouts.")] = "lz4",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", show_default="setting threads")] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Interleave null, warm, cold and load-only arms of one workload. Exit code 9 where an arm is not what it claims."""
    from maelio.benchmarks.stalls.device import calibrated
    from maelio.benchmarks.stalls.figures import rows_of
    from maelio.benchmarks.stalls.layouts import Place, Reading
    from maelio.benchmarks.stalls.run import Asked, bench, read_lines
    from maelio.benchmarks.stalls.schedule import named
    from maelio.benchmarks.stalls.table import table
    from maelio.benchmarks.stalls.workloads import WORKLOADS, chosen
    from maelio.errors import InvalidMeasurement
    from maelio.meters import meters
    from maelio.settings import load_settings

    found = WORKLOADS[workload]
    settings, step_s = load_settings(), found.step_s if step_time is None else step_time
    place = Place(found, size, folder / workload / size, codec)
    reading = Reading(
        batch_size=place.scale.batch_size if batch_size is None else batch_size,
        seed=seed,
        shuffle=False if shuffle == "none" else shuffle,
        threads=settings.threads if threads is None else threads,
    )
    asked = Asked(
        workload=workload,
        layouts=chosen(found, layout),
        reading=reading,
        compute=calibrated(step_s),
        arms=named(arm),
        epochs=epochs,
        repeats=repeats,
    )
    records = settings.runs if runs is None else runs
    with meters(settings.power_command) as there:
        record = bench(place, asked, records, there)
    if as_json:
        emit(record.model_dump(mode="json"))
    else:
        typer.echo(table(record, rows_of(read_lines(records / record.run))))
        typer.echo(f"\nrecord  {records / record.run}")
    if record.parameters["invalid"]:
        raise typer.Exit(InvalidMeasurement.exit_code)


def ls(runs: Runs = None, as_json: AsJson = False) -> None:
    """List the runs of `bench run`, the oldest first."""
    from maelio.records import all_records
    from maelio.settings import load_settings

    folder = load_settings().runs if runs is None else runs
    found = [record for record in all_records(folder) if record.name == "bench"]
    if as_json:
        emit({"runs": [record.model_dump(mode="json") for record in found]})
    elif found:
        typer.echo(columns([_line(record) for record in found]))


def _line(record: "RunRecord") -> tuple[str, ...]:
    parameters: Any = record.parameters
    told = f"{parameters['repeats']} repeats of {', '.join(parameters['layouts'])}"
    invalid = "  INVALID arms" if parameters["invalid"] else ""
    return record.run, f"{parameters['workload']} {parameters['size']}", f"{told}{invalid}"


def show(run: Run, runs: Runs = None, as_json: AsJson = False) -> None:
    """Show the figures of a run."""
    from maelio.benchmarks.stalls.figures import rows_of
    from maelio.benchmarks.stalls.run import read_lines
    from maelio.benchmarks.stalls.table import table

    record, rows = find(run, runs), rows_of(read_lines(folder_of(run, runs)))
    if as_json:
        emit({"run": record.run, "rows": [row.model_dump(mode="json") for row in rows]})
    else:
        typer.echo(table(record, rows))


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A run's id, or its folder.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The one that may be slower.")],
    factor: Annotated[float, typer.Option(metavar="F", help="How much slower an arm may be.")] = 1.05,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Ratios of two runs, arm by arm, with intervals. Exit code 8 where B is slower by more than the factor."""
    from maelio.benchmarks.stalls.ratios import compared, differences, judge
    from maelio.benchmarks.stalls.table import ratios_table

    first, second = find(before, runs), find(after, runs)
    ratios, notes = compared(first, second, factor), differences(first, second)
    if as_json:
        emit({"ratios": [ratio.model_dump() for ratio in ratios], "differences": notes})
    else:
        typer.echo(ratios_table(ratios, [f"not the same: {note}" for note in notes]))
    judge(ratios, factor)


def export(
    run: Run,
    to: Annotated[
        Literal["mlperf", "jube", "csv"],
        typer.Option(help="DLIO's summary.json, a result table of JUBE, or a line an epoch."),
    ],
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="mlperf: of which one.", show_default="the first")
    ] = None,
    arm: Annotated[Literal["null", "warm", "cold"], typer.Option(help="mlperf: of which one.")] = "cold",
    repeat: Annotated[int, typer.Option(min=1, metavar="N", help="mlperf: of which one.")] = 1,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes.", show_default="standard output")
    ] = None,
    runs: Runs = None,
) -> None:
    """Write a run in the form of another tool."""
    from maelio.benchmarks.stalls.exports import to_csv, to_jube, to_mlperf
    from maelio.benchmarks.stalls.run import read_lines
    from maelio.files import write_atomically

    record, lines = find(run, runs), read_lines(folder_of(run, runs))
    if to == "mlperf":
        text = to_mlperf(record, lines, layout, arm, repeat)
    else:
        text = (to_jube if to == "jube" else to_csv)(record, lines)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text.encode())
