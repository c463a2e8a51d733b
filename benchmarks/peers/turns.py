"""Readers in processes of their own that read when it is their turn, A B C A B C, and what each turn costs."""

import json
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from maelio.benchmarks.peers.processes import Usage, usage
from maelio.errors import InvalidMeasurement

_SAMPLED_EVERY_S = 0.25  # reading /proc takes time from what is measured


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one reader: whole epochs.

    `peak_bytes` is the most that the process and its children held, `own_bytes` of it what is not pages of files
    at the end; `device_bytes` came from a disk.
    """

    samples: int
    wall_s: float
    first_s: float
    cpu_s: float
    peak_bytes: int
    own_bytes: int
    device_bytes: int


class Reading:
    """A reader's process, started; `log` receives what it says.

    Its methods raise InvalidMeasurement: it has ended, or told something else than what it read.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._next = 0
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # a peer's threads or children that do not end
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ready(self) -> None:
        """Wait until all that it needs is imported; nothing is opened yet."""
        self._answer()

    def digests(self) -> list[int]:
        """The checksums of all samples of the next epoch, in the order in which they came."""
        self._next += 1
        return list(self._ask(check=True, number=self._next - 1)["crcs"])

    def turn(self, seconds: float) -> Turn:
        """Read whole epochs for at least so long."""
        with _Watched(self._process.pid) as watched:
            told = self._ask(check=False, number=self._next, seconds=seconds)
        self._next = told["next"]
        before, after = watched.before, watched.after
        return Turn(
            samples=told["samples"],
            wall_s=told["wall_s"],
            first_s=told["first_s"],
            cpu_s=after.cpu_s - before.cpu_s,
            peak_bytes=watched.peak_bytes,
            own_bytes=after.own_bytes,
            device_bytes=after.device_bytes - before.device_bytes,
        )

    def _ask(self, **what: object) -> dict[str, Any]:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, which its answer shows
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise InvalidMeasurement(f"{self.name} ended; what it said is in {self.log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Watched:
    """What a process and its children use before and after, and the most memory between."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self.before = self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.after = self._look()
        self._ended.set()
        self._thread.join()

    def _look(self) -> Usage:
        found = usage(self._pid)
        self.peak_bytes = max(self.peak_bytes, found.resident_bytes)
        return found

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLED_EVERY_S):
            self._look()
