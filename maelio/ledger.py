"""Where the time of a training loop went.

The thread that trains is in exactly one region at a time, `other` unless it says so; a region opened inside
another interrupts it. So the regions sum to the wall time by construction on the host's clock, where what is left
over (the `residual`, printed always) can only be the clock's own cost; on a device's clock the sum is a check.
Work of loader threads overlaps all of it and is kept apart, in thread-seconds and as unions of intervals.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, Protocol, TypeVar, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict

from maelio.background import Background, Sweep, leave, listen
from maelio.device_clock import DeviceClock, Event
from maelio.energy import Energy, Meter, metering
from maelio.sheet import Sheet

Region = Literal[
    "wait", "fetch", "decode", "transform", "h2d", "forward", "backward", "optimizer", "communication",
    "validation", "checkpoint", "other",
]  # fmt: skip
REGIONS: tuple[Region, ...] = get_args(Region)

COMPUTE: tuple[Region, ...] = ("forward", "backward", "optimizer")
IO: tuple[Region, ...] = ("wait", "fetch", "decode")

UNNAMED = 0.05  # the share of a window that may have no name before its numbers are doubted
_KEPT = 512  # steps of a window that are told one by one
_NUMBERS = {name: number for number, name in enumerate(REGIONS)}
_OTHER = _NUMBERS["other"]

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


class Steps(BaseModel):
    """Steps of a window, one by one: from asking for a batch until asking for the next.

    `numbers` count from 0. Where there are more than 512, so many are drawn, the same ones every time; step 0, which
    starts the loader, is always among them. `regions_s`: their seconds by region, to 0.1 µs; they sum to the step's time.
    """

    model_config = ConfigDict(frozen=True)

    numbers: tuple[int, ...]
    regions_s: dict[Region, tuple[float, ...]]

    @property
    def wall_s(self) -> tuple[float, ...]:
        return tuple(map(sum, zip(*self.regions_s.values(), strict=True)))


class Times(BaseModel):
    """One measured window, most often an epoch. Seconds by `clock`; `wall_s` always on the host (`perf_counter_ns`).

    `regions_s` are exclusive and sum to `wall_s` up to `residual_s`. With the clock `cuda` they are how long each held
    up the device, and `host_s` how long the host was in it, which for compute is the time to launch it.
    `work` is null where the loader does not tell; its thread-seconds overlap the regions and are no part of that sum,
    nor is `background`. `workers`: processes of a torch DataLoader, of which no more is known. `each`: the steps one by
    one. `energy`: of each meter.
    """

    model_config = ConfigDict(frozen=True)

    wall_s: float
    regions_s: dict[Region, float]
    steps: int
    samples: int
    work: Work | None = None
    energy: tuple[Energy, ...] = ()
    clock: Literal["host", "cuda"] = "host"
    host_s: dict[Region, float] | None = None
    background: Background | None = None
    workers: int = 0
    each: Steps | None = None

    @property
    def residual_s(self) -> float:
        return self.wall_s - sum(self.regions_s.values())

    @property
    def unnamed_share(self) -> float:
        """What is neither waiting nor any work that the loop named: `other` and the residual, of the wall time."""
        return (self.regions_s.get("other", 0.0) + abs(self.residual_s)) / self.wall_s if self.wall_s else 0.0

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

    @property
    def unoverlapped_io_s(self) -> float | None:
        """How long some loader thread fetched while the loop did not compute; None: no thread of this process did."""
        if self.background is None:
            return None
        others = [region for region in REGIONS if region not in COMPUTE]
        return self.background.of("fetch", during=others)

    def _share(self, regions: tuple[Region, ...]) -> float:
        return sum(self.regions_s.get(region, 0.0) for region in regions) / self.wall_s

    def __str__(self) -> str:
        parts = sorted(self.regions_s.items(), key=lambda part: -part[1])
        told = [f"{region} {seconds / self.wall_s:.1%}" for region, seconds in parts if seconds]
        return (
            f"{self.wall_s:.3f} s, {self.steps} steps: {', '.join(told)}; residual {1e6 * self.residual_s:.1f} µs"
            f" ({self.clock} clock)"
        )


class _Inside:
    """The time inside counts as one region, and not as the region around it."""

    __slots__ = ("_ledger", "_region")

    def __init__(self, ledger: "Ledger", region: int) -> None:
        self._ledger = ledger
        self._region = region

    def __enter__(self) -> None:
        self._ledger._turn_to(self._region, opened=True)

    def __exit__(self, *error: object) -> None:
        self._ledger._open.pop()
        self._ledger._turn_to(self._ledger._open[-1])


class Ledger:
    """The clock of one window. Not shared between threads: only the loop that trains opens regions.

    `record` records events of a device, see `DeviceClock`; without it all is by the host's `clock`, in ns.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.perf_counter_ns,
        record: Callable[[Event | None], Event] | None = None,
    ) -> None:
        self.clock = clock
        self.samples = 0
        self._host = Sheet(len(REGIONS))
        self._device = None if record is None else Sheet(len(REGIONS))
        self._events = None if self._device is None or record is None else DeviceClock(self._device, record)
        self._inside = {name: _Inside(self, number) for number, name in enumerate(REGIONS)}
        self._open = [_OTHER]
        self._found: list[object] = []
        self._rows: list[int] = []
        self._sweep = Sweep(len(REGIONS), _OTHER, clock)
        self._region = _OTHER
        self._start = self._since = clock()
        self._wall: int | None = None
        self._work: Work | None = None
        self._workers = 0
        self._energy: list[Energy] = []

    @property
    def steps(self) -> int:
        """Batches that came so far."""
        return len(self._rows)

    def region(self, name: Region) -> AbstractContextManager[None]:
        """Count the time inside as `name`, and not as the region around it."""
        return self._inside[name]

    def batches(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass the batches of any loader on; the time each takes to come counts as `wait`, each one is a step."""
        before = batches.work if isinstance(batches, Working) else None
        self._workers = max(self._workers, getattr(batches, "num_workers", 0))
        iterator, nothing = None, object()
        try:
            while True:
                self._turn()
                with self.region("wait"):
                    if iterator is None:
                        iterator = iter(batches)
                    batch = next(iterator, nothing)
                if batch is nothing:
                    return
                self._rows.append(self._host.row)
                yield batch  # type: ignore[misc]
        finally:
            if before is not None and isinstance(batches, Working):
                self._work = batches.work - before

    waiting = batches  # its first name

    @property
    def idle(self) -> bool:
        """The loop is in no region that it named, nor in one that was found."""
        return len(self._open) == 1

    def find(self, what: object, name: Region) -> None:
        """Open a region for what was seen to begin, where the loop is in none."""
        if self.idle:
            self._found.append(what)
            self._turn_to(_NUMBERS[name], opened=True)

    def lose(self, what: object) -> None:
        """Close the region that was opened for `what`."""
        if self._found and self._found[-1] is what:
            self._found.pop()
            self._open.pop()
            self._turn_to(self._open[-1])

    @property
    def times(self) -> Times:
        """Raises RuntimeError: the window is still open."""
        if self._wall is None:
            raise RuntimeError("the ledger is still running: read its times after the `with` block")
        sheet = self._host if self._device is None else self._device
        return Times(
            wall_s=self._wall / 1e9,
            regions_s=_seconds(sheet.totals),
            steps=self.steps,
            samples=self.samples,
            work=self._work,
            energy=tuple(self._energy),
            clock="host" if self._device is None else "cuda",
            host_s=None if self._device is None else _seconds(self._host.totals),
            background=self._sweep.seen(REGIONS),
            workers=self._workers,
            each=_each(sheet, self._rows),
        )

    def spent(self) -> dict[str, int]:
        """Nanoseconds of each region on the host until now; any thread may ask."""
        now, since, region = self.clock(), self._since, self._region
        spent = self._host.totals.copy()
        spent[region] += max(0, now - since)
        return {name: ns for name, ns in zip(REGIONS, spent, strict=True) if ns}

    def end(self) -> None:
        """The window ends here."""
        self._turn_to(self._open[-1])
        if self._events is not None:
            self._events.end()
        self._wall = self._since - self._start

    def _turn(self) -> None:
        """A step ends, and what was found in it."""
        if self._found:
            self._found.clear()
            del self._open[1:]
        self._turn_to(self._open[-1])
        self._host.turn()
        if self._device is not None and self._events is not None:
            self._device.turn()
            self._events.poll()

    def _turn_to(self, region: int, *, opened: bool = False) -> None:
        now = self._sweep.turn(region)
        self._host.add(self._region, now - self._since)
        if self._events is not None:
            self._events.mark(self._region, self._host.row)
        self._since, self._region = now, region
        if opened:
            self._open.append(region)


def _seconds(spent: Sequence[int]) -> dict[Region, float]:
    return {name: ns / 1e9 for name, ns in zip(REGIONS, spent, strict=True) if ns}


def _each(sheet: Sheet, rows: Sequence[int]) -> Steps | None:
    if not rows:
        return None
    numbers = range(len(rows))
    kept = (
        numbers
        if len(rows) <= _KEPT
        else [0, *sorted(random.Random(0).sample(range(1, len(rows)), _KEPT - 1))]
    )
    columns = zip(*(sheet.of(rows[number]) for number in kept), strict=True)
    return Steps(
        numbers=tuple(kept),
        regions_s={
            name: tuple(round(ns / 1e9, 7) for ns in column)
            for name, column in zip(REGIONS, columns, strict=True)
            if any(column)
        },
    )


_running: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


def running() -> Ledger | None:
    """The ledger that this thread is measured by."""
    return _running.get()


def spent_on(name: Region) -> AbstractContextManager[None]:
    """The region of the ledger that this thread is measured by; nothing where it is not."""
    ledger = _running.get()
    return nullcontext() if ledger is None else ledger.region(name)


@contextmanager
def measure(
    clock: Callable[[], int] = time.perf_counter_ns,
    *,
    meters: Sequence[Meter] = (),
    synchronise: Callable[[], None] | None = None,
    record: Callable[[Event | None], Event] | None = None,
) -> Iterator[Ledger]:
    """Measure what happens inside: two lines around any training loop.

    with maelio.measure() as ledger:
        for batch in ledger.batches(loader):
            ...
    print(ledger.times)

    Where torch trains, forward, backward, optimizer and communication are found, see `maelio.torch_regions`; what is
    named by `with ledger.region("forward")` comes before. Where torch has begun to use CUDA, regions are timed on the
    device by its events. `meters` are read at both ends and in between, see `maelio.meters`. `synchronise` waits until
    a device has done what it was told, before each end; `record` records its events. Both are those of CUDA by default.
    """
    from maelio.torch_regions import finding, used_cuda

    if record is None and (cuda := used_cuda()) is not None:
        record, synchronise = cuda.record, synchronise or cuda.synchronise
    synchronise = synchronise or (lambda: None)
    outer = _running.get()
    with ExitStack() as stack:
        stack.enter_context(finding())
        synchronise()
        ledger = Ledger(clock, record)
        stack.callback(ledger.end)
        _running.set(ledger)
        stack.callback(_running.set, outer)
        listen(ledger._sweep)
        stack.callback(leave, ledger._sweep)
        stack.enter_context(metering(meters, ledger.spent, ledger._energy, clock))
        stack.callback(synchronise)
        yield ledger
