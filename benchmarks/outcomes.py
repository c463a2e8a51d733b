"""What becomes of every file below a folder: converted, and equal to what an independent reader sees, or refused.

    python -m maelio.benchmarks.outcomes FOLDER [--jobs 2] [--timeout 120] [--json OUT] [--damage N --seed S]

Each file, and each Zarr group, is converted and judged in a process of its own. An outcome is one of

    equal       every value is the source's
    refused     one line says why
    unjudged    converted, but the independent reader cannot read the file, and says why; or the file is damaged
    DIFFERENT   a value, a name or an attribute is not the source's
    TRACEBACK   an error that nobody expected
    KILLED      a signal ended the process that converts
    TIMED OUT

and each in capitals makes the exit code 1. With --damage each file is replaced by N damaged copies.
"""

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from maelio.benchmarks.damage import damaged_copy
from maelio.benchmarks.judge import Verdict, convert_one, format_of, judge
from maelio.errors import MaelioError

What = Literal["equal", "refused", "unjudged", "DIFFERENT", "TRACEBACK", "KILLED", "TIMED OUT"]
_ACCEPTED = ("equal", "refused", "unjudged")
_GROUPS = ("zarr.json", ".zgroup", "maelio.json")
_SHOWN = 110  # letters of a cause


@dataclass(frozen=True, slots=True)
class Case:
    """A file as it is, or its damaged copy of that `number`."""

    file: Path
    number: int | None
    seed: int

    def source(self, folder: Path) -> Path:
        if self.number is None:
            return self.file
        return damaged_copy(self.file, folder / self.file.name, f"{self.seed}/{self.file.name}/{self.number}")

    def __str__(self) -> str:
        return str(self.file) if self.number is None else f"{self.file} (damaged {self.number})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one file. `cause` is one line; `seconds` are those of the conversion and the judgement."""

    file: str
    format: str
    what: What
    cause: str
    variables: int
    values: int
    seconds: float

    @property
    def accepted(self) -> bool:
        return self.what in _ACCEPTED


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a step ended: it returned its result, or raised something, or its process ended."""

    how: Literal["returned", "refused", "raised", "killed", "timed out"]
    result: Any = None
    cause: str = ""


Step = Callable[[Path, Path], Verdict | None]
Steps = tuple[Step, Step]  # to convert a file to a target, and to judge that
_OF_CONVERSION: Mapping[str, What] = {
    "refused": "refused",
    "raised": "TRACEBACK",
    "killed": "KILLED",
    "timed out": "TIMED OUT",
}


def outcomes(
    files: Sequence[Path],
    *,
    jobs: int = 2,
    timeout_s: float = 120,
    damage: int = 0,
    seed: int = 0,
    steps: Steps | None = None,
) -> Iterator[Outcome]:
    """In the order of `files`; with `damage`, so many of each. Each of the `steps` may take `timeout_s`.

    Where a header is damaged its keys contradict each other, and cfgrib believes others than eccodes: it is not asked.
    """
    taken = steps or (convert_one, partial(judge, cfgrib=not damage))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["maelio.benchmarks.judge"])
    cases = [
        Case(file, number if damage else None, seed) for file in files for number in range(max(damage, 1))
    ]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda case: _outcome(case, taken, processes, timeout_s), cases)


def _outcome(case: Case, steps: Steps, processes: Any, timeout_s: float) -> Outcome:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="maelio-outcomes-") as folder:
        source = case.source(Path(folder))
        ended = _run(steps, processes, timeout_s, source, Path(folder, "store"))
        what, cause = _told(ended, damaged=case.number is not None)
        verdict: Verdict | None = ended[-1].result
        return Outcome(
            file=str(case),
            format=format_of(source),
            what=what,
            cause=cause.replace(f"{folder}/", "./"),
            variables=verdict.variables if verdict else 0,
            values=verdict.values if verdict else 0,
            seconds=time.perf_counter() - start,
        )


def _told(ended: Sequence[_Ended], *, damaged: bool) -> tuple[What, str]:
    """What the ends of the conversion and of the judgement mean."""
    how, cause = ended[0].how, ended[0].cause
    if how != "returned":
        return _OF_CONVERSION[how], cause
    how, cause, verdict = ended[1].how, ended[1].cause, ended[1].result
    if how != "returned":
        return "unjudged" if damaged or how == "refused" else "DIFFERENT", f"the reader {how}: {cause}"
    if verdict.differences:
        return "DIFFERENT", f"{len(verdict.differences)}: {verdict.differences[0]}"
    return "equal", ""


def _run(steps: Steps, processes: Any, timeout_s: float, source: Path, target: Path) -> list[_Ended]:
    """How the `steps` ended, in a process of their own, up to the first that did not return."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_carry_out, args=(steps, source, target, theirs))
    process.start()
    theirs.close()
    ended: list[_Ended] = []
    with ours:
        while len(ended) < len(steps) and (not ended or ended[-1].how == "returned"):
            try:
                ended.append(
                    ours.recv() if ours.poll(timeout_s) else _Ended("timed out", cause=f"{timeout_s:g} s")
                )
            except EOFError:
                process.join()
                code = process.exitcode
                told = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                ended.append(_Ended("killed", cause=told))
    if ended[-1].how == "timed out":
        process.kill()
    process.join()
    return ended


