"""Regions done by dask workers: the bytes are those of threads, whoever dies on the way."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.tasks import Workers
from maelio.errors import BadRequest
from maelio.store import Container, unfinished
from tests.converters.netcdf_files import damage, write_netcdf
from tests.converters.test_resume import contents

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

# The command line, and what happens when a number of regions are done: "9" kills a worker, "2" interrupts everybody.
COMMAND = """
import os, signal, sys
import psutil
from maelio.cli import main, progress

def workers():
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]

class Watch:
    def __init__(self, write):
        self.told = False

    def __call__(self, progress):
        if progress.regions_done < 3 or self.told or not how:
            return
        self.told = True
        if how == 9:
            workers()[0].kill()
        else:
            os.killpg(0, how)

how, progress.Lines = int(sys.argv[1]), Watch
if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Forty samples of 64 KiB: forty regions."""
    field = np.random.default_rng(0).random((40, 128, 128)).astype(np.float32)
    return write_netcdf(tmp_path / "big.nc", {"t": field}, zlib=True)


def command(
    *arguments: object, how: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, str(how), "convert", *map(str, arguments), "--shard-size", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        process_group=0,
        env={**os.environ, **(environment or {})},
    )


def whole(source: Path, form: Container = "zarr") -> dict[str, bytes]:
    target = source.with_suffix(".whole")
    return contents(convert([source], target, Options(format=form, shard_bytes=1)).path)


@pytest.mark.parametrize(("how", "form"), [(0, "zarr"), (signal.SIGKILL, "tar")])
def test_processes_of_this_machine_write_what_threads_write(
    tmp_path: Path, big: Path, how: int, form: Container
) -> None:
    """A worker that is killed in the middle costs its regions, not the run."""
    target = tmp_path / "s"
    run = command(big, target, "--dask", "local:2", "--format", form, how=how)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert contents(target) == whole(big, form)
    assert sorted(os.listdir(tmp_path)) == ["big.nc", "big.whole", "s"]


def test_interrupted_it_says_so_in_one_line_and_goes_on_later(tmp_path: Path, big: Path) -> None:
    """Ctrl-C reaches the workers as well; none is left, and threads may finish what they began."""
    target = tmp_path / "s.zarr"
    run = command(big, target, "--dask", "local:2", how=signal.SIGINT)
    assert (run.returncode, run.stderr) == (130, "maelio: interrupted; the same command goes on from here\n")
    assert not list(unfinished(target).glob("aside-*"))
    seen: list[int] = []
    convert([big], target, Options(shard_bytes=1), progress=lambda now: seen.append(now.resumed_regions))
    assert 3 <= seen[0] < 40
    assert contents(target) == whole(big)


def test_damaged_data_end_the_run_with_one_line(tmp_path: Path, big: Path) -> None:
    damage(big, "t")
    run = command(big, tmp_path / "s.zarr", "--dask", "local:1")
    assert run.returncode == 6
    assert re.fullmatch(r"maelio: .*big\.nc: variable 't': .*\n", run.stderr), run.stderr


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a scheduler that runs alone, and the command of a worker for it."""
    at = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    line = [
        *dask,
        "scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(at),
    ]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        found = next(match for text in process.stderr if (match := re.search(r"tcp://[\d.]+:\d+", text)))
        worker = [*dask, "worker", found[0], "--no-dashboard", "--no-nanny"]
        try:
            yield found[0], worker
        finally:
            process.kill()


def test_workers_that_somebody_started_do_the_work(
    tmp_path: Path, big: Path, scheduler: tuple[str, list[str]]
) -> None:
    """Also with several threads each; they stay when it is done. One with too little memory refuses."""
    address, worker = scheduler
    target = tmp_path / "s.zarr"
    with subprocess.Popen([*worker, "--nthreads", "3"], stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        run = command(big, target, "--dask", address)
        assert run.returncode == 0, run.stderr
        assert contents(target) == whole(big)
        assert process.poll() is None
        process.kill()
    unpaused = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{what}": "False" for what in ("PAUSE", "SPILL", "TARGET")}
    with subprocess.Popen(
        [*worker, "--memory-limit", "10kB"],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, **unpaused},
    ) as process:
        run = command(big, target, "--dask", address, "--overwrite")
        process.kill()
    assert run.returncode == 2
    assert "of memory, wanted" in run.stderr


