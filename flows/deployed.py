"""Flows as Prefect's server knows them: deployed, run, looked at, cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.states import Cancelling
from prefect.utilities.callables import parameter_schema

from maelio.errors import BadRequest, MaelioError, NotFound

SERVER = "http://127.0.0.1:4200/api"
PAGE = 200


@dataclass(frozen=True, slots=True)
class Run:
    """Of a flow. `message` is what Prefect, or Slurm, says of its state."""

    id: str
    name: str
    state: str
    message: str


@contextmanager
def server(url: str | None = None) -> Iterator[SyncPrefectClient]:
    """A client of the server at `url`, of the one Prefect is set up for, or of that of `maelio flow up`.

    Raises MaelioError, here and inside: there is no answer.
    """
    address = url or get_current_settings().api.url or SERVER
    try:
        with SyncPrefectClient(address) as client:
            yield client
    except httpx.TransportError as error:
        raise MaelioError(
            f"no Prefect server at {address} ({error}): start one with `maelio flow up`, or set PREFECT_API_URL"
        ) from None


def deploy(
    client: SyncPrefectClient, pool: str | None = None, variables: dict[str, Any] | None = None
) -> list[str]:
    """Make the deployments of flows/prefect.yaml, or bring them up to date; returns FLOW/DEPLOYMENT of each.

    Args:
        pool: work pool, in place of that in the file.
        variables: job variables, such as `{"site": "example"}`.

    Raises NotFound: there is no such work pool.
    """
    text = (Path(str(files("maelio.flows"))) / "prefect.yaml").read_text()
    names = []
    for one in yaml.safe_load(text)["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(one["entrypoint"])
        pool_name = pool or one["work_pool"]["name"]
        try:
            client.read_work_pool(pool_name)
        except ObjectNotFound:
            raise NotFound(
                f"no work pool {pool_name!r}; a worker makes it: maelio flow worker --pool {pool_name}"
            ) from None
        client.create_deployment(
            client.create_flow_from_name(flow.name),
            one["name"],
            description=one["description"],
            entrypoint=one["entrypoint"],
            parameters=one["parameters"],
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            work_pool_name=pool_name,
            job_variables=variables or {},
        )
        names.append(f"{flow.name}/{one['name']}")
    return names


def start(client: SyncPrefectClient, deployment: str) -> Run:
    """Of FLOW/DEPLOYMENT. Raises NotFound: there is none of this name."""
    try:
        found = client.read_deployment_by_name(deployment)
    except (ObjectNotFound, ValueError):
        raise NotFound(
            f"no deployment {deployment!r}, wanted FLOW/DEPLOYMENT; `maelio flow deploy` makes them"
        ) from None
    return _run(client.create_flow_run_from_deployment(found.id))


def runs(client: SyncPrefectClient, limit: int = PAGE) -> list[Run]:
    """The newest runs, the newest last."""
    found = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=limit)
    return [_run(one) for one in reversed(found)]


def log(client: SyncPrefectClient, run: str) -> Iterator[str]:
    """Its lines, the oldest first. Raises as `cancel`."""
    found = _find(client, run)
    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[found.id]))
    offset = 0
    while lines := client.read_logs(chosen, limit=PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC):
        offset += len(lines)
        for line in lines:
            yield f"{line.timestamp:%Y-%m-%d %H:%M:%S} {line.message}"


def cancel(client: SyncPrefectClient, run: str) -> Run:
    """Ask for its end; its worker ends the job.

    Raises:
        NotFound: there is no such run.
        BadRequest: more than one has this name.
    """
    found = _find(client, run)
    client.set_flow_run_state(found.id, Cancelling())
    return _run(client.read_flow_run(found.id))


def _find(client: SyncPrefectClient, run: str) -> Any:
    """By id, or by name among the newest."""
    try:
        return client.read_flow_run(UUID(run))
    except ObjectNotFound:
        raise NotFound(f"no flow run {run}") from None
    except ValueError:
        newest = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=PAGE)
    named = [one for one in newest if one.name == run]
    if not named:
        raise NotFound(f"no flow run {run!r} among the newest {PAGE}; `maelio flow ls` lists them")
    if len(named) > 1:
        raise BadRequest(
            f"{len(named)} flow runs are named {run!r}, wanted an id: {', '.join(str(one.id) for one in named)}"
        )
    return named[0]


def _run(found: Any) -> Run:
    state = found.state
    return Run(str(found.id), found.name, state.name if state else "", (state.message or "") if state else "")
