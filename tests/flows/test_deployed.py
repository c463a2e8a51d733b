"""`maelio flow up` and its kin, as a user types them: a real server and a worker of processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner

from maelio.cli import app
from maelio.errors import NotFound

pytest.importorskip("prefect", reason='Prefect is not installed: pip install "maelio[flows]"')

pytestmark = [
    pytest.mark.slow,
    # Prefect and its dependencies, at import and while they run; nothing of ours
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

UP = "import sys; from maelio.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the API of what `maelio flow up` starts; the worker has begun its work when this is known."""
    folder = tmp_path_factory.mktemp("up")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", UP, "flow", "up", "--folder", str(folder), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with subprocess.Popen(
        command, env={**environment, "PYTHONUNBUFFERED": "1"}, cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "started!" in line:
                break
        assert f"pages      http://127.0.0.1:{port}\n" in lines
        assert any(f"ssh -N -L {port}:127.0.0.1:{port} " in line for line in lines)
        yield f"http://127.0.0.1:{port}/api"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False)


def test_pages_and_the_api_are_there_on_the_loopback_interface(address: str) -> None:
    pages = httpx.get(address.removesuffix("/api"), trust_env=False, follow_redirects=True)
    assert "<title>Prefect" in pages.text
    assert httpx.get(f"{address}/health", trust_env=False).json() is True


def test_a_flow_is_deployed_started_listed_and_cancelled(address: str) -> None:
    """Twice deployed is one deployment. Its pool has no worker: the run waits until it is cancelled."""
    from prefect.client.schemas.actions import WorkPoolCreate

    from maelio.flows.deployed import cancel, deploy, log, runs, server, start

    with server(address) as client:
        client.create_work_pool(WorkPoolCreate(name="idle", type="process"))
        assert (
            deploy(client, "idle") == deploy(client, "idle", {"env": {"A": "1"}}) == ["pipeline/quickstart"]
        )
        assert len(client.read_deployments()) == 1
        run = start(client, "pipeline/quickstart")
        assert cancel(client, run.name).state == "Cancelled"
        assert [one.id for one in runs(client)] == [run.id]
        assert all(line.startswith("20") for line in log(client, run.id))
        with pytest.raises(NotFound, match="no work pool 'nowhere'"):
            deploy(client, "nowhere")
        with pytest.raises(NotFound, match="no deployment 'pipeline/none'"):
            start(client, "pipeline/none")
        with pytest.raises(NotFound, match="no flow run 'nobody'"):
            cancel(client, "nobody")


def test_runs_are_listed_on_the_command_line(address: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}):
        told = CliRunner().invoke(app, ["flow", "ls", "--json"])
    assert told.exit_code == 0
    assert {"id", "name", "state", "message"} == set(json.loads(told.stdout)["flow_runs"][0])


def test_no_server_is_one_line() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        told = CliRunner().invoke(app, ["flow", "ls"])
    assert told.exit_code == 1
    assert told.stderr.count("\n") == 1
    assert "no Prefect server at http://127.0.0.1:9/api" in told.stderr
