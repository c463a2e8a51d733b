"""A Prefect server for this process alone, for where none is set up.

Prefect would start one itself, but in the terminal's process group: a Ctrl-C then ends the server before the
flow has told it so, and the flow tries to reach it for a minute.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import prefect
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from maelio.errors import MaelioError

PATIENCE_S = 120.0

_UVICORN = """
import os, sys, threading
def end_with_parent():
    sys.stdin.buffer.read()  # returns when the other end is closed, however the parent ended
    os._exit(0)
threading.Thread(target=end_with_parent, daemon=True).start()
from uvicorn.main import main
main()
"""


def start_early() -> None:
    """Let our own server, if it will be needed, come up while other things are imported."""
    if not get_current_settings().api.url:
        setup_logging()
        get_logger().info("starting a server for this run")
        own_server()


@contextmanager
def a_server() -> Iterator[None]:
    """Inside, Prefect has a server: the one it is set up for, else our own. Raises MaelioError: it does not start."""
    if get_current_settings().api.url:
        yield
        return
    with temporary_settings({PREFECT_API_URL: own_server().url()}):
        yield


class OwnServer:
    """Started at once, ready a few seconds later, ended with this process.

    It has no pages and starts nothing by itself; `settings`, Prefect's environment variables, may change that.
    """

    def __init__(self, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.port = port or _free_port()
        self.process = _start(self.port, settings or {})
        atexit.register(self.stop)

    def url(self) -> str:
        """The address of its API, once it answers. Raises MaelioError: it does not."""
        url = f"http://127.0.0.1:{self.port}/api"
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end:
            try:
                if httpx.get(f"{url}/health", trust_env=False).is_success:
                    return url
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        code = self.process.poll()
        self.stop()
        own_server.cache_clear()
        raise MaelioError(
            f"Prefect's own server did not answer at {url} within {PATIENCE_S:.0f} s"
            if code is None
            else f"Prefect's own server ended with exit code {code}; is PREFECT_HOME writable?"
        )

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


@cache
def own_server() -> OwnServer:
    """The one of this process."""
    return OwnServer()


def _start(port: int, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """As Prefect's own SubprocessASGIServer does it (3.8.8), but out of reach of the terminal's Ctrl-C."""
    environment = {
        **os.environ,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        **get_current_settings().to_environment_variables(exclude_unset=True),
        **settings,
    }
    module = Path(prefect.__file__).parent
    arguments = ["--app-dir", str(module.parent), "--factory", "prefect.server.api.server:create_app"]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    command = [sys.executable, "-c", _UVICORN, *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