def test_a_worker_that_does_not_see_the_folder_says_so(
    tmp_path: Path, big: Path, scheduler: tuple[str, list[str]]
) -> None:
    """In a namespace of its own another file system lies where the store is built."""
    unshare = [shutil.which("unshare") or "unshare", "--mount", "--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system gives no mount namespaces: unshare --mount fails")
    address, worker = scheduler
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    hidden = ["sh", "-c", f'mount -t tmpfs none {folder} && exec "$@"', "sh", *worker]
    with subprocess.Popen([*unshare, *hidden], stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        run = command(big, folder / "s.zarr", "--dask", address)
        process.kill()
    assert run.returncode == 2
    assert re.fullmatch(
        r"maelio: dask worker tcp://\S+ does not see .* file system that they share\n", run.stderr
    )


@pytest.mark.parametrize(
    ("who", "code", "says"),
    [
        ("local", 2, "wanted local:4, slurm:8 or the address"),
        ("slurm:0", 2, "wanted local:4, slurm:8 or the address"),
        ("127.0.0.1:1", 3, "no dask scheduler answers at 127.0.0.1:1"),
        ("slurm:2", 3, "there is no sbatch on PATH"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, big: Path, who: str, code: int, says: str
) -> None:
    run = command(big, tmp_path / "s.zarr", "--dask", who, environment={"PATH": str(tmp_path)})
    assert run.returncode == code
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert not unfinished(tmp_path / "s.zarr").exists()


@pytest.mark.parametrize("text", ["", "local:", "local:x", "slurm:-1", "host", "a b:1"])
def test_what_names_no_workers_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="wanted local:4"):
        Workers.parse(text)


JOBQUEUE = """
jobqueue:
  slurm:
    cores: 2
    processes: 1
    memory: 3GB
    queue: partition-of-mine
    walltime: "00:30:00"
    job-extra-directives: ["--exclusive"]
"""

# Slurm's commands as far as dask-jobqueue uses them: a job is a process of this machine. As with Slurm, the script may
# be removed once it is submitted.
PROGRAMS = {
    "sbatch": '#!/bin/sh\ncp "$1" "$JOBS"\nsh "$JOBS/${1##*/}" >/dev/null 2>&1 &\necho "Submitted batch job $!"\n',
    "scancel": '#!/bin/sh\nkill "$@"\n',
}


def test_slurm_jobs_are_those_of_the_users_configuration(tmp_path: Path, big: Path) -> None:
    """No Slurm here: what is submitted is looked at, and run as processes."""
    jobs, programs, config = (tmp_path / name for name in ("jobs", "bin", "dask"))
    for folder in (jobs, programs, config):
        folder.mkdir()
    (config / "jobqueue.yaml").write_text(JOBQUEUE)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DASK_CONFIG": str(config),
        "JOBS": str(jobs),
    }
    run = command(big, tmp_path / "s.zarr", "--dask", "slurm:2", environment=environment)
    assert run.returncode == 0, run.stderr
    assert "no dask worker yet: 40 regions wait for the first one" in run.stderr
    assert contents(tmp_path / "s.zarr") == whole(big)
    scripts = [path.read_text() for path in jobs.iterdir()]
    assert len(scripts) == 2
    for wanted in ("-p partition-of-mine", "--cpus-per-task=2", "--mem=3G", "-t 00:30:00", "--exclusive"):
        assert all(f"#SBATCH {wanted}" in script for script in scripts)


def test_slurm_without_a_configuration_is_one_line(tmp_path: Path, big: Path) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(PROGRAMS["sbatch"])
    sbatch.chmod(0o755)
    config = tmp_path / "dask"
    config.mkdir()
    run = command(
        big,
        tmp_path / "s.zarr",
        "--dask",
        "slurm:2",
        environment={"PATH": str(tmp_path), "DASK_CONFIG": str(config)},
    )
    assert run.returncode == 5
    assert re.fullmatch(r"maelio: jobqueue\.slurm in .*jobqueue\.yaml: .* cores and memory .*\n", run.stderr)
