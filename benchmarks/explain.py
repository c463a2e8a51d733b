"""What bounds a run, by how much, and what would help: from the times of its epochs to plain words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from maelio.benchmarks.stages import STALLED, Codec, Remedy, Stages, calibrated, remedies, show_time
from maelio.ledger import COMPUTE, IO, UNNAMED, Region, Times, Work
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
_EXCESS = 1.2  # bytes read for each that is used, from which on another layout is worth a word


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


@dataclass(frozen=True, slots=True)
class Data:
    """What was measured of the data set of a run: what every codec makes of it, and the one it has."""

    codec: str
    codecs: Mapping[str, Codec]

    def excess(self, works: Sequence[Work]) -> float:
        """Bytes decoded for each that was delivered; 1 at least."""
        delivered = sum(work.delivered_bytes for work in works)
        stored = sum(work.stored_bytes for work in works)
        return max(1.0, stored / (delivered * self.codecs[self.codec].stored)) if delivered else 1.0


def explain(record: RunRecord, data: Data | None = None) -> tuple[Diagnosis, ...]:
    """Of every arm that has steps. `data`: where it was looked at too, codecs and layouts are among the remedies."""
    threads = record.parameters.get("threads")
    arms = {
        name: Mean.of(
            epochs, threads=threads if isinstance(threads, int) else None, cores=record.environment.cores
        )
        for name, epochs in record.arms.items()
        if any(times.steps for times in epochs)
    }
    ahead = {name: mean.stages for name, mean in arms.items() if mean.stages.threads}
    return tuple(
        diagnose(name, mean, data, {} if mean.stages.threads else ahead) for name, mean in arms.items()
    )


@dataclass(frozen=True, slots=True)
class Mean:
    """Steps of an arm without the first of every epoch, which starts the loader. Seconds.

    `regions_s`: of every step that is told. `seen`: a mean step as its parts say; `stages`: so scaled that the model says
    of it what was measured.
    """

    epochs: tuple[Times, ...]
    regions_s: dict[Region, list[float]]
    step_s: float
    stall_s: float
    seen: Stages
    stages: Stages

    @classmethod
    def of(cls, epochs: Sequence[Times], *, threads: int | None = None, cores: int = 1) -> "Mean":
        """`threads` of the loader; those that were seen at work by default."""
        epochs = tuple(times for times in epochs if times.steps)
        regions = _each_step(epochs)
        step_s = fmean(sum(step) for step in zip(*regions.values(), strict=True))
        stall_s = sum(fmean(regions[name]) for name in IO if name in regions)
        seen = _stages(epochs, regions, threads=threads, cores=cores)
        return cls(epochs, regions, step_s, stall_s, seen, calibrated(seen, step_s, stall_s))

    @property
    def walls_s(self) -> list[float]:
        return [sum(step) for step in zip(*self.regions_s.values(), strict=True)]


def diagnose(
    arm: str, mean: Mean, data: Data | None = None, loaders: Mapping[str, Stages] | None = None
) -> Diagnosis:
    """`loaders`: of other arms, which may be better."""
    step_s, stall_s, walls = mean.step_s, mean.stall_s, mean.walls_s
    of_loop = {bound: _spent(mean.regions_s, *names) for bound, names in OF_LOOP.items()}
    late_s = step_s - median(walls)
    notes = [*_notes(mean.epochs, walls)]
    bound: Bound
    if late_s > STALLED * step_s and late_s > stall_s / 2:
        bound, by_s = "stragglers", late_s
        slow = max(
            mean.regions_s, key=lambda name: fmean(mean.regions_s[name]) - median(mean.regions_s[name])
        )
        notes.append(
            f"the slowest step takes {max(walls) / median(walls):.1f} times the median, most of it in `{slow}`"
        )
    elif stall_s > STALLED * step_s:
        told = any(times.work is not None for times in mean.epochs)
        bound, by_s = _of_loading(mean.seen, told), stall_s
    else:
        bound = max(of_loop, key=lambda name: of_loop[name])
        by_s = of_loop[bound]
    works = [times.work for times in mean.epochs if times.work is not None]
    excess = 1.0 if data is None else data.excess(works)
    return Diagnosis(
        arm,
        bound,
        by_s,
        step_s,
        mean.stages,
        {"stall": stall_s / step_s, **{name: seconds / step_s for name, seconds in of_loop.items()}},
        remedies(
            mean.stages,
            step_s,
            codec=None if data is None or not works else data.codec,
            codecs=None if data is None else data.codecs,
            excess=excess if excess > _EXCESS else 1.0,
            loaders=loaders,
        ),
        tuple(notes),
    )


def _spent(regions: Mapping[Region, Sequence[float]], *names: Region) -> float:
    """The mean of the steps, of these regions together."""
    return sum(fmean(regions[name]) for name in names if name in regions)


def _stages(
    epochs: Sequence[Times], regions: dict[Region, list[float]], *, threads: int | None, cores: int
) -> Stages:
    """A mean step, as its loop and the threads of its loader tell."""
    steps = sum(times.steps for times in epochs)
    works = [times.work for times in epochs if times.work is not None]
    seen = max((times.background.threads for times in epochs if times.background is not None), default=0)
    workers = max(times.workers for times in epochs)
    loop = Stages(
        transform=_spent(regions, "transform"),
        transfer=_spent(regions, "h2d"),
        compute=_spent(regions, *COMPUTE),
        communication=_spent(regions, "communication"),
        other=_spent(regions, "other", "validation", "checkpoint"),
        cores=cores,
    )
    if seen and works:
        return replace(
            loop,
            fetch=sum(work.fetch_s for work in works) / steps,
            decode=sum(work.decode_s for work in works) / steps,
            prepare=sum(work.transform_s for work in works) / steps,
            threads=threads or seen,
        )
    if workers:  # of which only this is known: as long as the loop waits, all of them are at work
        stalled = _spent(regions, *IO) > STALLED * (_spent(regions, *IO) + loop.loop_s)
        return replace(
            loop, prepare=workers * (_spent(regions, *IO) + loop.loop_s) if stalled else 0.0, threads=workers
        )
    return replace(
        loop,
        fetch=_spent(regions, "fetch"),
        decode=_spent(regions, "decode"),
        prepare=_spent(regions, "wait"),
    )


def _of_loading(seen: Stages, told: bool) -> Bound:
    """The longest part of it; of worker processes, and where nothing reads ahead, a wait is not told apart."""
    parts: dict[Bound, float] = {
        "fetch": seen.fetch,
        "decode": seen.decode,
        "transform" if told else "loading": seen.prepare,
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
        yield f"the first step of an epoch takes {show_time(begun)} longer than the others, {begun / wall:.0%} of the epoch"
    unnamed = max(times.unnamed_share for times in epochs)
    if unnamed > UNNAMED:
        yield f"up to {unnamed:.0%} of an epoch has no name: open regions around it before you trust the rest"


def in_words(diagnosis: Diagnosis) -> list[str]:
    """Sentences, the first one says what bounds the run."""
    one = diagnosis
    step = f"of a step of {show_time(one.step_s)}"
    if one.bound == "stragglers":
        lines = [
            f"bound by single slow steps: a step takes {show_time(one.by_s)} more in the mean than in the median, {step}"
        ]
    elif one.bound in ("fetch", "decode", "loading") or one.shares["stall"] > STALLED:
        lines = [
            f"bound by {_WORDS[one.bound]}: the loop stands still for {show_time(one.by_s)} ({one.shares['stall']:.0%}) {step}"
        ]
    else:
        lines = [
            f"bound by {_WORDS[one.bound]}: {show_time(one.by_s)} ({one.by_s / one.step_s:.0%}) {step}; data is there in time"
        ]
        if one.stages.threads:
            lines.append(f"the loader could give a batch every {show_time(one.stages.loading_s)}")
    lines += one.notes
    lines += [remedy.in_words(one.step_s) for remedy in one.remedies]
    if not one.remedies and one.shares["stall"] > STALLED:
        lines.append("none of the changes that the model knows (threads, codec, layout) is predicted to help")
    return lines
