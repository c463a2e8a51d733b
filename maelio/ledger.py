"""Where the time of a training loop went.

The thread that trains is in exactly one region at a time, `other` unless it says so; a region opened inside
another interrupts it. So the regions sum to the wall time by construction, and what is left over (the
`residual`, printed always) can only be the clock's own cost. Work of loader threads overlaps all of it and
is kept apart, in thread-seconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from maelio.energy import Energy, Meter, metering

Region = Literal["wait", "fetch", "decode", "transform", "forward", "backward", "optimizer", "other"]

COMPUTE: tuple[Region, ...] = ("forward", "backward", "optimizer")
IO: tuple[Region, ...] = ("wait", "fetch", "decode")

T = TypeVar("T")


class Work(BaseModel):
    """What a loader did so far, in all its threads together: seconds of thread time and bytes.

    `transform_s` is what the threads did to the values; a transform in the loop itself is its region.
    """

    model_config = ConfigDict(frozen=True)

    fetch_s: float = 0.0
    decode_s: float = 0.0
    transform_s: float = 0.0
    stored_bytes: int = 0
    delivered_bytes: int = 0

    def __sub__(self, earlier: "Work") -> "Work":
        return Work(**{name: getattr(self, name) - getattr(earlier, name) for name in Work.model_fields})


@runtime_checkable
class Working(Protocol):
    """A loader that tells what it did; `maelio.loaders.Stream` is one."""

    @property
    def work(self) -> Work: ...


class Times(BaseModel):
    """One measured window, most often an epoch. Seconds on the host clock (`perf_counter_ns`).

    `regions_s` are exclusive and sum to `wall_s` up to `residual_s`. `work` is null where the loader does
    not tell; its thread-seconds overlap the regions and are no part of that sum. `energy`: of each meter.
    """

    model_config = ConfigDict(frozen=True)

    wall_s: float
    regions_s: dict[Region, float]
    steps: int
    samples: int
    work: Work | None = None
    energy: tuple[Energy, ...] = ()

    @property
    def residual_s(self) -> float:
        return self.wall_s - sum(self.regions_s.values())

    @property
    def samples_per_s(self) -> float:
        return self.samples / self.wall_s

    @property
    def io_share(self) -> float:
        """The part of the wall time that the loop stood still for data."""
        return self._share(IO)

    @property
    def compute_share(self) -> float:
        return self._share(COMPUTE)

    def _share(self, regions: tuple[Region, ...]) -> float:
        return sum(self.regions_s.get(region, 0.0) for region in regions) / self.wall_s


@dataclass
class Ledger:
    """The clock of one window. Not shared between threads: only the loop that trains opens regions."""

    clock: Callable[[], int] = time.perf_counter_ns
    samples: int = 0
    steps: int = 0
    _spent: dict[Region, int] = field(default_factory=dict)
    _open: list[Region] = field(default_factory=lambda: ["other"])
    _since: int = 0
    _wall: int | None = None
    _work: Work | None = None
    _energy: list[Energy] = field(default_factory=list)

    @contextmanager
    def region(self, name: Region) -> Iterator[None]:
        """Count the time inside as `name`, and not as the region around it."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass `batches` on; the time each takes to come counts as `wait`, each one is a step."""
        before = batches.work if isinstance(batches, Working) else None
        iterator = iter(batches)
        nothing = object()
        while True:
            with self.region("wait"):
                batch = next(iterator, nothing)
            if batch is nothing:
                break
            self.steps += 1
            yield batch  # type: ignore[misc]
        if before is not None and isinstance(batches, Working):
            self._work = batches.work - before

    @property
    def times(self) -> Times:
        """Raises RuntimeError: the window is still open."""
        if self._wall is None:
            raise RuntimeError("the ledger is still running: read its times after the `with` block")
        return Times(
            wall_s=self._wall / 1e9,
            regions_s={region: spent / 1e9 for region, spent in self._spent.items()},
            steps=self.steps,
            samples=self.samples,
            work=self._work,
            energy=tuple(self._energy),
        )

    def spent(self) -> dict[str, int]:
        """Nanoseconds of each region until now; any thread may ask."""
        now, since, region = self.clock(), self._since, self._open[-1]
        spent: dict[str, int] = dict(self._spent.items())
        spent[region] = spent.get(region, 0) + max(0, now - since)
        return spent

    def _settle(self) -> int:
        now = self.clock()
        region = self._open[-1]
        self._spent[region] = self._spent.get(region, 0) + now - self._since
        self._since = now
        return now


_running: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


def spent_on(name: Region) -> AbstractContextManager[None]:
    """The region of the ledger that this thread is measured by; nothing where it is not."""
    ledger = _running.get()
    return nullcontext() if ledger is None else ledger.region(name)


@contextmanager
def measure(
    clock: Callable[[], int] = time.perf_counter_ns,
    *,
    meters: Sequence[Meter] = (),
    synchronise: Callable[[], None] = lambda: None,
) -> Iterator[Ledger]:
    """Measure what happens inside: two lines around any training loop.

    with maelio.measure() as ledger:
        for batch in ledger.waiting(loader):
            with ledger.region("forward"):
                ...
    print(ledger.times.io_share)

    `meters` are read at both ends and in between, see `maelio.meters`. `synchronise` waits until a device has done
    what it was told, before each end: `torch.cuda.synchronize`, say.
    """
    synchronise()
    ledger, outer = Ledger(clock=clock), _running.get()
    start = ledger._since = clock()
    _running.set(ledger)
    try:
        with metering(meters, ledger.spent, ledger._energy, clock):
            try:
                yield ledger
            finally:
                synchronise()
    finally:
        _running.set(outer)
        ledger._wall = ledger._settle() - start
