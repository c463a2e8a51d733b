"""`maelio bench train` and `maelio bench recipes`."""

from typing import Annotated

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.cli.runs import Runs


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Its file, or the name of one that maelio has.")
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Change what is mutable: optimizer.lr=1e-3; may be repeated."
        ),
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Carry out a recipe: train, validate, write the record, the losses and the weights. Exit code 8 where it does not pass."""
    from maelio.benchmarks.recipes.ours import find
    from maelio.benchmarks.recipes.recipe import Recipe
    from maelio.benchmarks.recipes.run import run_recipe
    from maelio.errors import Regression
    from maelio.settings import load_settings

    chosen = Recipe.read(find(recipe)).set(assignments or [])

    def tell(epoch: int, loss: float, validated: float) -> None:
        typer.echo(f"epoch {epoch}: loss {loss:.6g}, validation {validated:.6g}", err=True)

    ran = run_recipe(chosen, load_settings().runs if runs is None else runs, tell)
    if as_json:
        emit(ran.record.model_dump(mode="json"))
    else:
        typer.echo(columns([(name, f"{value:.6g}") for name, value in ran.record.metrics.items()]))
        typer.echo(f"record  {ran.folder}")
    if ran.failed:
        raise Regression(f"recipe {chosen.name!r} has not passed: {'; '.join(ran.failed)}")


def recipes(as_json: AsJson = False) -> None:
    """List the recipes that maelio has."""
    from maelio.benchmarks.recipes.ours import PATHS

    if as_json:
        emit({"recipes": {path.stem: str(path) for path in PATHS}})
    else:
        typer.echo(columns([(path.stem, str(path)) for path in PATHS]))
