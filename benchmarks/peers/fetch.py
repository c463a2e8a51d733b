"""Fetch files over HTTP with maelio's cache and with CliMetLab's own: first when they are not there, then when they are.

    python -m maelio.benchmarks.peers.fetch FOLDER [--rounds 3] [--size full|tiny]

A server on this machine serves one large file, and many small ones, to both: once limited to so many bytes a second on
every connection, as object stores are, and once as fast as it can. Every fetch is a process of its own with an empty cache, in
turn, and the time is that of the call alone, without imports. Both have their defaults; each file is read back and compared.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from maelio.errors import BadRequest, InvalidMeasurement
from maelio.files import show_bytes

_HITS = 20
_NETCDF = b"CDF\x01"  # CliMetLab passes over files that it does not know


@dataclass(frozen=True, slots=True)
class Task:
    """`count` files of so many bytes; `rate`: bytes per second and connection, None for no limit."""

    name: str
    count: int
    bytes: int
    rate: float | None

    @property
    def files(self) -> list[str]:
        return [f"{self.bytes}-{number:02d}.nc" for number in range(self.count)]

    def __str__(self) -> str:
        limit = "unlimited" if self.rate is None else f"{self.rate / 1e6:.0f} MB/s a connection"
        return f"{self.name}: {self.count} file(s) of {show_bytes(self.bytes)}, {limit}"


SIZES = {
    "full": (
        Task("large, limited", 1, 256 * 2**20, 16e6),
        Task("large", 1, 256 * 2**20, None),
        Task("small, limited", 32, 4 * 2**20, 8e6),
        Task("small", 32, 4 * 2**20, None),
    ),
    "tiny": (Task("large, limited", 1, 9 * 2**20, 40e6), Task("small", 4, 1000, None)),
}
ARMS = ("maelio", "CliMetLab")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the first fetch of all files, by the clock and of processor, and of one that is there already.

    The last is the median of twenty.
    """

    fetch_s: float
    cpu_s: float
    hit_s: float


def by_maelio(base: str, names: Sequence[str]) -> list[str]:
    from maelio.cache.fetch import fetch

    return [str(path) for path in fetch([f"{base}/{name}" for name in names])]


def by_climetlab(base: str, names: Sequence[str]) -> list[str]:
    """One file by the source `url`, several by what is behind `url-pattern`, which has threads."""
    import climetlab
    from climetlab.sources.multi_url import MultiUrl

    if len(names) == 1:
        return [climetlab.load_source("url", f"{base}/{names[0]}").path]
    return [source.path for source in MultiUrl([f"{base}/{name}" for name in names]).sources]


def _let_it_fill_the_disk() -> None:
    """Else CliMetLab removes what it just fetched where others fill more than nine tenths of the disk.

    The setting goes below HOME, which is this run's own.
    """
    import climetlab

    climetlab.settings.set("maximum-cache-disk-usage", "100%")


def once(arm: str, base: str, names: Sequence[str]) -> dict[str, object]:
    """In a process of its own."""
    fetch = by_maelio if arm == "maelio" else by_climetlab
    if arm == "CliMetLab":
        _let_it_fill_the_disk()
    fetch(base, ["warm.nc"])  # imports, settings, the database of CliMetLab
    began, worked = time.perf_counter(), time.process_time()
    paths = fetch(base, names)
    took, work = time.perf_counter() - began, time.process_time() - worked
    hits = []
    for _ in range(_HITS):
        began = time.perf_counter()
        fetch(base, names[:1])
        hits.append(time.perf_counter() - began)
    digests = {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for name, path in zip(names, paths, strict=True)
    }
    return {"fetch_s": took, "cpu_s": work, "hit_s": median(hits), "digests": digests}


def run(arm: str, base: str, task: Task, digests: Mapping[str, str], scratch: Path) -> Times:
    """With a home and a cache that are new. Raises InvalidMeasurement: it failed, or gave something else."""
    with TemporaryDirectory(dir=scratch) as home:
        settings = {"HOME": home, "MAELIO_CACHE": f"{home}/maelio", "XDG_CACHE_HOME": f"{home}/.cache"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAELIO_", "CLIMETLAB_"))
        }
        command = [sys.executable, "-m", "maelio.benchmarks.peers.fetch", "--arm", arm, base, *task.files]
        ended = subprocess.run(
            command, env=kept | settings | {"TMPDIR": home}, capture_output=True, text=True, check=False
        )
    if ended.returncode:
        raise InvalidMeasurement(f"{arm} failed: {ended.stderr.strip().splitlines()[-1:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    if found["digests"] != {name: digests[name] for name in task.files}:
        raise InvalidMeasurement(f"{arm} did not give what the server has")
    return Times(found["fetch_s"], found["cpu_s"], found["hit_s"])


@contextmanager
def served(folder: Path, rate: float | None) -> Iterator[str]:
    """The URL of a server of the folder, in a process of its own."""
    limit = [] if rate is None else ["--rate", str(rate)]
    command = [sys.executable, "-m", "maelio.benchmarks.peers.file_server", str(folder), *limit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def make(folder: Path, tasks: Sequence[Task]) -> dict[str, str]:
    """The files of all tasks, random bytes that begin like NetCDF; their digests by name."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    digests: dict[str, str] = {}
    for name, size in (
        {"warm.nc": 100} | {name: task.bytes for task in tasks for name in task.files}
    ).items():
        content = _NETCDF + random.bytes(size - len(_NETCDF))
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def measure(task: Task, folder: Path, digests: Mapping[str, str], rounds: int) -> dict[str, list[Times]]:
    found: dict[str, list[Times]] = {arm: [] for arm in ARMS}
    with served(folder / "web", task.rate) as base:
        for _ in range(rounds):
            for arm in ARMS:
                found[arm].append(run(arm, base, task, digests, folder))
    return found


def table(task: Task, found: Mapping[str, Sequence[Times]]) -> str:
    """Medians; the ratio is of the time of the first arm."""
    lines = [f"{task}", f"{'':<12}{'fetch s':>10}{'MB/s':>10}{'':>8}{'CPU s':>10}{'hit ms':>10}"]
    base = median(times.fetch_s for times in found[ARMS[0]])
    for arm, several in found.items():
        fetch, cpu, hit = (
            median(each)
            for each in zip(*((one.fetch_s, one.cpu_s, one.hit_s) for one in several), strict=True)
        )
        rate = task.count * task.bytes / fetch / 1e6
        lines.append(
            f"{arm:<12}{fetch:>10.3f}{rate:>10.0f}{fetch / base:>7.2f}x{cpu:>10.3f}{hit * 1e3:>10.2f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="where files and caches go")
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    given = parser.parse_args(argv)
    if given.arm:
        sys.stdout.write(json.dumps(once(given.arm, given.folder, given.files)) + "\n")
        return 0
    if given.rounds < 1:
        raise BadRequest(f"--rounds {given.rounds}: wanted one at least")
    folder, tasks = Path(given.folder), SIZES[given.size]
    digests = make(folder / "web", tasks)
    cores = len(os.sched_getaffinity(0))
    sys.stdout.write(f"{cores} cores, {given.rounds} interleaved round(s), every file as the server has it\n")
    for task in tasks:
        sys.stdout.write(f"\n{table(task, measure(task, folder, digests, given.rounds))}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
