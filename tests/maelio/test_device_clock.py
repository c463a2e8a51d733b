"""Time on a device that works through a queue: a made-up one, whose events have the interface of torch.cuda.Event.

No GPU is asked here: what its own events tell is for a machine that has one.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.ledger import REGIONS, Ledger, Region, measure


@dataclass
class Device:
    """Works in order, beside the host. Unit: ns. `busy_until`: when it has done all that it was asked so far."""

    now: int = 0
    busy_until: int = 0
    made: int = 0
    waited: int = 0

    def clock(self) -> int:
        return self.now

    def launch(self, ns: int) -> None:
        self.busy_until = max(self.now, self.busy_until) + ns

    def record(self, event: "FakeEvent | None") -> "FakeEvent":
        if event is None:
            self.made += 1
            event = FakeEvent(self)
        event.at = max(self.now, self.busy_until)
        return event

    def synchronise(self) -> None:
        self.now = max(self.now, self.busy_until)


@dataclass
class FakeEvent:
    device: Device
    at: int = field(default=0)

    def query(self) -> bool:
        return self.at <= self.device.now

    def synchronize(self) -> None:
        self.device.waited += self.at > self.device.now
        self.device.now = max(self.device.now, self.at)

    def elapsed_time(self, end_event: "FakeEvent") -> float:
        assert self.query()
        assert end_event.query(), "torch refuses this: the device has not passed it"
        return (end_event.at - self.at) / 1e6


def train(device: Device, steps: int, *, load: int, launch: int, compute: int) -> Ledger:
    """A loop whose batches take `load` to come, and which hands `compute` to the device in `launch`, all ns."""

    def loader() -> object:
        for number in range(steps):
            device.now += load
            yield number

    with measure(device.clock, record=device.record, synchronise=device.synchronise) as ledger:  # type: ignore[arg-type]
        for _ in ledger.batches(loader()):  # type: ignore[arg-type]
            with ledger.region("forward"):
                device.launch(compute)
                device.now += launch
    return ledger


def test_compute_is_what_the_device_took_and_not_the_launch() -> None:
    """A wait that queued work hides costs nothing: the device was busy meanwhile."""
    times = train(Device(), 10, load=3000, launch=1000, compute=50_000).times
    assert times.clock == "cuda"
    assert times.regions_s["forward"] == pytest.approx(10 * 50e-6)
    assert times.regions_s["wait"] == pytest.approx(3e-6)  # the first batch, which nothing hides
    assert times.host_s is not None
    assert times.host_s["forward"] == pytest.approx(10 * 1e-6)


def test_a_wait_that_nothing_hides_is_an_exposed_stall() -> None:
    """Data takes 100 µs, of which the device computes for 50: it idles for what is left of it."""
    times = train(Device(), 10, load=100_000, launch=1000, compute=50_000).times
    assert times.regions_s["wait"] == pytest.approx((100 + 9 * 51) * 1e-6)
    assert times.regions_s["forward"] == pytest.approx(10 * 50e-6)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_regions_on_the_device_sum_to_the_wall_time_too(
    steps: int, load: int, launch: int, compute: int
) -> None:
    times = train(Device(), steps, load=load, launch=launch, compute=compute).times
    assert times.residual_s == pytest.approx(0, abs=1e-8)
    if times.each is not None and load + compute:
        assert sum(times.each.wall_s) <= times.wall_s * 1.001 + steps * 1e-6


def test_events_are_used_again_and_never_waited_for_in_the_loop() -> None:
    """The device is asked what it has passed; as many events are needed as it is behind."""
    device = Device()
    train(device, 1000, load=100_000, launch=1000, compute=50_000)
    assert device.waited <= 1
    assert device.made < 20


def test_every_region_has_its_own_time_on_the_device() -> None:
    device, wanted = Device(), dict[Region, float]()
    with measure(device.clock, record=device.record, synchronise=device.synchronise) as ledger:  # type: ignore[arg-type]
        for number, region in enumerate(REGIONS, 1):
            with ledger.region(region):
                device.launch(1000 * number)
                wanted[region] = number * 1e-6
    assert ledger.times.regions_s == pytest.approx(wanted)
