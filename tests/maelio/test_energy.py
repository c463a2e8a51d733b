"""Energy: what counters and power say, whatever the window, and null where they do not say."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.energy import MeterLost, Reading, Scope, energy_of
from maelio.errors import BadSetting
from maelio.ledger import Times, measure
from maelio.meters import Command, Rapl, meters

Power = Callable[[float], float]


@dataclass
class Physics:
    """A device whose power is a function of time, and whose counter is that function's integral, by small steps."""

    power: Power
    name: str = "fake"
    scope: Scope = "gpu"
    period_s: float = 0.1
    wrap_j: float | None = None
    has_counter: bool = True
    has_sensor: bool = True

    def at(self, second: float, spent: dict[str, int]) -> Reading:
        steps = 1000
        joules = sum(self.power(second * (i + 0.5) / steps) for i in range(steps)) * second / steps
        if self.wrap_j:
            joules %= self.wrap_j
        return Reading(
            ns=int(second * 1e9),
            joules=joules if self.has_counter else None,
            watts=self.power(second) if self.has_sensor else None,
            spent=spent,
        )

    def joules(self) -> float | None:
        raise NotImplementedError

    def watts(self) -> float | None:
        raise NotImplementedError


times = st.lists(st.floats(0.01, 10), min_size=2, max_size=20, unique=True).map(sorted)


@given(seconds=times, idle=st.floats(10, 100), slope=st.floats(0, 50))
def test_constant_and_rising_power_by_both_ways(seconds: list[float], idle: float, slope: float) -> None:
    """The trapezoids of a straight line are exact, however unevenly it is read, and agree with the counter."""
    device = Physics(lambda second: idle + slope * second)
    found = energy_of(device, [device.at(second, {"wait": int(second * 1e9)}) for second in seconds])
    first, last = seconds[0], seconds[-1]
    wanted = idle * (last - first) + slope * (last**2 - first**2) / 2
    assert found.joules == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert found.traced_j == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert found.max_watts == pytest.approx(idle + slope * last)
    assert found.watt_hours == pytest.approx(wanted / 3600, rel=1e-4, abs=1e-6)


@given(seconds=times, wrap=st.floats(60, 200))
def test_a_counter_that_begins_again_loses_nothing(seconds: list[float], wrap: float) -> None:
    """As long as it is read more often than it does: 5 W for less than 10 s."""
    device = Physics(lambda second: 5.0, wrap_j=wrap, has_sensor=False)
    found = energy_of(device, [device.at(second, {}) for second in seconds])
    assert found.joules == pytest.approx(5 * (seconds[-1] - seconds[0]), rel=1e-6, abs=1e-6)
    assert found.traced_j is None


@given(
    seconds=times,
    shares=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=20, max_size=20),
    counter=st.booleans(),
    sensor=st.booleans(),
)
def test_regions_sum_to_the_whole(
    seconds: list[float], shares: list[tuple[int, int]], counter: bool, sensor: bool
) -> None:
    """By the counter where there is one, else by the trace; without either there are none."""
    device = Physics(lambda second: 50 + second, has_counter=counter, has_sensor=sensor)
    waits = list(itertools.accumulate(wait for wait, _ in shares))
    computes = list(itertools.accumulate(compute + 1 for _, compute in shares))
    found = energy_of(
        device,
        [
            device.at(second, {"wait": wait, "forward": compute})
            for second, wait, compute in zip(seconds, waits, computes, strict=False)
        ],
    )
    whole = found.joules if found.joules is not None else found.traced_j
    assert (whole is None) == (not counter and not sensor)
    assert sum(found.regions_j.values()) == pytest.approx(whole or 0.0)


def test_energy_goes_where_the_time_went() -> None:
    """100 W for a second of waiting, 300 W for a second of computing: the trace tells them apart."""
    readings = [
        Reading(0, 0, 100, {}),
        Reading(10**9, 100, 100, {"wait": 10**9}),
        Reading(10**9 + 1, 100, 300, {"wait": 10**9, "forward": 1}),
        Reading(2 * 10**9, 400, 300, {"wait": 10**9, "forward": 10**9}),
    ]
    found = energy_of(Physics(lambda second: 0), readings)
    assert found.regions_j == pytest.approx({"wait": 100, "forward": 300}, rel=1e-6)


def test_a_counter_that_did_not_move_says_nothing() -> None:
    """Too short a window for it: null and the reason, beside what the trace says."""
    readings = [Reading(0, 7, 100, {}), Reading(4 * 10**8, 7, 100, {"other": 4})]
    found = energy_of(Physics(lambda second: 0), readings)
    assert (found.joules, found.watt_hours) == (None, None)
    assert found.traced_j == pytest.approx(40)
    assert found.note == "the counter did not move in 0.4 s"


