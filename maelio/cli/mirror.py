"""`maelio mirror`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.errors import BadData, BadRequest
from maelio.files import show_bytes

if TYPE_CHECKING:
    from maelio.plugins.base import Dataset

mirror = typer.Typer(help="Datasets for everyone on a system.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The mirror.")]


@mirror.command()
def add(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="As in `maelio datasets ls`.")],
    folder: Folder,
    subset: Annotated[
        str | None, typer.Option(help="Of the dataset.", show_default="the default files")
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="NAME=VALUE", help="Another argument; again for several values."),
    ] = None,
    form: Annotated[
        Literal["files", "zarr"], typer.Option("--as", help="zarr: also a converted copy.")
    ] = "files",
    as_json: AsJson = False,
) -> None:
    """Put the files of a dataset into a mirror, which MAELIO_MIRRORS=FOLDER and CLIMETLAB_MIRROR=FOLDER then read."""
    from maelio.plugins.mirror import add as put

    given = [*(arguments or ()), *([] if subset is None else [f"subset={subset}"])]
    note = put(_dataset(name, given), folder, convert=form == "zarr")
    size = sum(entry.size for entry in note.files)
    if as_json:
        emit(
            {
                "dataset": note.dataset,
                "files": len(note.files),
                "size_bytes": size,
                "converted": note.copy is not None,
            }
        )
    else:
        converted = "" if note.copy is None else ", and a converted copy"
        typer.echo(f"{note.dataset}: {len(note.files)} file(s), {show_bytes(size)}{converted}")


def _dataset(name: str, given: list[str]) -> "Dataset":
    from maelio.plugins.base import Dataset
    from maelio.plugins.catalogue import of_name
    from maelio.plugins.names import load_dataset

    values: dict[str, list[str]] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise BadRequest(f"--arg {each}: wanted NAME=VALUE")
        values.setdefault(key, []).append(value)
    named: dict[str, Any] = {
        key: several if len(several) > 1 else several[0] for key, several in values.items()
    }
    kind = of_name(name)
    dataset = load_dataset(name, **named) if kind is None else kind(**named)
    if not isinstance(dataset, Dataset):
        raise BadRequest(f"dataset {name!r} is not one of maelio's; those of others CliMetLab mirrors itself")
    return dataset


@mirror.command("ls")
def list_datasets(folder: Folder, as_json: AsJson = False) -> None:
    """List what a mirror has."""
    from maelio.plugins.mirror import notes

    found = notes(folder)
    if as_json:
        datasets = [
            {
                "dataset": note.dataset,
                "arguments": note.arguments,
                "files": len(note.files),
                "size_bytes": sum(entry.size for entry in note.files),
                "converted": note.copy is not None,
            }
            for note in found
        ]
        emit({"datasets": datasets})
    elif found:
        typer.echo(
            columns(
                [
                    (
                        note.dataset,
                        f"{len(note.files)} file(s)",
                        show_bytes(sum(entry.size for entry in note.files)),
                        "files" if note.copy is None else "zarr",
                        ", ".join(f"{name}={value!r}" for name, value in note.arguments.items()),
                    )
                    for note in found
                ]
            )
        )


@mirror.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Read everything and compare it with its checksums. Exit code 6 where something is damaged."""
    from maelio.cache.health import damages
    from maelio.cache.tier import Tier
    from maelio.plugins.mirror import damages as damages_of
    from maelio.plugins.mirror import notes
    from maelio.settings import load_settings

    found = [str(each) for each in damages(Tier(folder, fixed=True), load_settings().threads)]
    found += [line for note in notes(folder) for line in damages_of(folder, note)]
    if as_json:
        emit({"damages": found})
    for line in found:
        typer.echo(line, err=as_json)
    if found:
        raise typer.Exit(BadData.exit_code)
    if not as_json:
        typer.echo("everything is what was put there")


@mirror.command()
def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder for CLIMETLAB_MIRROR.")],
) -> None:
    """Put all files into another folder, as the tree that CliMetLab reads."""
    from maelio.plugins.mirror import export as write

    typer.echo(f"{write(folder, target)} file(s) in {target}")
