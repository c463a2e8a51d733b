"""What a flow run becomes when its job has ended: decided from plain values."""

from dataclasses import dataclass
from typing import Literal

from maelio.flows.slurm.states import Phase, Status

End = Literal["leave", "again", "cancelled", "crashed"]
_TOLD = {"COMPLETED", "FAILED", "CANCELLED"}
_ELSEWHERE = {"SCHEDULED", "PAUSED"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`leave`: the run has said itself how it ended. `again`: it is started once more."""

    end: End
    message: str = ""


def verdict(status: Status, run_state: str, *, restarts: int, limit: int) -> Verdict:
    """Judge a job that is over.

    Args:
        status: what Slurm says of it.
        run_state: type of the flow run's state, as Prefect names it: RUNNING, CANCELLING, ...
        restarts: how often this run was started again before.
        limit: how often it may be.
    """
    phase, told = status.phase, str(status)
    if run_state in _TOLD:
        return Verdict("leave")
    if run_state == "CANCELLING":
        return Verdict("cancelled", told)
    if phase in (Phase.LOST, Phase.PREEMPTED):
        if restarts < limit:
            return Verdict("again", f"{told}; start {restarts + 2} of {limit + 1}")
        return Verdict("crashed", f"{told}; it was started {restarts + 1} times, the limit")
    if phase is Phase.CANCELLED:
        return Verdict("cancelled", f"{told}, from Slurm's side")
    if run_state in _ELSEWHERE or (run_state == "CRASHED" and phase in (Phase.COMPLETED, Phase.FAILED)):
        return Verdict("leave")
    if phase is Phase.COMPLETED:
        return Verdict("crashed", f"{told}, but its flow told no end")
    return Verdict("crashed", told)
