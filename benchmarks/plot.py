"""The pictures of a run: where the time of every epoch and of every step went. A pure function of its record."""

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from maelio.benchmarks.words import Part, parts_in
from maelio.ledger import Times
from maelio.records import RunRecord

_INK, _LINES = "#54616b", "#e3e6e8"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "maelio",
    "font.family": ["sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _LINES,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def to_svg(record: RunRecord) -> str:
    """Seconds of every epoch by part, and samples per second; of every arm, how long its steps took, and the steps of
    its last epoch one after the other."""
    with rc_context(_STYLE):
        figure = _figure(record)
        FigureCanvasSVG(figure)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", facecolor="white", metadata=_NO_METADATA)
    return picture.getvalue()


def to_inline_svg(record: RunRecord) -> str:
    """For a page of HTML, which needs neither a type nor namespaces, and as wide as there is room for it."""
    svg = to_svg(record)
    svg = svg[svg.index("<svg") :]
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="where the time of every epoch and of every step went">{rest}'


def _figure(record: RunRecord) -> Figure:
    parts = parts_in(record)
    told = {arm: epochs[-1] for arm, epochs in record.arms.items() if epochs and epochs[-1].each is not None}
    tops = 0.9 + 0.42 * sum(map(len, record.arms.values()))
    heights = [tops, *([2.4] if told else []), *([1.9] * len(told))]
    figure = Figure(figsize=(9.6, sum(heights) + 0.6), layout="constrained")
    rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _epochs(rows[0], record, parts)
    if told:
        _violins(rows[1].subplots(), record)
    scale = max((max(times.each.wall_s) for times in told.values() if times.each), default=0.0)
    for row, (arm, times) in zip(rows[2:], told.items(), strict=True):
        _steps(row.subplots(), arm, times, parts, scale)
    return figure


def _epochs(figure: Any, record: RunRecord, parts: Sequence[Part]) -> None:
    bars, rates = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    labels = [
        f"{arm} {number}" for arm, epochs in record.arms.items() for number in range(1, len(epochs) + 1)
    ]
    epochs = [times for epochs in record.arms.values() for times in epochs]
    gap = [0.5 * list(record.arms).index(arm) for arm, times in record.arms.items() for _ in times]
    places = [number + space for number, space in enumerate(gap)]
    left = [0.0] * len(epochs)
    for part in parts:
        widths = [part.seconds(times) for times in epochs]
        bars.barh(places, widths, left=left, height=0.72, color=part.colour, label=part.name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    bars.set_yticks(places, labels)
    bars.invert_yaxis()
    bars.set_xlabel("seconds of the epoch")
    figure.legend(loc="outside upper center", ncols=len(parts), frameon=False)
    rates.barh(places, [times.samples_per_s for times in epochs], height=0.72, color=_INK)
    rates.set_xlabel("samples per second")
    for axes in (bars, rates):
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.8)


def _violins(axes: Any, record: RunRecord) -> None:
    """Of the steps of all epochs that are told, but not the first of each, which starts the loader."""
    columns = {
        arm: [
            1e3 * wall
            for times in epochs
            if times.each is not None
            for number, wall in zip(times.each.numbers, times.each.wall_s, strict=True)
            if number
        ]
        for arm, epochs in record.arms.items()
    }
    columns = {arm: walls for arm, walls in columns.items() if len(walls) > 1}
    if columns:
        drawn = axes.violinplot(list(columns.values()), showmedians=True, widths=0.7)
        for body in drawn["bodies"]:
            body.set_facecolor(_INK)
    axes.set_xticks(range(1, len(columns) + 1), list(columns))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("a step (ms)")
    axes.set_title("how long steps take; the line is the median", loc="left", fontsize="medium")
    axes.grid(axis="y", linewidth=0.8)


def _steps(axes: Any, arm: str, times: Times, parts: Sequence[Part], scale: float) -> None:
    assert times.each is not None
    zeros = (0.0,) * len(times.each.numbers)
    layers: list[Sequence[float]] = [
        [1e3 * sum(step) for step in zip(*columns, strict=True)]
        for part in parts
        if (columns := [times.each.regions_s.get(region, zeros) for region in part.regions])
    ]
    numbers = [number + 1 for number in times.each.numbers]
    # a step is as wide as it stands in for: the last one closes the picture
    edges = [*numbers, numbers[-1] + 1]
    stacks = [[*layer, layer[-1]] for layer in layers]
    axes.stackplot(edges, stacks, step="post", colors=[part.colour for part in parts], linewidth=0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1e3 * scale * 1.05)
    axes.set_xlabel("step of the last epoch")
    axes.set_ylabel("ms")
    axes.set_title(arm, loc="left", fontsize="medium")
    axes.grid(axis="y", linewidth=0.8)
