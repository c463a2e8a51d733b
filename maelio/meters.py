"""The meters of this machine: NVIDIA devices by NVML, processors by RAPL, the node by a command of its site."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from maelio.energy import Meter, MeterLost, Scope
from maelio.errors import BadSetting

RAPL = Path("/sys/class/powercap")
_PERIOD_S = 0.1
_COMMAND_S = 10.0  # the longest that a site's command may take


@dataclass(frozen=True)
class Nvml:
    """One device. Its counter, since the driver was loaded, is there from Volta on."""

    handle: Any
    name: str
    scope: Scope = "gpu"
    period_s: float = _PERIOD_S
    wrap_j: float | None = None

    def joules(self) -> float | None:
        return self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption)

    def watts(self) -> float | None:
        return self._ask(pynvml.nvmlDeviceGetPowerUsage)

    def _ask(self, question: Any) -> float | None:
        """In thousandths, as NVML tells both."""
        try:
            return float(question(self.handle)) / 1000
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                return None
            raise MeterLost(str(error)) from error


@dataclass(frozen=True)
class Rapl:
    """One processor's counter; it begins again every few minutes. Most systems let only root read it."""

    folder: Path
    name: str
    wrap_j: float
    scope: Scope = "cpu"
    period_s: float = _PERIOD_S

    def joules(self) -> float:
        try:
            return int((self.folder / "energy_uj").read_text()) / 1e6
        except OSError as error:
            raise MeterLost(str(error)) from error

    def watts(self) -> None:
        return None


@dataclass(frozen=True)
class Command:
    """A command that prints the node's power in W, and nothing else."""

    command: str
    name: str = "node"
    scope: Scope = "node"
    period_s: float = 1.0
    wrap_j: float | None = None

    def joules(self) -> None:
        return None

    def watts(self) -> float:
        try:
            ended = subprocess.run(
                shlex.split(self.command), capture_output=True, text=True, timeout=_COMMAND_S, check=True
            )
            return float(ended.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise MeterLost(f"{self.command}: {error}") from error


@contextmanager
def meters(command: str | None = None, rapl: Path = RAPL) -> Iterator[Sequence[Meter]]:
    """What there is here, to be read inside the block; `command` prints the node's power.

    Raises BadSetting: the command does not.
    """
    found: list[Meter] = [*_rapl(rapl)]
    if command:
        node = Command(command)
        try:
            node.watts()
        except MeterLost as error:
            raise BadSetting(f"power_command: {error}; wanted the node's power in W") from error
        found.append(node)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, so no device
        yield found
        return
    try:
        yield [*_nvml(), *found]
    finally:
        pynvml.nvmlShutdown()


def _nvml() -> Iterator[Nvml]:
    for number in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        yield Nvml(handle, f"{pynvml.nvmlDeviceGetName(handle)} {number}")


def _rapl(root: Path) -> Iterator[Rapl]:
    """Packages, whose counters hold those of their cores and, on servers, not those of the memory."""
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") > 1:
            continue
        try:
            (folder / "energy_uj").read_text()
            name = (folder / "name").read_text().strip()
            wrap_j = int((folder / "max_energy_range_uj").read_text()) / 1e6
        except OSError:  # for root alone
            continue
        yield Rapl(folder, name, wrap_j)
