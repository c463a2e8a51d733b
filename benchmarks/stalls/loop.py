"""One epoch of a training whose compute is a stand-in: where the time of every step went."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from maelio.energy import Meter
from maelio.ledger import COMPUTE, Times, Work, measure
from maelio.loaders.stream import Stream

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of the thread that trains; they sum to those of the step. `wait_s` is for the batch."""

    samples: int
    wait_s: float
    compute_s: float
    other_s: float

    @property
    def wall_s(self) -> float:
        return self.wait_s + self.compute_s + self.other_s


@dataclass(frozen=True, slots=True)
class Epoch:
    times: Times
    steps: tuple[Step, ...]


def count(batch: Batch) -> int:
    """Samples of a batch."""
    return len(next(iter(batch.values())))


def train(
    batches: Iterable[Batch], compute: Callable[[], None] | None, meters: Sequence[Meter] = ()
) -> Epoch:
    """Run `compute` once a batch, as region `forward`; None: only load."""
    marks: list[tuple[int, dict[str, int]]] = [(0, {})]
    with measure(meters=meters) as ledger:
        for batch in ledger.waiting(batches):
            if compute is not None:
                with ledger.region("forward"):
                    compute()
            ledger.samples += count(batch)
            marks.append((count(batch), ledger.spent()))
    return Epoch(
        ledger.times,
        tuple(_step(samples, before, after) for (_, before), (samples, after) in pairwise(marks)),
    )


def _step(samples: int, before: dict[str, int], after: dict[str, int]) -> Step:
    spent = {region: (ns - before.get(region, 0)) / 1e9 for region, ns in after.items()}
    wait, compute = spent.get("wait", 0.0), sum(spent.get(region, 0.0) for region in COMPUTE)
    return Step(samples, wait, compute, sum(spent.values()) - wait - compute)


@dataclass(slots=True)
class Unopened:
    """A loader that is opened when its first batch is asked for, so that looking at the files counts as waiting."""

    open: Callable[[], Stream]
    ahead: int = 0
    _stream: Stream | None = None

    @property
    def work(self) -> Work:
        return Work() if self._stream is None else self._stream.work

    def __iter__(self) -> Iterator[Batch]:
        if self._stream is None:
            self._stream = self.open()
            self.ahead = self._stream.buffers.batches
        yield from self._stream
