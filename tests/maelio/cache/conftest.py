"""One server for all tests of the cache, without faults at the beginning of each."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maelio.cache.fetch import Cache
from maelio.cache.parts import PART
from maelio.cache.room import Budget
from maelio.cache.tier import Tier
from tests.web import Web, serve


@pytest.fixture(scope="session")
def large() -> bytes:
    """Three whole parts and a bit."""
    return os.urandom(3 * PART + 5)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Path]]:
    folder = tmp_path_factory.mktemp("web")
    with serve(folder) as server:
        yield server, folder


@dataclass(frozen=True, slots=True)
class Site:
    """The server, and where its files lie."""

    web: Web
    folder: Path

    def put(self, name: str, content: bytes) -> str:
        """The URL of a file with this content."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{name}.made")
        made.write_bytes(content)
        made.replace(path)
        return f"{self.web.url}/{name}"

    @property
    def requests(self) -> int:
        return self.web.fetched.total()


@pytest.fixture
def site(_server: tuple[Web, Path]) -> Site:
    web, folder = _server
    web.reset()
    for path in folder.iterdir():
        path.unlink()
    return Site(web, folder)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder where other users get to: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="maelio-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def cache_at(open_path: Path) -> Callable[..., Cache]:
    """`cache_at("a", "b")` has two tiers; they are made, and open to everybody."""

    def make(
        *names: str, limit: int | None = None, patience_s: float = 10.0, silence_s: float = 5.0
    ) -> Cache:
        tiers = tuple(Tier(open_path / name) for name in names)
        for tier in tiers:
            tier.folder.mkdir(exist_ok=True)
            tier.folder.chmod(0o777)
        return Cache(tiers, Budget(limit, 0), patience_s=patience_s, silence_s=silence_s)

    return make


@pytest.fixture
def cache(cache_at: Callable[..., Cache]) -> Cache:
    return cache_at("cache")
