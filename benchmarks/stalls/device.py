"""A stand-in for an accelerator: a step takes as long as one there would, and leaves the cores to the loader.

The host waits for the step as for a device's event. A busy loop would take a core from the threads that read, and the
interpreter from all others. What is written of it says "emulated".
"""

import threading
import time
from dataclasses import dataclass
from statistics import median

_TRIALS = 31
_TRIAL_S = 2e-3


@dataclass(frozen=True, slots=True)
class Emulated:
    """A step of `step_s` seconds. Timed waits end late: `late_s` is what they are asked to end earlier by."""

    step_s: float
    late_s: float = 0.0

    def __call__(self) -> None:
        if self.step_s > self.late_s:
            threading.Event().wait(self.step_s - self.late_s)


def calibrated(step_s: float) -> Emulated:
    """Of as many seconds on this machine, in the middle: how late its waits end is measured here."""
    found = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        threading.Event().wait(_TRIAL_S)
        found.append(time.perf_counter() - start - _TRIAL_S)
    return Emulated(step_s, max(0.0, median(found)))