def test_a_counter_that_falls_without_a_known_limit_says_nothing() -> None:
    """The driver was loaded again, say."""
    readings = [Reading(0, 7, None, {}), Reading(10**9, 3, None, {})]
    found = energy_of(Physics(lambda second: 0), readings)
    assert (found.joules, found.regions_j) == (None, {})
    assert found.note == "the counter fell from 7 to 3 J"


class FakeNvml:
    """As `pynvml` answers: a device of 200 W, read by the clock; its failure can be switched on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = threading.Event()
        self.supported = True
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "Fake H100")
        monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", self.millijoules)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", self.milliwatts)

    def millijoules(self, handle: int) -> int:
        if not self.supported:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        if self.lost.is_set():
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return int(time.perf_counter() * 200_000)

    def milliwatts(self, handle: int) -> int:
        return 200_000


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    return FakeNvml(monkeypatch)


def measured(seconds: float, meanwhile: Callable[[], None] = lambda: None) -> Times:
    """Half of the time waiting, half computing."""
    with meters(rapl=Path("nowhere")) as found, measure(meters=found) as ledger:
        with ledger.region("wait"):
            time.sleep(seconds / 2)
        meanwhile()
        with ledger.region("forward"):
            time.sleep(seconds / 2)
    return ledger.times


def test_a_measured_window_has_the_energy_of_each_device(nvml: FakeNvml) -> None:
    """Its two ways agree, and the regions share it as they share the time."""
    found = measured(0.6)
    (energy,) = found.energy
    assert (energy.name, energy.scope, energy.note) == ("Fake H100 0", "gpu", None)
    assert energy.joules == pytest.approx(200 * energy.seconds, rel=0.01)
    assert energy.traced_j == pytest.approx(energy.joules, rel=0.02)
    assert energy.readings >= 4
    for region, seconds in found.regions_s.items():
        assert energy.regions_j.get(region, 0.0) == pytest.approx(200 * seconds, rel=0.05, abs=1)
    assert Times.model_validate_json(found.model_dump_json()) == found


def test_a_device_that_is_lost_has_no_energy(nvml: FakeNvml) -> None:
    """Half of it would be a wrong number; the window goes on."""
    (energy,) = measured(0.4, nvml.lost.set).energy
    assert (energy.joules, energy.traced_j, energy.regions_j) == (None, None, {})
    assert energy.note is not None
    assert energy.note.startswith("lost after 0.")
    assert "GPU is lost" in energy.note


def test_a_device_without_a_counter_is_traced(nvml: FakeNvml) -> None:
    """Null by the counter, and never the trace in its place."""
    nvml.supported = False
    (energy,) = measured(0.3).energy
    assert energy.joules is None
    assert energy.traced_j == pytest.approx(200 * energy.seconds, rel=0.05)


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert measured(0.0).energy == ()


def zone(root: Path, number: str, joules: int) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{joules * 10**6}\n")
    (folder / "name").write_text("package-0\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def test_processors_are_read_by_package(tmp_path: Path) -> None:
    """Not their parts, which the packages hold; a file that vanishes is a lost meter."""
    folder = zone(tmp_path, "0", 5)
    zone(tmp_path, "0:0", 3)
    with meters(rapl=tmp_path) as found:
        (package,) = [meter for meter in found if isinstance(meter, Rapl)]
    assert (package.name, package.joules(), package.wrap_j) == ("package-0", 5, 262143.32885)
    (folder / "energy_uj").unlink()
    with pytest.raises(MeterLost, match="energy_uj"):
        package.joules()


def test_a_site_tells_the_power_of_the_node(tmp_path: Path) -> None:
    """By any command that prints a number of W."""
    with meters(command="echo 350.5", rapl=tmp_path) as found:
        (node,) = [meter for meter in found if isinstance(meter, Command)]
        assert (node.watts(), node.scope) == (350.5, "node")


@pytest.mark.parametrize("command", ["echo much", "false", "no-such-command"])
def test_a_command_that_tells_no_power_is_refused(tmp_path: Path, command: str) -> None:
    """At once, and not after the training."""
    with pytest.raises(BadSetting, match="wanted the node's power in W"), meters(command, tmp_path):
        pass


def test_an_error_in_the_loop_ends_the_trace(nvml: FakeNvml) -> None:
    """No thread stays."""

    def ours() -> Iterator[threading.Thread]:
        return (thread for thread in threading.enumerate() if thread.name.startswith("maelio-power"))

    def fail() -> None:
        assert any(ours())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measured(0.0, fail)
    assert not any(ours())
