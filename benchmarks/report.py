"""The report of a run: written beside its record, and in short on the terminal."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maelio.benchmarks.explain import explain, in_words
from maelio.benchmarks.page import to_page
from maelio.benchmarks.plot import to_svg
from maelio.benchmarks.words import PLOT, Middle, change, noise, times_of, to_markdown
from maelio.files import write_atomically
from maelio.records import RunRecord

MARKDOWN, PAGE = "report.md", "report.html"


def write_report(record: RunRecord, folder: Path) -> tuple[Path, ...]:
    """Write the report into `folder`: the text, the page and the plot, each as a whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        MARKDOWN: to_markdown(record).encode(),
        PAGE: to_page(record).encode(),
        PLOT: to_svg(record).encode(),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return tuple(folder / name for name in contents)


def print_summary(record: RunRecord, console: Console) -> None:
    """What the report says, in one screen."""
    metrics = record.metrics
    if record.arms:
        table = Table(title="epoch by epoch, measured in this run", title_justify="left")
        for number, name in enumerate(("arm", "epoch", "samples/s", "I/O", "compute", "wall (s)")):
            table.add_column(name, justify="right" if number else "left")
        for arm, epochs in record.arms.items():
            for number, times in enumerate(epochs, 1):
                table.add_row(
                    arm, str(number), f"{times.samples_per_s:.0f}", f"{100 * times.io_share:.1f} %",
                    f"{100 * times.compute_share:.1f} %", f"{times.wall_s:.3f}",
                )  # fmt: skip
            middle = Middle.of(epochs)
            table.add_row(
                arm, "median", f"{middle.samples_per_s:.0f}", f"{100 * middle.io_share:.1f} %",
                f"{100 * middle.compute_share:.1f} %", "", style="bold", end_section=True,
            )  # fmt: skip
        console.print(table)
    if "rmse_K" in metrics:
        model, persistence, mean = (metrics[key] for key in ("rmse_K", "persistence_rmse_K", "mean_rmse_K"))
        console.print(
            f"[bold]skill[/]   RMSE {model:.3f} K, persistence {persistence:.3f} K ({change(model, persistence)})"
        )
        console.print(
            f"        mean of the input years {mean:.3f} K ({change(model, mean)}); "
            f"{metrics['test_samples']:.0f} unseen windows"
        )
    if {"naive", "maelio"} <= record.arms.keys():
        naive, ours = (Middle.of(record.arms[arm]) for arm in ("naive", "maelio"))
        console.print(
            f"[bold]speed[/]   {ours.samples_per_s:.0f} samples/s, naive {naive.samples_per_s:.0f} "
            f"({times_of(ours.samples_per_s, naive.samples_per_s):.2f} times)"
        )
        console.print(
            f"        waiting for data {1e3 * ours.io_s:.1f} ms an epoch, naive {1e3 * naive.io_s:.1f} ms "
            f"({times_of(naive.io_s, ours.io_s):.1f} times)"
        )
        if loud := noise((naive, ours)):
            console.print(f"        [yellow]{loud}[/]")
        console.print("        tiny data, warm page cache, CPU: see the report on what that shows")
    for one in explain(record):
        console.print(
            f"[bold]{escape(one.arm)}[/] is {escape(in_words(one)[0])}", highlight=False, soft_wrap=True
        )
        for remedy in one.remedies[:1]:
            console.print(f"        {escape(remedy.in_words(one.step_s))}", highlight=False, soft_wrap=True)
    for output in record.outputs:
        if output.endswith((PAGE, MARKDOWN)):
            console.print(f"[bold]report[/]  {output}", soft_wrap=True, highlight=False)
