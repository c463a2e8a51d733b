"""`maelio datasets`."""

from typing import Annotated

import typer

from maelio.cli.output import AsJson, columns, emit

datasets = typer.Typer(
    help="Datasets by their name in CliMetLab.", no_args_is_help=True, rich_markup_mode=None
)


@datasets.command("ls")
def list_datasets(as_json: AsJson = False) -> None:
    """List what is described."""
    from maelio.plugins.catalogue import descriptions

    if as_json:
        emit(
            {
                "datasets": [
                    {"id": each.id, "title": each.title, "version": each.version} for each in descriptions()
                ]
            }
        )
    else:
        typer.echo(columns([(each.id, each.title) for each in descriptions()]))


@datasets.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them; all, without.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show arguments and their legal values, files, variables and licence."""
    from maelio.plugins.catalogue import descriptions, find, page, section, to_json

    if as_json:
        emit(to_json(find(name)) if name else {"datasets": [to_json(each) for each in descriptions()]})
    else:
        typer.echo(section(find(name)) if name else page(), nl=False)
