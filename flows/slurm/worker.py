"""The Prefect worker `maelio-slurm`: each flow run is one Slurm job.

The worker alone says how a job ended: what runs inside the job reports the states of its flow, and keeps silent when it
is told to stop. What the worker must not forget stands with Prefect (the job's id, the number of restarts) or with
Slurm (the run's id, as the job's comment), so that another worker of the same name goes on where this one ended.
"""

import asyncio
import os
import shlex
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from logging import Logger, LoggerAdapter
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import InfrastructureNotFound, ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry, Cancelled, Crashed, Pending
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from maelio.errors import MaelioError
from maelio.flows.slurm.commands import SlurmError, accounts, cancel, environment, log_tail, queue, submit
from maelio.flows.slurm.job import LOG_FOLDER, RESTARTS, Job, sbatch_command, script
from maelio.flows.slurm.sites import with_site
from maelio.flows.slurm.states import Phase, Status, newest
from maelio.flows.slurm.verdicts import Verdict, verdict

TYPE = "maelio-slurm"
RESTARTED = "maelio.slurm.restarts"
NOT_SEEN = 3  # looks at Slurm without an answer for a job, after which it is forgotten there
LOG_LINES = 50
PAGE = 200


class SlurmVariables(Job, BaseVariables):
    """What a work pool, a deployment or a run may say."""


class SlurmConfiguration(Job, BaseJobConfiguration):
    """The same, filled in for one run."""

    def job(self) -> Job:
        """With the defaults of the site. Raises as `read_site`."""
        return with_site(Job(**{name: getattr(self, name) for name in Job.model_fields}))

    def words(self) -> list[str]:
        """The command; Prefect's own is called by the Python that runs this worker."""
        if self.command in (None, self._base_flow_run_command()):
            return [sys.executable, "-m", "prefect", "flow-run", "execute"]
        return shlex.split(self.command or "")


class SlurmResult(BaseWorkerResult):
    """`identifier`: the job's id. The status code is 0: the state of the run is set already."""


class Watch:
    """Jobs that are waited for: one look at Slurm and one at Prefect serve all of them."""

    def __init__(
        self, cancelling: Callable[[Collection[UUID]], Awaitable[set[UUID]]], every_s: float
    ) -> None:
        self.every_s = every_s
        self.runs: dict[str, UUID] = {}
        self.statuses: dict[str, Status] = {}
        self.cancelled: set[UUID] = set()
        self._cancelling = cancelling
        self._looked_s = -every_s
        self._lock = asyncio.Lock()

    async def look(self, job: str) -> Status | None:
        """The newest status, not older than `every_s`. Raises as `queue`, and httpx.HTTPError."""
        async with self._lock:
            if time.monotonic() - self._looked_s >= self.every_s or job not in self.statuses:
                await self._refresh()
        return self.statuses.get(job)

    async def _refresh(self) -> None:
        statuses = await queue()
        if gone := self.runs.keys() - statuses.keys():
            statuses |= await accounts(gone)
        self.statuses = statuses
        self.cancelled = await self._cancelling(set(self.runs.values()))
        self._looked_s = time.monotonic()


