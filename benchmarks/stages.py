"""What a step would take if one stage of it were another: a model of two lines, by arithmetic alone.

A loader that reads ahead works beside the loop, and the slower of the two sets the pace; one that does not takes turns
with it. What the model leaves out (caches, contention for memory, jitter) it knows from the run: predictions are
scaled so that it says of the run itself what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

STALLED = 0.10  # of a step: from here on a run is said to wait for its data


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds a step.

    `fetch`, `decode` and `prepare` (of values) are done by `threads` that read ahead, in thread-seconds; with 0
    threads by the loop itself. What follows is the loop's. No more than `cores` threads decode at the same time.
    """

    fetch: float = 0.0
    decode: float = 0.0
    prepare: float = 0.0
    transform: float = 0.0
    transfer: float = 0.0
    compute: float = 0.0
    communication: float = 0.0
    other: float = 0.0
    threads: int = 0
    cores: int = 1

    @property
    def loading_s(self) -> float:
        """Between two batches of the loader, if nothing held it up."""
        work = self.fetch + self.decode + self.prepare
        if not self.threads:
            return work
        return max(work / self.threads, (self.decode + self.prepare) / self.cores)

    @property
    def loop_s(self) -> float:
        """A step whose batch is there."""
        return self.transform + self.transfer + self.compute + self.communication + self.other

    @property
    def step_s(self) -> float:
        return max(self.loading_s, self.loop_s) if self.threads else self.loading_s + self.loop_s


@dataclass(frozen=True, slots=True)
class Codec:
    """What a codec makes of this data: stored bytes for each one that is delivered, and thread-seconds to decode it."""

    stored: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, what it is, and what a step is predicted to take with it."""

    kind: str
    value: str
    says: str
    stages: Stages
    step_s: float

    def in_words(self, now_s: float) -> str:
        """Where a step takes `now_s` now."""
        times = now_s / self.step_s
        return f"{self.says}: predicted {show_time(self.step_s)} a step ({times:.2f} times as fast)"


def show_time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def calibrated(stages: Stages, measured_s: float, stall_s: float) -> Stages:
    """`stages` of which the model says what was seen: a step of `measured_s` that stood still for `stall_s` of it.

    Where the loop waits, the loader sets the pace, whatever its threads say they did; where it does not, the loader
    cannot take longer than the loop.
    """
    if not stages.threads or not stages.loading_s:
        return stages
    stalled = measured_s > 0 and stall_s / measured_s > STALLED
    factor = measured_s / stages.loading_s if stalled else min(1.0, stages.loop_s / stages.loading_s)
    return replace(
        stages, fetch=stages.fetch * factor, decode=stages.decode * factor, prepare=stages.prepare * factor
    )


def predicted_s(base: Stages, changed: Stages, measured_s: float) -> float:
    """What a step of `changed` takes, where one of `base` took `measured_s`."""
    return measured_s * changed.step_s / base.step_s if base.step_s else measured_s


def with_codec(stages: Stages, now: Codec, then: Codec) -> Stages:
    """Fetching goes with the bytes, decoding with what the codec takes for the same values."""
    return replace(
        stages,
        fetch=stages.fetch * then.stored / now.stored,
        decode=stages.decode * then.decode_s / now.decode_s
        if now.decode_s
        else stages.decode + then.decode_s,
    )


def remedies(
    base: Stages,
    measured_s: float,
    *,
    codec: str | None = None,
    codecs: Mapping[str, Codec] | None = None,
    excess: float = 1.0,
    loaders: Mapping[str, Stages] | None = None,
    least: float = 0.02,
) -> tuple[Remedy, ...]:
    """What would make the step shorter by more than `least` of it, the best first.

    `codecs`: what each makes of this data, `codec` is the one it has. `excess`: bytes decoded for each that is used;
    above 1 another layout would save the rest. `loaders`: stages of other ways to load the same batches, by name.
    """
    found: list[tuple[str, str, str, Stages]] = []
    for threads in _more_threads(base):
        says = f"load with {threads} threads" if base.threads else f"load ahead of need, {threads} at a time"
        kind = "threads" if base.threads else "ahead"
        found.append((kind, str(threads), says, replace(base, threads=threads)))
    if codecs is not None and codec is not None:
        for name, then in codecs.items():
            if name != codec:
                says = f"convert with --codec {name}"
                found.append(("codec", name, says, with_codec(base, codecs[codec], then)))
    if excess > 1:
        less = replace(base, fetch=base.fetch / excess, decode=base.decode / excess)
        says = (
            f"read what is used alone, now it is {excess:.1f} times that: another order (shuffle) or layout"
        )
        found.append(("layout", "samples", says, less))
    for name, other in (loaders or {}).items():
        found.append(("loader", name, f"load as the arm `{name}` does", with_loader(base, other)))
    told = [
        Remedy(kind, value, says, stages, predicted_s(base, stages, measured_s))
        for kind, value, says, stages in found
    ]
    better = [remedy for remedy in told if remedy.step_s < measured_s * (1 - least)]
    return tuple(sorted(better, key=lambda remedy: remedy.step_s))


def with_loader(stages: Stages, other: Stages) -> Stages:
    """The loop of one, fed by the loader of the other."""
    return replace(
        stages, fetch=other.fetch, decode=other.decode, prepare=other.prepare, threads=other.threads
    )


def _more_threads(base: Stages) -> list[int]:
    """Twice and four times as many; the fewest come first, and more are not tried once they do not help."""
    found: list[int] = []
    now = base
    for threads in (1, 2, 4, 8) if not base.threads else (2 * base.threads, 4 * base.threads):
        then = replace(base, threads=threads)
        if then.step_s >= now.step_s * 0.98:
            break
        found.append(threads)
        now = then
    return found
