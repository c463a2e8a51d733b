"""A mirror for everyone: whoever reads it asks no server, and a converted copy stands in for the files while it is theirs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import climetlab
import pytest
import xarray as xr
from climetlab.mirrors.directory_mirror import DirectoryMirror

from maelio.cli import main
from maelio.plugins.base import Dataset
from maelio.plugins.synthetic import place_of
from tests.plugins import published
from tests.plugins.conftest import OURS
from tests.plugins.published import ARGUMENTS, HOST, Site

ROOT = Path(__file__).parents[2]

DATASETS = {
    "radiation": ["maelio-radiation", "--arg", "patch=0", "--arg", "patch=2"],
    "yr": ["maelio-yr", "--arg", "size=5GB", "--arg", "dates=2020-03-01", "--arg", "dates=2020-03-02"],
    "surface": ["maelio-weather-surface-level", "--arg", "date=2019-01-01"],
}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "User":
    """Somebody who has nothing yet."""
    for name in list(os.environ):
        if name.startswith(("MAELIO_", "CLIMETLAB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MAELIO_CONFIG", str(tmp_path / "none.toml"))
    return User(tmp_path, monkeypatch)


class User:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch

    def __call__(self, name: str, **environment: str) -> None:
        """From now on it is this one, with this environment."""
        self._patch.setenv("MAELIO_CACHE", str(self.folder / name))
        for key in ("MAELIO_MIRRORS", "MAELIO_OFFLINE", "HTTPS_PROXY"):
            self._patch.delenv(key, raising=False)
        for key, value in environment.items():
            self._patch.setenv(key, value)


@pytest.fixture(scope="session")
def _mirror(_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all of these, converted."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAELIO_CACHE", str(tmp_path_factory.mktemp("admin")))
        for key, value in _site.environment.items():
            patch.setenv(key, value)
        for arguments in DATASETS.values():
            assert main(["mirror", "add", *arguments, str(folder), "--as", "zarr"]) == 0
    return folder


@pytest.fixture
def site_mirror(_mirror: Path, tmp_path: Path) -> Path:
    """One of its own for each test, times and hard links kept."""
    subprocess.run(["cp", "-a", str(_mirror), str(tmp_path / "mirror")], check=True)
    return tmp_path / "mirror"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where other users get to: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="maelio-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def load(name: str) -> Dataset:
    return OURS[name](**ARGUMENTS[name])


@pytest.mark.parametrize("name", DATASETS)
def test_the_unchanged_line_reads_the_converted_copy(
    name: str, site_mirror: Path, user: User, tree: Path
) -> None:
    """Offline, by who has nothing: identical to what the files give, and streamed."""
    user("somebody", MAELIO_MIRRORS=str(site_mirror), MAELIO_OFFLINE="1")
    dataset = load(name)
    store = dataset.to_store()
    assert store.is_relative_to(site_mirror)
    found = dataset.to_xarray()
    assert found.encoding["source"] == str(store)
    files = [place_of(tree, url) for url in dataset.urls()]
    xr.testing.assert_identical(found.load(), dataset.merged(files, {}).load())
    batch = next(iter(dataset.to_torch(batch_size=1)))
    assert batch
    dataset.close()


READ = """
import os, sys

from maelio.plugins import mirror
from tests.plugins.test_mirror import load

def read(cache):
    os.environ["MAELIO_CACHE"] = cache
    dataset = load("surface")
    assert dataset.to_store().is_relative_to(os.environ["MAELIO_MIRRORS"])
    dataset.to_xarray().load()
    next(iter(dataset.to_torch(batch_size=4, shuffle=True, seed=0)))

