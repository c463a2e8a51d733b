"""What bounds a run, by how much, and what would help: from the times of its epochs to plain words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from maelio.benchmarks.stages import STALLED, Codec, Remedy, Stages, calibrated, remedies
from maelio.ledger import COMPUTE, IO, UNNAMED, Region, Times
from maelio.records import RunRecord

Bound = Literal[
    "fetch", "decode", "loading", "transform", "transfer", "compute", "communication", "stragglers", "other"
]

OF_LOOP: dict[Bound, tuple[Region, ...]] = {
    "transform": ("transform",),
    "transfer": ("h2d",),
    "compute": COMPUTE,
    "communication": ("communication",),
    "other": ("other", "validation", "checkpoint"),
}
_WORDS: dict[Bound, str] = {
    "fetch": "fetching data from storage",
    "decode": "decoding data",
    "loading": "loading data, of which this loader does not tell how much is fetching and how much decoding",
    "transform": "transforming data",
    "transfer": "copying batches to the device",
    "compute": "computing",
    "communication": "communication between processes",
    "stragglers": "single slow steps",
    "other": "work that the loop gave no name",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of one arm. Seconds a step, without the first steps; `by_s`: what a step would save without what bounds it.

    `shares`: of a step, by stage of the loop; `stall` is standing still for data. `remedies`: only what is predicted to
    help, the best first.
    """

    arm: str
    bound: Bound
    by_s: float
    step_s: float
    stages: Stages
    shares: dict[str, float]
    remedies: tuple[Remedy, ...]
    notes: tuple[str, ...]


def explain(
    record: RunRecord,
    *,
    codec: str | None = None,
    codecs: dict[str, Codec] | None = None,
    excess: float = 1.0,
) -> tuple[Diagnosis, ...]:
    """Of every arm that has steps; the data set's `codec`, `codecs` and `excess` as in `remedies`."""
    threads = record.parameters.get("threads")
    return tuple(
        diagnose(
            arm,
            epochs,
            threads=threads if isinstance(threads, int) else None,
            cores=record.environment.cores,
            codec=codec,
            codecs=codecs,
            excess=excess,
        )
        for arm, epochs in record.arms.items()
        if any(times.steps for times in epochs)
    )


def diagnose(
    arm: str,
    epochs: Sequence[Times],
    *,
    threads: int | None = None,
    cores: int = 1,
    codec: str | None = None,
    codecs: dict[str, Codec] | None = None,
    excess: float = 1.0,
) -> Diagnosis:
    """`threads` of the loader; those that were seen at work by default."""
    epochs = [times for times in epochs if times.steps]
    regions = _each_step(epochs)
    walls = [sum(step) for step in zip(*regions.values(), strict=True)]
    step_s = fmean(walls)
    stall_s = sum(fmean(regions[name]) for name in IO if name in regions)
    seen = stages_of(epochs, regions, threads=threads, cores=cores)
    base = calibrated(seen, step_s, stall_s)
    of_loop = {
        bound: sum(fmean(regions[name]) for name in names if name in regions)
        for bound, names in OF_LOOP.items()
    }
    late_s = step_s - median(walls)
    notes = [*_notes(epochs, walls)]
    bound: Bound
    if late_s > STALLED * step_s and late_s > 0.5 * stall_s:
        bound, by_s = "stragglers", late_s
        slow = max(regions, key=lambda name: fmean(regions[name]) - median(regions[name]))
        notes.append(
            f"the slow steps are slow in `{slow}`: {max(walls) / median(walls):.1f} times the median"
        )
    elif stall_s > STALLED * step_s:
        bound, by_s = _of_loading(seen), stall_s
    else:
        bound = max(of_loop, key=lambda name: of_loop[name])
        by_s = of_loop[bound]
    return Diagnosis(
        arm,
        bound,
        by_s,
        step_s,
        base,
        {"stall": stall_s / step_s, **{name: seconds / step_s for name, seconds in of_loop.items()}},
        remedies(base, step_s, codec=codec, codecs=codecs, excess=excess),
        tuple(notes),
    )


