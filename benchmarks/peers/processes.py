"""What a process and all its children use, as the kernel counts it."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and its descendants together, those that have ended and were waited for included.

    `resident_bytes` are in memory now; `own_bytes` of them are not pages of files. Pages that two processes
    share count for both. `device_bytes` came from a disk.
    """

    cpu_s: float
    resident_bytes: int
    own_bytes: int
    device_bytes: int


def usage(pid: int) -> Usage:
    """Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5)."""
    cpu, resident, own, device = 0.0, 0, 0, 0
    for member in tree(pid):
        folder = Path(f"/proc/{member}")
        try:
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
            status = _fields(folder / "status")
            read = _fields(folder / "io")["read_bytes"]
        except OSError:  # it has just ended
            continue
        cpu += sum(map(int, ticks)) * _TICK_S
        resident += _bytes(status, "VmRSS")
        own += _bytes(status, "RssAnon") + _bytes(status, "RssShmem")
        device += int(read)
    return Usage(cpu, resident, own, device)


def tree(pid: int) -> list[int]:
    """A process and its descendants. Source: proc_pid_task(5)."""
    try:
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it has just ended
        return []
    children = [int(child) for found in lists for child in found.split()]
    return [pid, *(member for child in children for member in tree(child))]


def resident(pid: int) -> tuple[int, int]:
    """Bytes of one process in memory now, and the most there were. Source: proc_pid_status(5)."""
    try:
        status = _fields(Path(f"/proc/{pid}/status"))
    except OSError:  # it has just ended
        return 0, 0
    return _bytes(status, "VmRSS"), _bytes(status, "VmHWM")


def _fields(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines())


def _bytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0]) * 1024
