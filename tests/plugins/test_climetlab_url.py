"""What CliMetLab downloads for anybody's plugin goes through the cache, if that is wanted, and nothing else changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import climetlab
import pytest
from climetlab.mirrors.directory_mirror import DirectoryMirror

from maelio.plugins import synthetic
from maelio.plugins.climetlab_url import url
from tests.plugins import published
from tests.plugins.conftest import OURS
from tests.plugins.published import ARGUMENTS, HOST, Site
from tests.web import serve

ROOT = Path(__file__).parents[2]

ORIGINALS = {
    "radiation": "climetlab_maelstrom_radiation.radiation:radiation",
    "yr": "climetlab_maelstrom_yr.yr:Yr",
    "constants": "climetlab_maelstrom_power_production.constants.a_b:ABConstants",
    "production": "climetlab_maelstrom_power_production.production.production:Production",
    "surface": "climetlab_maelstrom_power_production.weather.surface_level:SurfaceLevelWeather",
}
LOAD = """
import json, sys
from importlib import import_module
from types import SimpleNamespace

import climetlab as cml
import xarray as xr
from climetlab.core.plugins import register
from climetlab.mirrors.directory_mirror import DirectoryMirror

tree, several = json.loads(sys.argv[1])
for name, where, arguments in several:
    module, _, attribute = where.partition(":")
    register("dataset", name, SimpleNamespace(dataset=getattr(import_module(module), attribute)))
    found = cml.load_dataset(name, **arguments).to_xarray().load()
    with DirectoryMirror(tree):
        xr.testing.assert_identical(found, cml.load_dataset(name, **arguments).to_xarray().load())
"""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.install(tmp_path_factory.mktemp("packages"))


def run(code: str, *arguments: str, home: Path, path: Path, **environment: str) -> str:
    """What the code prints, in a process of its own, with a home that is new, and the entry point of this checkout."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAELIO_", "CLIMETLAB_"))
    }
    ours = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT))),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | ours | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_original_plugins_fetch_through_the_cache(
    site: Site, tree: Path, packages: Path, tmp_path: Path
) -> None:
    """Each file once, for two users; the data are those of the same files in CliMetLab's own way."""
    told = json.dumps([str(tree), [(name, where, ARGUMENTS[name]) for name, where in ORIGINALS.items()]])
    with_cache = {"MAELIO_CLIMETLAB": "1", "MAELIO_CACHE": str(tmp_path / "cache"), **site.environment}
    for user in ("one", "other"):
        (tmp_path / user).mkdir()
        run(LOAD, told, home=tmp_path / user, path=packages, **with_cache)
        assert not list((tmp_path / user).rglob("url-*")), "CliMetLab's own cache has files"
    urls = [each for name, ours in OURS.items() for each in ours(**ARGUMENTS[name]).urls()]
    assert site.web.fetched == {each.removeprefix(f"https://{HOST}"): 1 for each in urls}


ONE = """
import sys

import climetlab as cml

print(cml.load_source("url", sys.argv[1]).path)
"""


@pytest.mark.parametrize(("wanted", "cached"), [("0", False), ("1", True)])
def test_the_cache_is_used_only_where_that_is_set(wanted: str, cached: bool, tmp_path: Path) -> None:
    """Else it is CliMetLab's own source, with its own cache."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.nc").write_bytes(b"CDF")
    with serve(tmp_path / "web") as web:
        settings = {"MAELIO_CLIMETLAB": wanted, "MAELIO_CACHE": str(tmp_path / "cache")}
        path = run(ONE, f"{web.url}/a.nc", home=tmp_path, path=ROOT, **settings)
    assert Path(path.strip()).read_bytes() == b"CDF"
    assert Path(path.strip()).is_relative_to(tmp_path / "cache") == cached


def test_what_the_cache_does_not_do_climetlab_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a file, headers of one's own, a download in spite of what is there."""
    monkeypatch.setenv("MAELIO_CLIMETLAB", "1")
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.nc").write_bytes(b"CDF\x01")
    with (
        serve(tmp_path / "web") as web,
        climetlab.settings.temporary("cache-directory", str(tmp_path / "own")),
    ):
        address = f"{web.url}/a.nc"
        for asked in ({"http_headers": {"X": "y"}}, {"force": True}, {"parts": [(0, 3)]}):
            assert Path(url(address, **asked).path).is_relative_to(tmp_path / "own")
        assert Path(url(address).path).is_relative_to(tmp_path / "cache")
        assert Path(url(f"file://{tmp_path}/web/a.nc").path) == tmp_path / "web" / "a.nc"


def test_a_mirror_of_climetlab_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has the file; else the cache has it, and no server is asked for what either has."""
    monkeypatch.setenv("MAELIO_CLIMETLAB", "1")
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web").mkdir()
    for name in ("a.nc", "b.nc"):
        (tmp_path / "web" / name).write_bytes(b"CDF\x01")
    with serve(tmp_path / "web") as web, DirectoryMirror(str(tmp_path / "tree")):
        mirrored = synthetic.place_of(tmp_path / "tree", f"{web.url}/a.nc")
        mirrored.parent.mkdir(parents=True)
        mirrored.write_bytes(b"CDF\x02")
        assert Path(url(f"{web.url}/a.nc").path) == mirrored
        for _ in range(2):
            assert Path(url(f"{web.url}/b.nc").path).is_relative_to(tmp_path / "cache")
        assert web.fetched == {"/b.nc": 1}
