"""`maelio bench explain`, `maelio bench report` and `maelio bench timers`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.cli.runs import Runs, find

if TYPE_CHECKING:
    from maelio.benchmarks.explain import Diagnosis
    from maelio.benchmarks.replay import Verified
    from maelio.benchmarks.stages import Remedy

Run = Annotated[str, typer.Argument(help="The run's id, or its folder.")]


def explain(
    run: Run,
    folder: Runs = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Apply the best remedy, and measure it beside the run as it was.")
    ] = False,
    arm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this arm alone.", show_default="all")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Measured epochs of --verify.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what bounds a run, by how much, and what would help. Nothing predicted to be slower is proposed."""
    from maelio.benchmarks.explain import explain as diagnoses_of
    from maelio.benchmarks.explain import in_words
    from maelio.benchmarks.probe import data_of
    from maelio.benchmarks.replay import in_one_line
    from maelio.benchmarks.replay import verify as verified
    from maelio.errors import NotFound

    record = find(run, folder)
    diagnoses = [one for one in diagnoses_of(record, data_of(record)) if arm in (None, one.arm)]
    if not diagnoses:
        raise NotFound(
            f"{record.run}: no steps of arm {arm or 'any'!r}; found {', '.join(record.arms) or 'no arms'}"
        )
    measured = [verified(record, one, epochs) if verify and one.remedies else None for one in diagnoses]
    if as_json:
        emit([_to_json(one, seen) for one, seen in zip(diagnoses, measured, strict=True)])
        return
    for one, seen in zip(diagnoses, measured, strict=True):
        lines = in_words(one) + ([in_one_line(seen)] if seen else [])
        typer.echo("\n".join([f"{one.arm}: {lines[0]}", *(f"  - {line}" for line in lines[1:])]))


def report(
    run: Run,
    folder: Runs = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write.", show_default="the run's folder")
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that needs nothing else, Markdown, and the picture beside it."""
    from maelio.benchmarks.report import write_report
    from maelio.cli.runs import folder_of

    for path in write_report(find(run, folder), folder_of(run, folder) if out is None else out):
        typer.echo(path)


def timers(run: Run, folder: Runs = None, as_json: AsJson = False) -> None:
    """Show a run's times under the keys of Deep500-for-MAELSTROM: EPOCH, BATCH, FORWARD, BACKWARD, COMM, IO, OTHER."""
    from dataclasses import asdict

    from maelio.benchmarks.deep500 import timers as timers_of

    record = find(run, folder)
    rows = [
        {"arm": arm, "epoch": number, "key": key, **asdict(timer)}
        for arm, epochs in record.arms.items()
        for number, times in enumerate(epochs, 1)
        for key, timer in timers_of(times).items()
    ]
    if as_json:
        emit(rows)
    elif rows:
        typer.echo(columns([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))


def _cell(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else "" if value is None else str(value)


def _to_json(one: "Diagnosis", seen: "Verified | None") -> dict[str, object]:
    return {
        "arm": one.arm,
        "bound": one.bound,
        "by_s": one.by_s,
        "step_s": one.step_s,
        "shares": one.shares,
        "remedies": [_remedy(remedy) for remedy in one.remedies],
        "notes": list(one.notes),
        "verified": None
        if seen is None
        else {
            **_remedy(seen.remedy),
            "before_s": seen.before_s,
            "predicted_s": seen.predicted_s,
            "measured_s": seen.measured_s,
            "error": seen.error,
        },
    }


def _remedy(remedy: "Remedy") -> dict[str, object]:
    return {"kind": remedy.kind, "value": remedy.value, "says": remedy.says, "predicted_s": remedy.step_s}
