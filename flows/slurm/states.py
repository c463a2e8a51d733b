"""What Slurm says of a job, as typed values: the output of squeue and sacct, read."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_FIELDS = {"JobID": 40, "State": 40, "Reason": 200, "NodeList": 1000, "exit_code": 20, "Comment": 500}

SQUEUE = ["squeue", "--me", "--noheader", "--states=all"]
SQUEUE += ["--Format=" + ",".join(f"{name}:{width}|" for name, width in _FIELDS.items())]
"""Of every job of the user that Slurm still holds, and so of none that it does not know."""

SACCT = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State,ExitCode,NodeList"]
"""With `--jobs=ID,...`; works where the cluster keeps accounts."""


class Phase(StrEnum):
    """What a job's state means to whoever waits for it."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "out of time"
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost with its node"
    PREEMPTED = "pre-empted"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        return self not in (Phase.PENDING, Phase.RUNNING)


_PHASES = {
    "PENDING": Phase.PENDING,
    "CONFIGURING": Phase.PENDING,
    "REQUEUED": Phase.PENDING,
    "REQUEUE_FED": Phase.PENDING,
    "REQUEUE_HOLD": Phase.PENDING,
    "RESV_DEL_HOLD": Phase.PENDING,
    "SPECIAL_EXIT": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "COMPLETING": Phase.RUNNING,
    "RESIZING": Phase.RUNNING,
    "SIGNALING": Phase.RUNNING,
    "STAGE_OUT": Phase.RUNNING,
    "STOPPED": Phase.RUNNING,
    "SUSPENDED": Phase.RUNNING,
    "COMPLETED": Phase.COMPLETED,
    "FAILED": Phase.FAILED,
    "TIMEOUT": Phase.TIMEOUT,
    "DEADLINE": Phase.TIMEOUT,
    "OUT_OF_MEMORY": Phase.OUT_OF_MEMORY,
    "NODE_FAIL": Phase.LOST,
    "BOOT_FAIL": Phase.LOST,
    "PREEMPTED": Phase.PREEMPTED,
    "CANCELLED": Phase.CANCELLED,
    "REVOKED": Phase.CANCELLED,
}
"""Source: "JOB STATE CODES" in the manual of squeue, Slurm 22.05."""


@dataclass(frozen=True, slots=True)
class Status:
    """Of one job. `state` is Slurm's own word; `reason`, `nodes` and `comment` are empty where it names none."""

    job: str
    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: int = 0
    signal: int = 0
    comment: str = ""

    @property
    def phase(self) -> Phase:
        return _PHASES.get(self.state, Phase.UNKNOWN)

    def __str__(self) -> str:
        parts = [f"Slurm job {self.job}: {self.state}"]
        if self.reason:
            parts.append(f"({self.reason})")
        if self.nodes:
            parts.append(f"on {self.nodes}")
        text = " ".join(parts)
        if self.phase.over and self.signal:
            return f"{text}, ended by signal {self.signal}"
        if self.phase.over and self.exit_code:
            return f"{text}, exit code {self.exit_code}"
        return text


def parse_squeue(text: str) -> dict[str, Status]:
    """Jobs by id, of the output of SQUEUE. Lines of another form are passed over: a comment may hold anything."""
    found = {}
    for fields in _fields(text, len(_FIELDS)):
        job, state, reason, nodes, exit_code, rest = fields
        code, signal = _wait_status(exit_code)
        comment = _value(rest.removesuffix("|"))
        found[job] = Status(job, _word(state), _value(reason), _value(nodes), code, signal, comment)
    return found


def parse_sacct(text: str) -> dict[str, Status]:
    """Jobs by id, of the output of SACCT. Of a job that ran more than once, the last."""
    found = {}
    for job, state, exit_code, nodes in _fields(text, 4):
        code, signal = _wait_status(exit_code)
        found[job] = Status(job, _word(state), "", _value(nodes), code, signal)
    return found


def newest(jobs: dict[str, Status], comment: str) -> Status | None:
    """The one of these jobs that was submitted last with this comment."""
    fitting = [status for status in jobs.values() if status.comment == comment and status.job.isdecimal()]
    return max(fitting, key=lambda status: int(status.job), default=None)


def _fields(text: str, count: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = [field.strip() for field in line.split("|", count - 1)]
        if len(fields) == count and fields[0][:1].isdecimal() and fields[1]:
            yield fields


def _word(state: str) -> str:
    """sacct writes `CANCELLED by 1000`, and `CANCELLED+` where a column is narrow."""
    return state.split()[0].removesuffix("+")


def _value(text: str) -> str:
    """Slurm has several words for nothing."""
    text = text.strip()
    return "" if text in ("(null)", "None", "None assigned", "N/A") else text


def _wait_status(text: str) -> tuple[int, int]:
    """Exit code and signal, of `3:0` as sacct writes it, or of 768, the status of wait(2) that squeue prints."""
    code, colon, signal = text.partition(":")
    if not (code.isascii() and code.isdecimal() and (not colon or (signal.isascii() and signal.isdecimal()))):
        return 0, 0
    if colon:
        return int(code), int(signal)
    return int(code) >> 8, int(code) & 0x7F