read(sys.argv[1])  # who may read nothing else has all imported then
os.setgroups([])
os.setgid(61001)
os.setuid(61001)
mirror._check_copy.cache_clear()
read(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_who_may_only_read_the_mirror_uses_it(site_mirror: Path, user: User, open_folder: Path) -> None:
    """Another user, to whom nothing in it belongs; and nothing there is written."""
    shared = open_folder / "mirror"
    subprocess.run(["cp", "-a", str(site_mirror), str(shared)], check=True)
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(shared)], check=True)
    before = sorted(shared.rglob("*"))
    (open_folder / "anna").mkdir()
    os.chown(open_folder / "anna", 61001, 61001)
    settings = {"MAELIO_CONFIG": str(open_folder / "none.toml"), "MAELIO_OFFLINE": "1"}
    user("root", MAELIO_MIRRORS=str(shared), **settings)
    command = [sys.executable, "-c", READ, str(open_folder / "root"), str(open_folder / "anna" / "cache")]
    home = {"HOME": str(open_folder / "anna"), "TMPDIR": str(open_folder / "anna"), "USER": "anna"}
    done = subprocess.run(
        command, env={**os.environ, **home}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(shared.rglob("*")) == before


def test_stock_climetlab_reads_the_tree(site_mirror: Path, tree: Path, user: User) -> None:
    """Every file of it is the original's, by a hard link."""
    user("somebody")
    for url in load("radiation").urls():
        with DirectoryMirror(str(site_mirror)):
            path = Path(climetlab.load_source("url", url).path)
        assert path == place_of(site_mirror, url).resolve()
        assert path.stat().st_nlink == 2
        assert path.read_bytes() == place_of(tree, url).read_bytes()


def damage(path: Path) -> None:
    """One byte in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def keep_time(path: Path) -> None:
    """Damage that no time tells, but the digest of the root does."""
    stat = path.stat()
    damage(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("scalars/c/**/*", damage),
        ("scalars/c/**/*", cut),
        ("scalars/c/**/*", Path.unlink),
        ("time/c/0", damage),
        ("zarr.json", keep_time),
        ("zarr.json", Path.unlink),
    ],
)
def test_a_damaged_copy_is_not_used_and_one_line_says_so(
    pattern: str,
    harm: Callable[[Path], None],
    site_mirror: Path,
    user: User,
    tree: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The data are those of the files then; `verify` names what is wrong."""
    user("somebody", MAELIO_MIRRORS=str(site_mirror), MAELIO_OFFLINE="1")
    (store,) = site_mirror.glob("stores/maelstrom-weather-surface-level-*.zarr")
    hurt = next(path for path in sorted(store.glob(pattern)) if path.is_file())
    harm(hurt)
    dataset = load("surface")
    with dataset.to_xarray() as found:
        assert "source" not in found.encoding or found.encoding["source"] != str(store)
        files = [place_of(tree, url) for url in dataset.urls()]
        xr.testing.assert_identical(found.load(), dataset.merged(files, {}).load())
    lines = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert not dataset.to_store().is_relative_to(site_mirror)
    assert main(["mirror", "verify", str(site_mirror)]) == 6
    assert str(store) in capsys.readouterr().out


def test_a_note_that_is_damaged_is_one_line_too(
    site_mirror: Path, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    """And so is one of other files than the dataset is made of by now."""
    user("somebody", MAELIO_MIRRORS=str(site_mirror), MAELIO_OFFLINE="1")
    (note,) = site_mirror.glob("datasets/maelstrom-weather-surface-level-*.json")
    found = json.loads(note.read_text())
    for text in ("{", json.dumps({**found, "files": found["files"][:1]})):
        caplog.clear()
        note.write_text(text)
        assert load("surface").mirrored() is None
        (record,) = caplog.records
        assert "is not used" in record.getMessage()


def test_a_mirror_that_was_copied_without_its_times_is_read_before_it_is_used(
    site_mirror: Path, user: User, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in a process, and then it is used."""
    shutil.copytree(site_mirror, tmp_path / "copied", copy_function=shutil.copyfile)
    user("somebody", MAELIO_MIRRORS=str(tmp_path / "copied"), MAELIO_OFFLINE="1")
    for _ in range(2):
        assert load("surface").to_store().is_relative_to(tmp_path / "copied")
    assert len([each for each in caplog.records if "without its times" in each.getMessage()]) == 1


def test_a_copy_of_files_that_changed_is_not_used(
    tree: Path, user: User, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mirror's files were refreshed: what is new is read, until a new copy is added."""
    files = tmp_path / "web"
    for url in load("surface").urls():
        (files / Path(url).parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(place_of(tree, url), files / url.removeprefix(f"https://{HOST}/"))
    with published.site(files, tmp_path) as site:
        user("admin", **site.environment)
        add = ["mirror", "add", *DATASETS["surface"], str(tmp_path / "mirror"), "--as", "zarr"]
        assert main(add) == 0
        first = load("surface").urls()[0]
        changed = files / first.removeprefix(f"https://{HOST}/")
        with xr.open_dataset(changed) as old:
            warmer = (old + 1).load()
        warmer.to_netcdf(changed)
        assert main(["cache", "prefetch", "--refresh", "--cache", str(tmp_path / "mirror"), first]) == 0
        user("somebody", MAELIO_MIRRORS=str(tmp_path / "mirror"), MAELIO_OFFLINE="1")
        with load("surface").to_xarray() as found:
            assert float(found["t2m"][0]) == float(warmer["t2m"][0])
        assert [
            each.getMessage() for each in caplog.records if f"it is of another {first}" in each.getMessage()
        ]
        user("new-admin", **site.environment)
        assert main(add) == 0
    user("somebody", MAELIO_MIRRORS=str(tmp_path / "mirror"), MAELIO_OFFLINE="1")
    assert load("surface").to_store().is_relative_to(tmp_path / "mirror")


def test_what_a_cache_has_is_not_fetched_again(
    site: Site, user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the mirror it is copied, and what the mirror has stays; `ls` lists it, `verify` has nothing to say."""
    user("admin", **site.environment)
    names = load("surface").files()
    fetched = dict(site.web.fetched)
    for _ in range(2):
        assert main(["mirror", "add", *DATASETS["surface"], str(tmp_path / "mirror")]) == 0
    assert dict(site.web.fetched) == fetched
    assert "2 file(s)" in capsys.readouterr().out
    assert main(["mirror", "ls", str(tmp_path / "mirror"), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["datasets"]
    assert listed["dataset"] == "maelstrom-weather-surface-level"
    assert listed["size_bytes"] == sum(path.stat().st_size for path in names)
    assert not listed["converted"]
    assert main(["mirror", "verify", str(tmp_path / "mirror")]) == 0
    assert main(["mirror", "export", str(tmp_path / "mirror"), str(tmp_path / "tree")]) == 0
    for path, url in zip(names, load("surface").urls(), strict=True):
        assert place_of(tmp_path / "tree", url).read_bytes() == path.read_bytes()


ADD = "import sys; from maelio.cli import main; sys.exit(main(['mirror', 'add', *sys.argv[1:]]))"


@pytest.mark.slow
def test_three_processes_fill_a_mirror_at_once(site: Site, user: User, tmp_path: Path) -> None:
    """Each file is fetched once, all end well, and everything is whole."""
    user("admin", **site.environment)
    site.web.pause_s = 0.2
    command = [sys.executable, "-c", ADD, *DATASETS["surface"], str(tmp_path / "mirror")]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    assert set(site.web.fetched.values()) == {1}
    assert len(site.web.fetched) == 2
    assert main(["mirror", "verify", str(tmp_path / "mirror")]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["maelio-hadgem"], 2, "its files are of this machine"),
        (["maelio-yr", "--arg", "size=5GB", "--arg", "source=synthetic"], 2, "its files are of this machine"),
        (["maelio-radiation", "--arg", "patch"], 2, "--arg patch: wanted NAME=VALUE"),
        (["maelio-radiation", "--subset", "tier-2"], 2, "nearest tier-1"),
        (["maelio-radiatoin"], 3, "nearest 'maelio-radiation'"),
    ],
)
def test_what_cannot_be_mirrored_is_one_line(
    arguments: list[str],
    code: int,
    words: str,
    user: User,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user("admin")
    assert main(["mirror", "add", *arguments, str(tmp_path / "mirror")]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "mirror").exists()
