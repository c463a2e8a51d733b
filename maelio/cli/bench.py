"""`maelio bench`."""

import typer

from maelio.cli import arms, explain, train

bench = typer.Typer(
    help="Measure, and explain what was measured.", no_args_is_help=True, rich_markup_mode=None
)
bench.command("run")(arms.run)
bench.command("ls")(arms.ls)
bench.command("show")(arms.show)
bench.command("compare")(arms.compare)
bench.command("export")(arms.export)
bench.command("train")(train.train)
bench.command("recipes")(train.recipes)
bench.command("explain")(explain.explain)
bench.command("report")(explain.report)
bench.command("timers")(explain.timers)
