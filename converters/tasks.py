"""Regions as tasks of dask.distributed: processes of this machine, Slurm jobs, or workers somebody else started.

Workers read the sources and write into the store's folder themselves, so all must see both by the same paths. What
travels is the number of a region and its `Done`. The plan lies in the folder as a file, which each worker reads
once: scattered data die with the workers that hold them. When the file is gone, nobody waits for its regions.

A worker makes a shard in a folder of its own and renames it, since dask gives the regions of a worker that it
believes dead to another one.
"""

import logging
import os
import pickle
import re
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

import distributed

from maelio.allocator import keep_freed_memory
from maelio.converters.journal import ASIDE
from maelio.converters.plan import Plan, Region
from maelio.converters.region import Done, Memory, Stopped, convert_region
from maelio.errors import BadRequest, BadSetting, MaelioError, Missing, NotFound
from maelio.files import show_bytes

log = logging.getLogger(__name__)

_CONNECT_S = 10
_NOT_FOR_WORKERS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # Ctrl-C reaches them too
_ADDRESS = re.compile(r"\w+://\S+|[\w.-]+:\d+")


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the work: `count` processes or Slurm jobs, or the workers of the scheduler at `address`."""

    kind: Literal["local", "slurm", "address"]
    count: int = 0
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """Raises BadRequest: none of `local:4`, `slurm:8` and `tcp://host:8786`."""
        kind, _, count = text.partition(":")
        if kind in ("local", "slurm"):
            if re.fullmatch(r"[1-9]\d*", count):
                return cls("local" if kind == "local" else "slurm", int(count))
        elif _ADDRESS.fullmatch(text):
            return cls("address", address=text)
        raise BadRequest(
            f"dask {text!r}: wanted local:4, slurm:8 or the address of a scheduler, tcp://host:8786"
        )


def in_tasks(plan: Plan, regions: Sequence[Region], folder: Path) -> Generator[Done]:
    """What became of each region, in the order in which they end, done by those whom `plan.options.dask` names.

    A worker that dies costs the regions that it had begun. Closed early, or after an error, no region is started
    any more, and those in flight end without a trace.

    Raises:
        BadRequest: there is no such cluster, or a worker does not see `folder`, or has too little memory.
        BadData: naming the file and the variable.
        NotFound, Missing, BadSetting: no scheduler answers, or Slurm is not ready for use.
    """
    numbers = {(region.array.name, region.shard): number for number, region in enumerate(plan.regions)}
    wanted = [numbers[region.array.name, region.shard] for region in regions]
    with _client(plan, len(wanted)) as client, _handed_over(plan, folder) as path:
        if not client.nthreads():
            log.warning("no dask worker yet: %d regions wait for the first one", len(wanted))
        futures = client.map(convert_number, wanted, plan_file=path, folder=folder, pure=False)
        try:
            for future in distributed.as_completed(futures):
                yield _outcome(future)
        finally:
            path.unlink()
            client.cancel(futures)


def _outcome(future: Any) -> Done:
    try:
        outcome: Done | MaelioError = future.result()
    except distributed.KilledWorker as error:
        raise MaelioError(
            f"dask gave up on a region whose workers died one after the other: {error}"
        ) from error
    if isinstance(outcome, MaelioError):
        raise outcome
    return outcome


def convert_number(number: int, plan_file: Path, folder: Path) -> Done | MaelioError:
    """On a worker: do region `number` of a plan. An expected error is a value: dask would log its traceback."""
    worker = distributed.get_worker()
    try:
        try:
            plan, regions = _read_plan(plan_file)
        except FileNotFoundError:
            raise BadRequest(
                f"dask worker {worker.address} does not see {plan_file}: workers write into the store's folder "
                "themselves, so it must be on a file system that they share"
            ) from None
        _check_memory(worker, plan)
        return _convert_aside(plan, regions[number], folder, plan_file)
    except MaelioError as error:
        return error
    except Stopped:
        return MaelioError("stopped")


def _convert_aside(plan: Plan, region: Region, folder: Path, plan_file: Path) -> Done:
    memory, gone = Memory(1, region.bytes), Gone(plan_file)
    with TemporaryDirectory(dir=plan_file.parent, ignore_cleanup_errors=True) as aside:
        made = Path(aside)
        done = convert_region(region, plan.sources, plan.levels[region.array.name], made, memory, gone)
        keys = (region.array.shard_key(region.shard), region.array.index_key(region.shard))
        for key in filter(None, keys):
            if gone.is_set():
                raise Stopped
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / key, folder / key)
    return done


@dataclass(frozen=True, slots=True)
class Gone:
    """Set when there is no file `path` any more."""

    path: Path

    def is_set(self) -> bool:
        return not self.path.exists()


@lru_cache(maxsize=1)
def _read_plan(path: Path) -> tuple[Plan, tuple[Region, ...]]:
    plan: Plan = pickle.loads(path.read_bytes())
    keep_freed_memory(plan.options.kept_bytes)
    return plan, plan.regions


def _check_memory(worker: distributed.Worker, plan: Plan) -> None:
    limit, threads = worker.memory_manager.memory_limit, worker.state.nthreads
    if limit is not None and threads * plan.worker_bytes > limit:
        raise BadRequest(
            f"dask worker {worker.address} has {threads} threads and {show_bytes(limit)} of memory, wanted "
            f"{show_bytes(plan.worker_bytes)} for each thread; give it fewer threads, or lower --shard-size"
        )


@contextmanager
def _handed_over(plan: Plan, folder: Path) -> Iterator[Path]:
    """The plan as a file by a name that nobody else has: who finds it sees this very folder."""
    aside = folder / f"{ASIDE}{uuid4().hex}"
    aside.mkdir()
    path = aside / "plan"
    try:
        path.write_bytes(pickle.dumps(plan))
        yield path
    finally:
        shutil.rmtree(
            aside, ignore_errors=True
        )  # a worker may still be in it; the next run removes what is left


@contextmanager
def _client(plan: Plan, regions: int) -> Iterator[distributed.Client]:
    who = Workers.parse(str(plan.options.dask))
    if who.kind == "address":
        with _connected(who.address) as client:
            yield client
        return
    cluster = _local(plan, min(who.count, regions)) if who.kind == "local" else slurm_cluster()
    with cluster:
        if who.kind == "slurm":
            cluster.scale(jobs=who.count)
        with distributed.Client(cluster) as client:
            yield client


def _local(plan: Plan, count: int) -> Any:
    """As many processes as the memory holds. dask sets no limit of its own: it would count libraries as data."""
    held = replace(plan, options=replace(plan.options, threads=count)).workers
    return distributed.LocalCluster(
        n_workers=held,
        threads_per_worker=1,
        processes=True,
        memory_limit=None,
        dashboard_address=None,
        preload=[_NOT_FOR_WORKERS],
        silence_logs=logging.CRITICAL,  # what ends a worker early also makes it complain
    )


def _connected(address: str) -> distributed.Client:
    try:
        return distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise NotFound(f"no dask scheduler answers at {address}: {error}") from error


def slurm_cluster() -> Any:
    """Jobs as the user's `jobqueue.yaml` describes them.

    Raises Missing, NotFound, BadSetting: no dask-jobqueue, no Slurm, or no such description.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise Missing('slurm:N needs dask-jobqueue: pip install "maelio[slurm]"') from error
    if shutil.which(SLURMCluster.job_cls.submit_command) is None:
        raise NotFound("slurm:N: there is no sbatch on PATH; start it where Slurm jobs can be submitted")
    try:
        return SLURMCluster()
    except (ValueError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise BadSetting(f"jobqueue.slurm in ~/.config/dask/jobqueue.yaml: {first}") from error