def _carry_out(steps: Steps, source: Path, target: Path, link: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)  # what libraries tell of damaged files
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    for step in steps:
        ended = _attempt(step, source, target)
        link.send(ended)
        if ended.how != "returned":
            break


def _attempt(step: Step, source: Path, target: Path) -> _Ended:
    try:
        return _Ended("returned", step(source, target))
    except MaelioError as error:
        return _Ended("raised" if "\n" in str(error) else "refused", cause=str(error))
    except Exception as error:  # noqa: BLE001  (it is what is looked for)
        where = traceback.extract_tb(error.__traceback__)[-1]
        return _Ended("raised", cause=f"{type(error).__name__}: {error} at {where.filename}:{where.lineno}")


def found_below(folder: Path) -> list[Path]:
    """Files and Zarr groups, in order of their names; nothing within a group."""
    found = []
    for place, folders, names in os.walk(folder):
        for name in [name for name in folders if any(Path(place, name, root).exists() for root in _GROUPS)]:
            folders.remove(name)
            found.append(Path(place, name))
        found += [Path(place, name) for name in names]
    return sorted(found)


def line(outcome: Outcome) -> str:
    told = (
        f"{outcome.variables} variables, {outcome.values} values"
        if outcome.what == "equal"
        else outcome.cause
    )
    return f"{outcome.what:<9}  {outcome.format:<7}  {outcome.seconds:6.2f} s  {outcome.file}  {told}"


def summary(found: Sequence[Outcome]) -> str:
    """Counts by format and outcome, then refusals and the like by cause, the most frequent first."""
    kinds = list(dict.fromkeys(outcome.what for outcome in sorted(found, key=lambda each: each.what.lower())))
    counts = Counter((outcome.format, outcome.what) for outcome in found)
    formats = sorted({outcome.format for outcome in found})
    lines = ["", f"{'format':<10}" + "".join(f"{what:>11}" for what in kinds)]
    lines += [f"{name:<10}" + "".join(f"{counts[name, what]:>11}" for what in kinds) for name in formats]
    values = sum(outcome.values for outcome in found)
    lines += [f"{'all':<10}" + "".join(f"{sum(o.what == what for o in found):>11}" for what in kinds), ""]
    lines += [f"{len(found)} files, {values} values equal or compared", ""]
    causes = Counter((outcome.what, kind_of(outcome.cause)) for outcome in found if outcome.what != "equal")
    lines += [f"{count:>5}  {what:<9}  {cause}" for (what, cause), count in causes.most_common()]
    return "\n".join(lines)


def kind_of(cause: str) -> str:
    """A line without what belongs to one file: its path, names in quotes, numbers."""
    cause = re.sub(r"^(/|\./|\w:)\S*?:? ", "", cause)
    cause = re.sub(r"(?<!\w)b?'[^']*'|b?\"[^\"]*\"", "'...'", cause)
    return re.sub(r"\d+(\.\d+)?", "N", cause)[:_SHOWN]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each file")
    parser.add_argument("--json", type=Path, help="write every outcome there too")
    parser.add_argument("--damage", type=int, default=0, help="damaged copies of each file, instead of it")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    given = parser.parse_args(argv)
    found = []
    files = found_below(given.folder)
    for outcome in outcomes(
        files, jobs=given.jobs, timeout_s=given.timeout, damage=given.damage, seed=given.seed
    ):
        found.append(outcome)
        sys.stdout.write(line(outcome) + "\n")
        sys.stdout.flush()
    sys.stdout.write(summary(found) + "\n")
    if given.json:
        given.json.write_text(json.dumps([asdict(outcome) for outcome in found], indent=1) + "\n")
    return int(not all(outcome.accepted for outcome in found))


if __name__ == "__main__":
    raise SystemExit(main())
