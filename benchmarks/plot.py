"""The picture of a run: where the time of every epoch went. A pure function of its record."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maelio.benchmarks.words import PARTS
from maelio.records import RunRecord


def to_plot(record: RunRecord) -> bytes:
    """A PNG: the seconds of every epoch by part, and the samples per second of every arm."""
    figure = Figure(
        figsize=(9.6, 0.6 + 0.42 * sum(map(len, record.arms.values())) + 0.9), layout="constrained"
    )
    FigureCanvasAgg(figure)
    bars, rates = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    labels = [
        f"{arm} {number}" for arm, epochs in record.arms.items() for number in range(1, len(epochs) + 1)
    ]
    epochs = [times for epochs in record.arms.values() for times in epochs]
    gap = [0.5 * list(record.arms).index(arm) for arm, times in record.arms.items() for _ in times]
    places = [number + space for number, space in enumerate(gap)]
    left = [0.0] * len(epochs)
    for part in PARTS:
        widths = [part.seconds(times) for times in epochs]
        bars.barh(places, widths, left=left, height=0.72, color=part.colour, label=part.name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    bars.set_yticks(places, labels)
    bars.invert_yaxis()
    bars.set_xlabel("seconds of the epoch")
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(PARTS), frameon=False)
    rates.barh(places, [times.samples_per_s for times in epochs], height=0.72, color="#54616b")
    rates.set_xlabel("samples per second")
    for axes in (bars, rates):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e3e6e8", linewidth=0.8)
        axes.set_axisbelow(True)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200, facecolor="white", metadata={"Software": None})
    return picture.getvalue()
