"""`maelio doctor`."""

import typer

from maelio.cli.output import AsJson, columns, emit


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what is missing and how to get it. Exit code 5 where something needed is broken."""
    from maelio.doctor import BROKEN, examine, lines, to_json

    report = examine()
    if as_json:
        emit(to_json(report))
    else:
        typer.echo(columns(lines(report)))
    if any(finding.state == BROKEN for finding in report.findings):
        raise typer.Exit(5)
