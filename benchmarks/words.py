"""The report of a run in words and tables: a pure function of its record.

Every number in it is in the record, or is a median or a quotient of numbers that are.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from maelio.benchmarks.explain import explain, in_words
from maelio.environment import Environment
from maelio.files import show_bytes
from maelio.ledger import COMPUTE, IO, Region, Times
from maelio.records import RunRecord

PLOT = "plot.svg"
STEADY = 0.05  # MLPerf Storage asks that runs repeat within five percent


@dataclass(frozen=True, slots=True)
class Part:
    """Regions of the ledger that are shown as one."""

    name: str
    regions: tuple[Region, ...]
    colour: str

    def seconds(self, times: Times) -> float:
        return sum(times.regions_s.get(region, 0.0) for region in self.regions)


PARTS = (
    Part("I/O", IO, "#d1495b"),
    Part("transform", ("transform",), "#edae49"),
    Part("copies to the device", ("h2d",), "#8d6a9f"),
    Part("compute", COMPUTE, "#2e7d9a"),
    Part("communication", ("communication",), "#5a9367"),
    Part("validation, checkpoint", ("validation", "checkpoint"), "#c9b79c"),
    Part("other", ("other",), "#9aa5ad"),
)


def parts_in(record: RunRecord) -> tuple[Part, ...]:
    """Those that took time in any epoch."""
    every = [times for epochs in record.arms.values() for times in epochs]
    return tuple(part for part in PARTS if any(part.seconds(times) for times in every))


@dataclass(frozen=True, slots=True)
class Middle:
    """The medians over the measured epochs of one arm."""

    samples_per_s: float
    io_s: float
    io_share: float
    compute_share: float
    spread: float
    """Of the wall time: (longest - shortest) / median."""

    @classmethod
    def of(cls, epochs: Sequence[Times]) -> "Middle":
        walls = [times.wall_s for times in epochs]
        return cls(
            median(times.samples_per_s for times in epochs),
            median(PARTS[0].seconds(times) for times in epochs),
            median(times.io_share for times in epochs),
            median(times.compute_share for times in epochs),
            (max(walls) - min(walls)) / median(walls),
        )


def to_markdown(record: RunRecord, plot: str | None = PLOT) -> str:
    """The report as text; `plot` is the name of the picture beside it, None leaves the picture out."""
    sections = [
        f"# maelio: {_title(record)}",
        (
            f"Run `{record.run}`, started {record.started:%Y-%m-%d %H:%M} UTC, {record.wall_s:.0f} s in all. "
            "Every number below was measured in this run."
        ),
        *_skill(record),
        *_speed(record, plot),
        *_what_ran(record),
    ]
    return "\n\n".join(sections) + "\n"


def _title(record: RunRecord) -> str:
    dataset = record.parameters.get("dataset")
    return _text(record.name) if dataset is None else f"the {_text(record.name)} on {_text(str(dataset))}"


def _skill(record: RunRecord) -> list[str]:
    metrics = record.metrics
    if "rmse_K" not in metrics:
        return []
    model = metrics["rmse_K"]
    rows = [["**the trained network**", f"**{model:.3f} K**", ""]]
    for name, key in (("persistence: next year is like this year", "persistence_rmse_K"),
                      ("the mean of the three years that go in", "mean_rmse_K")):  # fmt: skip
        rows.append([name, f"{metrics[key]:.3f} K", change(model, metrics[key])])
    left_out = int(metrics["left_out_samples"])
    return [
        "## Skill",
        (
            f"A network of three convolutions sees three years of near-surface temperature and predicts the next. It was "
            f"trained on {int(metrics['train_samples'])} windows of scenario {record.parameters['train']} and tested on "
            f"{int(metrics['test_samples'])} windows of scenario {record.parameters['test']}."
        ),
        _table(["forecast", "RMSE", "the network against it"], rows, right=(1, 2)),
        (
            f"Left out of the test: {left_out} windows with years that are also in the training data, bit for bit "
            "(both scenarios share the model's past). RMSE is over all grid points alike, without area weights."
        ),
    ]


def _speed(record: RunRecord, plot: str | None) -> list[str]:
    if not any(record.arms.values()):
        return []
    parts = parts_in(record)
    rows = [
        [arm, str(number), f"{times.wall_s:.3f}", f"{times.samples_per_s:.0f}",
         *(f"{100 * part.seconds(times) / times.wall_s:.1f} %" for part in parts), f"{abs(1e6 * times.residual_s):.1f}"]
        for arm, epochs in record.arms.items()
        for number, times in enumerate(epochs, 1)
    ]  # fmt: skip
    header = ["arm", "epoch", "wall (s)", "samples/s", *(part.name for part in parts), "residual (µs)"]
    middles = {arm: Middle.of(epochs) for arm, epochs in record.arms.items()}
    loud = noise(middles.values())
    medians = [
        [
            arm,
            f"{one.samples_per_s:.0f}",
            f"{one.io_s:.4f}",
            f"{100 * one.io_share:.1f} %",
            f"{100 * one.compute_share:.1f} %",
        ]
        for arm, one in middles.items()
    ]
    work = [
        [arm, str(number), f"{times.work.fetch_s:.4f}", f"{times.work.decode_s:.4f}", f"{times.work.transform_s:.4f}",
         *_unions(times), show_bytes(times.work.stored_bytes), show_bytes(times.work.delivered_bytes)]
        for arm, epochs in record.arms.items()
        for number, times in enumerate(epochs, 1) if times.work
    ]  # fmt: skip
    sections = [
        "## Where the time of an epoch goes",
        *(
            [
                (
                    "The same network on the same batches, fed in two ways: **naive** is xarray over the NetCDF file in a "
                    "torch DataLoader, **maelio** is `maelio.stream` over the converted store."
                )
            ]
            if _is_quick_start(record)
            else []
        ),
        "I/O is the time in which the loop stood still for data; compute is forward, backward and optimizer.",
        _table(
            ["median of the epochs", "samples/s", "I/O (s)", "I/O", "compute"], medians, right=range(1, 5)
        ),
        *([_ratio(middles)] if _is_quick_start(record) else []),
        *(
            [f"**This measurement is {loud}**, most often because other programs ran beside it."]
            if loud
            else []
        ),
        "### What bounds it",
        *(
            "\n".join(
                [f"**{_text(one.arm)}** is {_text(lines[0])}.", *(f"\n- {_text(line)}" for line in lines[1:])]
            )
            for one in explain(record)
            if (lines := in_words(one))
        ),
        "### Epoch by epoch, and step by step",
        *([f"![where the time of every epoch and of every step went]({plot})"] if plot else []),
        _table(header, rows, right=range(1, len(header))),
    ]
    if work:
        header = [
            "arm", "epoch", "fetch (s)", "decode (s)", "transform (s)", "some thread fetched (s)", "of it beside no compute (s)",
            "read", "delivered",
        ]  # fmt: skip
        sections += [
            (
                "What the loader's threads did meanwhile: thread seconds, which overlap the table above; how long at least "
                "one of them fetched; and how much of that no computation hid, the unoverlapped I/O:"
            ),
            _table(header, work, right=range(1, len(header))),
        ]
    caveats = ["### How to read this", *_caveats(record)] if _is_quick_start(record) else []
    return [*sections, *_energy(record), *caveats]


def _unions(times: Times) -> tuple[str, str]:
    if times.background is None or times.unoverlapped_io_s is None:
        return "", ""
    return f"{times.background.of('fetch'):.4f}", f"{times.unoverlapped_io_s:.4f}"


def _is_quick_start(record: RunRecord) -> bool:
    return {"naive", "maelio"} <= record.arms.keys() and "turns" in record.parameters


def _energy(record: RunRecord) -> list[str]:
    rows = [
        [arm, str(number), f"{_text(meter.name)} ({meter.scope})", _joules(meter.joules), _joules(meter.traced_j),
         _joules(meter.regions_j.get("wait")), _joules(_each(meter.joules, times.samples)), meter.note or ""]
        for arm, epochs in record.arms.items()
        for number, times in enumerate(epochs, 1)
        for meter in times.energy
    ]  # fmt: skip
    if not rows:
        return ["Energy: not known; no meter of a GPU, a processor or the node can be read here."]
    header = ["arm", "epoch", "meter", "J by counter", "J traced", "J waiting for data", "J a sample", ""]
    return [
        "### Energy",
        "Meters see different things, some of them the same: they are not added. Empty is not known.",
        _table(header, rows, right=range(3, 7)),
    ]


def _joules(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _each(joules: float | None, samples: int) -> float | None:
    return None if joules is None or not samples else joules / samples


def _ratio(middles: dict[str, Middle]) -> str:
    naive, ours = middles["naive"], middles["maelio"]
    return (
        f"With maelio the loop passed **{times_of(ours.samples_per_s, naive.samples_per_s):.2f} times** the samples per second "
        f"of the naive way, and waited **{1e3 * ours.io_s:.1f} ms** an epoch for data against "
        f"**{1e3 * naive.io_s:.1f} ms** ({times_of(naive.io_s, ours.io_s):.1f} times less)."
    )


def _caveats(record: RunRecord) -> list[str]:
    parameters = record.parameters
    turns = parameters["turns"]
    assert isinstance(turns, list)
    return [
        (
            "- The data is tiny and was read before: it lies in the page cache, so this is the cost of *software* "
            "(opening, decoding, copying), not of disks. Data this small could as well be loaded into memory once "
            "(`ds.load()`); the ratio does not carry over to data that does not fit.\n"
            f"- One warm-up epoch an arm was discarded, then epochs were interleaved ({_text(', '.join(map(str, turns)))}) "
            "from the same weights. Before any time was kept, the checksum of every batch was found equal in both arms; "
            "taking it counts as *other*.\n"
            "- The naive way keeps its file open from epoch to epoch; maelio starts every epoch with a new stream, which reads "
            "and decodes all over again. One stream for all epochs, as in the training above, keeps decoded chunks.\n"
            f"- Times are of the {record.clock} clock on the CPU: torch with {parameters['torch_threads']} threads, the "
            f"stream with {parameters['threads']}; they share {record.environment.cores} cores, and with anything else that ran "
            "on this machine. The naive DataLoader has no workers: its reading and the training take turns.\n"
            "- The regions of an epoch sum to its wall time; *residual* is what is left over."
        )
    ]


def _what_ran(record: RunRecord) -> list[str]:
    inputs = [[f"`{reference.uri}`", f"`{reference.digest}`"] for reference in record.inputs]
    parameters = [[_text(name), _text(str(value))] for name, value in record.parameters.items()]
    return [
        "## What ran",
        _table(["input", "content"], inputs),
        _table(["parameter", "value"], parameters),
        _table(["machine", ""], [[name, _text(value)] for name, value in _machine(record.environment)]),
    ]


def _machine(environment: Environment) -> Iterable[tuple[str, str]]:
    yield "host", environment.host
    yield "system", environment.system
    yield "processor", environment.processor or "not known"
    yield "cores", str(environment.cores)
    yield "memory", show_bytes(environment.memory_bytes)
    yield "GPUs", ", ".join(environment.gpus) or "none"
    yield "Python", environment.python
    yield (
        "packages",
        ", ".join(f"{name} {version}" for name, version in environment.packages.items() if version),
    )


def noise(middles: Iterable[Middle]) -> str | None:
    """Says so where epochs of one arm differ by more than measurements of the same work should."""
    spread = max(middle.spread for middle in middles)
    if spread <= STEADY:
        return None
    return f"noisy: epochs of one arm differ by up to {100 * spread:.0f} % in wall time"


def times_of(one: float, other: float) -> float:
    return one / other if other else inf


def change(model: float, other: float) -> str:
    return f"{100 * (model / other - 1):+.1f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    right = set(right)
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _text(value: str) -> str:
    """Words of the record that must not act as Markdown or HTML."""
    return html.escape(value, quote=False).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")
