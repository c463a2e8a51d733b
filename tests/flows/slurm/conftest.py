"""A Slurm, a Prefect server and a worker: real ones, shared by all tests beside."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import ROOT
from tests.flows.slurm.cluster import Cluster, NoCluster, cluster, missing

PATIENCE_S = 180.0
POOL = "cluster"
WORKER = """
import sys
from maelio.flows.up import work
work("slurm", sys.argv[1])
"""
TOLD = Path(__file__).with_name("told.py")


@pytest.fixture(scope="session")
def slurm(needs: Callable[[str], str]) -> Iterator[Cluster]:
    if missing():
        needs("slurmctld")
        pytest.skip(
            f"Slurm is not complete, {', '.join(missing())} missing: apt-get install slurmctld slurmd munge"
        )
    with ExitStack() as stack:
        try:
            made = stack.enter_context(cluster())
        except NoCluster as trouble:
            pytest.skip(f"Slurm is installed but does not run on this machine: {trouble}")
        yield made


@dataclass
class Site:
    """What the tests act on. `overdue` is a run whose job is out of time: it takes Slurm 30 s to see that."""

    slurm: Cluster
    url: str
    folder: Path
    client: Any
    worker: subprocess.Popen[bytes] | None = None
    deployments: dict[str, UUID] = field(default_factory=dict)
    overdue: UUID | None = None

    def prepare(self) -> None:
        """A work pool, and deployments of small jobs (`told`) and of real flows."""
        from prefect.client.schemas.actions import WorkPoolCreate

        from maelio.flows.slurm.worker import SlurmWorker

        template = SlurmWorker.get_default_base_job_template()
        self.client.create_work_pool(
            WorkPoolCreate(name=POOL, type=SlurmWorker.type, base_job_template=template)
        )
        for name in ("told", "succeed", "fail"):
            self.deployments[name] = self.client.create_deployment(
                self.client.create_flow_from_name(name),
                name,
                work_pool_name=POOL,
                entrypoint=f"tests.flows.slurm.flows.{name}",
                enforce_parameter_schema=False,
            )

    def start_worker(self) -> None:
        environment = {
            **os.environ, **self.slurm.environment,
            "PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "0.5", "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT),
            "SECRET": "a secret",
        }  # fmt: skip
        with open(self.folder / "worker.log", "ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, POOL],
                env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_worker(self) -> None:
        if self.worker:
            self.worker.kill()
            self.worker.wait()

    def submit(self, deployment: str = "told", **variables: Any) -> UUID:
        run = self.client.create_flow_run_from_deployment(
            self.deployments[deployment], job_variables=variables
        )
        found: UUID = run.id
        return found

    def told(self, end: str, seconds: float = 0, **variables: Any) -> UUID:
        """A run of a small job."""
        command = [sys.executable, "-I", str(TOLD), end, str(seconds)]
        return self.submit(command=shlex.join(command), **variables)

    def run(self, run: UUID) -> Any:
        return self.client.read_flow_run(run)

    def wait(self, run: UUID, *states: str) -> Any:
        """The run, once its state is of one of these types."""

        def reached() -> Any:
            found = self.run(run)
            return found if found.state and found.state.type.value in states else None

        return self.until(reached, f"run {run} is not {' or '.join(states)}", run)

    def end(self, run: UUID) -> Any:
        return self.wait(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def job(self, run: UUID) -> str:
        """The id of its job, once Prefect knows it."""
        return str(self.until(lambda: self.run(run).infrastructure_pid, f"run {run} has no job", run))

    def cancel(self, run: UUID) -> None:
        """As the button of Prefect's page does it."""
        from prefect.states import Cancelling

        self.client.set_flow_run_state(run, Cancelling())

    def slurm_state(self, job: str) -> str:
        return self.slurm.call("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()

    def wait_for_log(self, run: UUID, text: str) -> None:
        """Lines reach Prefect in batches."""
        self.until(lambda: text in self.log(run), f"{text!r} is not in the log of run {run}", run)

    def log(self, run: UUID) -> str:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        logs = self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
        return "\n".join(line.message for line in logs)

    def until(self, reached: Callable[[], Any], trouble: str, run: UUID) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (found := reached()):
            assert self.worker is None or self.worker.poll() is None, self.tail()
            assert time.monotonic() < end, f"{trouble}: {self.run(run).state}\n{self.tail()}"
            time.sleep(0.1)
        return found

    def tail(self) -> str:
        queue = self.slurm.call("squeue", "-t", "all", "-o", "%i %T %r %N %k")
        return f"{queue}\n{(self.folder / 'worker.log').read_text()[-4000:]}"


@pytest.fixture(scope="session")
def site(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from prefect.client.orchestration import SyncPrefectClient

    from maelio.flows.server import OwnServer

    folder = tmp_path_factory.mktemp("slurm")
    server = OwnServer(settings={"PREFECT_HOME": str(folder / "prefect")})
    with ExitStack() as stack:
        stack.callback(server.stop)
        url = server.url()
        site = Site(slurm, url, folder, stack.enter_context(SyncPrefectClient(url)))
        site.prepare()
        stack.callback(site.kill_worker)
        site.start_worker()
        site.overdue = site.told("COMPLETED", 3600, time_limit="10")
        site.wait(site.overdue, "RUNNING")
        slurm.call("scontrol", "update", f"jobid={site.job(site.overdue)}", "endtime=now")
        yield site
        slurm.call("scancel", "--me")