def stages_of(
    epochs: Sequence[Times], regions: dict[Region, list[float]], *, threads: int | None, cores: int
) -> Stages:
    """A mean step, as its loop and the threads of its loader tell."""

    def spent(*names: Region) -> float:
        return sum(fmean(regions[name]) for name in names if name in regions)

    steps = sum(times.steps for times in epochs)
    works = [times.work for times in epochs if times.work is not None]
    seen = max((times.background.threads for times in epochs if times.background is not None), default=0)
    ahead = bool(seen) and bool(works)
    return Stages(
        fetch=sum(work.fetch_s for work in works) / steps if ahead else spent("fetch"),
        decode=sum(work.decode_s for work in works) / steps if ahead else spent("decode"),
        prepare=sum(work.transform_s for work in works) / steps if ahead else spent("wait"),
        transform=spent("transform"),
        transfer=spent("h2d"),
        compute=spent(*COMPUTE),
        communication=spent("communication"),
        other=spent("other", "validation", "checkpoint"),
        threads=(threads or seen) if ahead else 0,
        cores=cores,
    )


def _of_loading(seen: Stages) -> Bound:
    """The longest part of it. What a loop waited for without being told why is `prepare` where nothing reads ahead."""
    parts: dict[Bound, float] = {
        "fetch": seen.fetch,
        "decode": seen.decode,
        "transform" if seen.threads else "loading": seen.prepare,
    }
    return max(parts, key=lambda name: parts[name])


def _each_step(epochs: Iterable[Times]) -> dict[Region, list[float]]:
    """By region, seconds of every step that is told, without the first of each epoch, which starts the loader.

    Where no steps are told, or only the first, the mean step of each epoch.
    """
    rows: list[dict[Region, float]] = []
    for times in epochs:
        later: list[dict[Region, float]] = []
        if times.each is not None:
            later = [
                {name: column[place] for name, column in times.each.regions_s.items()}
                for place, number in enumerate(times.each.numbers)
                if number
            ]
        rows += later or [{name: spent / times.steps for name, spent in times.regions_s.items()}]
    names: list[Region] = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name, 0.0) for row in rows] for name in names}


def _notes(epochs: Sequence[Times], walls: Sequence[float]) -> Iterable[str]:
    firsts = [times.each.wall_s[0] for times in epochs if times.each is not None]
    begun = fmean(firsts) - median(walls) if firsts else 0.0
    wall = fmean(times.wall_s for times in epochs)
    if begun > STALLED * wall:
        yield f"the first step of an epoch takes {_time(begun)} longer than the others, {begun / wall:.0%} of the epoch"
    unnamed = max(times.unnamed_share for times in epochs)
    if unnamed > UNNAMED:
        yield f"up to {unnamed:.0%} of an epoch has no name: open regions around it before you trust the rest"


def in_words(diagnosis: Diagnosis) -> list[str]:
    """Sentences, the first one says what bounds the run."""
    one = diagnosis
    step = f"of a step of {_time(one.step_s)}"
    if one.bound == "stragglers":
        lines = [
            f"bound by single slow steps: a step takes {_time(one.by_s)} more in the mean than in the median, {step}"
        ]
    elif one.bound in ("fetch", "decode", "loading") or one.shares["stall"] > STALLED:
        lines = [
            f"bound by {_WORDS[one.bound]}: the loop stands still for {_time(one.by_s)} ({one.shares['stall']:.0%}) {step}"
        ]
    else:
        lines = [
            f"bound by {_WORDS[one.bound]}: {_time(one.by_s)} ({one.by_s / one.step_s:.0%}) {step}; data is there in time"
        ]
        if one.stages.threads:
            lines.append(f"the loader could give a batch every {_time(one.stages.loading_s)}")
    lines += one.notes
    lines += [
        f"{remedy.says}: predicted {_time(remedy.step_s)} a step ({one.step_s / remedy.step_s:.2f} times as fast)"
        for remedy in one.remedies
    ]
    if not one.remedies and one.shares["stall"] > STALLED:
        lines.append("none of the changes that the model knows (threads, codec, layout) is predicted to help")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