class SlurmWorker(BaseWorker[SlurmConfiguration, SlurmVariables, SlurmResult]):
    """Each flow run is one Slurm job, by sbatch."""

    type = TYPE
    job_configuration = SlurmConfiguration
    job_configuration_variables = SlurmVariables
    _description = "Each flow run is one Slurm job, by sbatch, squeue, sacct and scancel."

    def __init__(self, work_pool_name: str, *, name: str | None = None, **more: Any) -> None:
        super().__init__(work_pool_name, name=name or f"slurm-{socket.gethostname()}", **more)
        self._adopted = False

    async def setup(self) -> None:
        self._watch = Watch(self._cancelling, get_current_settings().worker.query_seconds)
        await super().setup()

    async def _initialize_after_sync(self) -> None:
        await super()._initialize_after_sync()
        if self._work_pool is not None and not self._adopted:
            await self._adopt()
            self._adopted = True

    async def run(
        self,
        flow_run: FlowRun,
        configuration: SlurmConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> SlurmResult:
        """Submit the run, wait for its job, tell Prefect how it ended. Raises as `submit`, and as `read_site`."""
        log = self.get_flow_run_logger(flow_run)
        job = configuration.job()
        comment = comment_of(flow_run.id)
        command = sbatch_command(job, name=flow_run.name, comment=comment)
        text = script(job, configuration.words())
        log_folder(job).mkdir(parents=True, exist_ok=True)
        own = {**os.environ, "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "relinquish"}
        number = await submit(command, text, environment(configuration.env, own), comment)
        log.info("Slurm job %s, log %s", number, log_folder(job) / f"{number}.out")
        if task_status:
            task_status.started(number)
        return await self._follow(flow_run, number, job)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: SlurmConfiguration, grace_seconds: int = 30
    ) -> None:
        """Slurm gives a job its own grace (KillWait). Raises InfrastructureNotFound: Slurm refuses."""
        try:
            await cancel(infrastructure_pid)
        except SlurmError as error:
            raise InfrastructureNotFound(str(error)) from error

    async def _follow(self, flow_run: FlowRun, number: str, job: Job) -> SlurmResult:
        log = self.get_flow_run_logger(flow_run)
        self._watch.runs[number] = flow_run.id
        try:
            status = await self._wait(flow_run, number, log)
        finally:
            del self._watch.runs[number]
        if status.phase is not Phase.COMPLETED:
            for line in log_tail(log_folder(job) / f"{number}.out", LOG_LINES):
                log.info("%s.out: %s", number, line)
        limit = RESTARTS if job.restarts is None else job.restarts
        await self._insist(lambda: self._conclude(flow_run.id, status, limit, log))
        return SlurmResult(status_code=0, identifier=number)

    async def _wait(self, flow_run: FlowRun, number: str, log: "LoggerAdapter[Logger]") -> Status:
        """Until the job is over; Slurm and Prefect may be out of reach for any time meanwhile."""
        told, missed, cancelling, trouble = "", 0, False, ""
        while True:
            try:
                status = await self._watch.look(number)
                if flow_run.id in self._watch.cancelled and not cancelling:
                    await cancel(number)
                    cancelling = True
            except (SlurmError, httpx.HTTPError) as error:
                if (now := f"{type(error).__name__}: {error}") != trouble:
                    self._logger.warning("job %s: no answer, looking again: %s", number, now)
                    trouble = now
            else:
                missed = 0 if status else missed + 1
                if status is None and missed >= NOT_SEEN:
                    return Status(number, "UNKNOWN", "Slurm holds it no longer")
                if status and str(status) != told:
                    told = str(status)
                    log.info("%s", told)
                    await self._tell_pending(flow_run.id, status)
                if status and status.phase.over:
                    return status
            await asyncio.sleep(self._watch.every_s)

    async def _tell_pending(self, run: UUID, status: Status) -> None:
        """Show why Slurm lets the run wait; Prefect takes it of a run alone that has not started."""
        if status.phase is Phase.PENDING and status.reason:
            state: State[Any] = Pending(name=f"Slurm: {status.reason}"[:200], message=str(status))
            await self._insist(lambda: self.client.set_flow_run_state(run, state))

    async def _conclude(self, run: UUID, status: Status, limit: int, log: "LoggerAdapter[Logger]") -> None:
        flow_run = await self.client.read_flow_run(run)
        restarts = int(str(flow_run.labels.get(RESTARTED, 0)))
        state_type = flow_run.state.type.value if flow_run.state else "PENDING"
        judged = verdict(status, state_type, restarts=restarts, limit=limit)
        if judged.end == "leave":
            return
        log.warning("%s", judged.message)
        if judged.end == "again":
            await self.client.update_flow_run_labels(run, {RESTARTED: restarts + 1})
            await self.client.update_flow_run(run, infrastructure_pid="")
        await self.client.set_flow_run_state(run, _state(judged), force=True)

    async def _insist(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Until Prefect's server answers; what it refuses is raised."""
        while True:
            try:
                await call()
            except httpx.HTTPError as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    raise
                self._logger.warning("Prefect did not answer, trying again: %s", error)
                await asyncio.sleep(self._watch.every_s)
            else:
                return

    async def _cancelling(self, runs: Collection[UUID]) -> set[UUID]:
        """Those whose job shall end."""
        wanted = [StateType.CANCELLING, StateType.CANCELLED]
        found: set[UUID] = set()
        ordered = sorted(runs)
        for start in range(0, len(ordered), PAGE):
            page = ordered[start : start + PAGE]
            found |= {run.id for run in await self._read(wanted, FlowRunFilterId(any_=page))}
        return found

    async def _read(self, states: list[StateType], ids: FlowRunFilterId | None = None) -> list[FlowRun]:
        """All runs of the work pool in these states."""
        runs: list[FlowRun] = []
        while True:
            page = await self.client.read_flow_runs(
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._work_pool_name])),
                flow_run_filter=FlowRunFilter(
                    id=ids, state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
                ),
                limit=PAGE,
                offset=len(runs),
            )
            runs += page
            if len(page) < PAGE:
                return runs

    async def _adopt(self) -> None:
        """Take over what a worker of this name left: by the job's id, else by its comment, else from the start."""
        states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
        busy = {*self._watch.runs.values(), *self._submitting_flow_run_ids}
        mine = [
            run
            for run in await self._read(states)
            if run.labels.get("prefect.worker.name") == self.name and run.id not in busy
        ]
        jobs = await queue() if mine else {}
        for run in mine:
            found = newest(jobs, comment_of(run.id))
            number = run.infrastructure_pid or (found.job if found else None)
            self.get_flow_run_logger(run).info(
                "worker %s goes on with Slurm job %s", self.name, number or "not yet submitted"
            )
            if number:
                await self.client.update_flow_run(run.id, infrastructure_pid=number)
                self._watch.runs[number] = run.id
                self._tasks.start_soon(self._follow_adopted, run, number)
            else:
                await self.client.set_flow_run_state(run.id, _unsubmitted(run), force=True)

    async def _follow_adopted(self, run: FlowRun, number: str) -> None:
        log = self.get_flow_run_logger(run)
        try:
            configuration = await SlurmConfiguration.resolve_for_flow_run(
                run,
                client=self.client,
                work_pool=self.work_pool,
                worker_name=self.name,
                worker_id=self.backend_id,
            )
            job = configuration.job()
        except (ObjectNotFound, MaelioError) as error:
            log.warning("what was asked of job %s cannot be read again: %s", number, error)
            job = Job()
        try:
            await self._follow(run, number, job)
        except ObjectNotFound:
            self._logger.warning("flow run %s of Slurm job %s was deleted", run.id, number)

    @property
    def _tasks(self) -> anyio.abc.TaskGroup:
        return cast(anyio.abc.TaskGroup, self._runs_task_group)


def comment_of(run: UUID) -> str:
    """What a job's comment says of its flow run."""
    return f"prefect:{run}"


def log_folder(job: Job) -> Path:
    """Where the job's output goes."""
    return Path(job.working_folder or ".").absolute() / (job.log_folder or LOG_FOLDER)


def _state(judged: Verdict) -> State[Any]:
    match judged.end:
        case "again":
            return AwaitingRetry(message=judged.message)
        case "cancelled":
            return Cancelled(message=judged.message)
        case _:
            return Crashed(message=judged.message)


def _unsubmitted(run: FlowRun) -> State[Any]:
    """Of a run without a job."""
    if run.state and run.state.type is StateType.CANCELLING:
        return Cancelled(message="cancelled before a job was submitted")
    if run.state and run.state.type is StateType.RUNNING:
        return Crashed(message="runs without a job that Slurm knows of")
    return AwaitingRetry(message="its worker ended before the job was submitted")
