"""`fetch` and `maelio cache` by the user's settings: hits at once, misses by their names, offline in no time."""

import json
import os
from pathlib import Path

import fsspec
import pytest

from maelio.cache.fetch import Cache, fetch
from maelio.cache.parts import PART
from maelio.cli import main
from maelio.errors import NotFound, Offline
from tests.maelio.cache.conftest import Site
from tests.web import BucketHandler, serve


@pytest.fixture(autouse=True)
def own(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The private cache of the settings; nothing else is set."""
    for name in list(os.environ):
        if name.startswith("MAELIO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MAELIO_CONFIG", str(open_path / "none.toml"))
    monkeypatch.setenv("MAELIO_CACHE", str(open_path / "own"))
    monkeypatch.setenv("MAELIO_CACHE_SPARE", "1")
    return open_path / "own"


def test_a_hit_asks_nobody(site: Site) -> None:
    """What it takes in time, benchmarks/peers/fetch.py has."""
    url = site.put("a.nc", b"here")
    fetch([url])
    for _ in range(50):
        fetch([url])
    assert site.requests == 1


def test_settings_name_mirrors_and_a_shared_cache(
    site: Site, own: Path, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the environment holds from the next call on."""
    urls = [site.put(name, name.encode()) for name in "abc"]
    monkeypatch.setenv("MAELIO_CACHE", str(open_path / "mirror"))
    fetch(urls[:1])
    (open_path / "shared").mkdir()
    monkeypatch.setenv("MAELIO_CACHE", str(own))
    monkeypatch.setenv("MAELIO_MIRRORS", f"{open_path / 'none'}:{open_path / 'mirror'}")
    monkeypatch.setenv("MAELIO_SHARED_CACHE", str(open_path / "shared"))
    homes = [path.relative_to(open_path).parts[0] for path in fetch(urls[:2])]
    assert homes == ["mirror", "shared"]


def test_offline_all_that_is_missing_is_told_at_once(
    site: Site, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cached is there, without a request; the command that fetches the rest does so elsewhere."""
    urls = [site.put(f"{number}.nc", b"%d" % number) for number in range(6)]
    here = fetch(urls[:1])
    site.web.fetched.clear()
    monkeypatch.setenv("MAELIO_OFFLINE", "1")
    fetch(urls[:1])
    assert fetch(urls[:1]) == here
    with pytest.raises(Offline) as one:
        fetch(urls[:2])
    with pytest.raises(Offline) as many:
        fetch(urls)
    assert site.requests == 0
    assert str(one.value) == (
        f"offline, and 1 file(s) are in no cache: {urls[1]}; where there is a network, run: "
        f"maelio cache prefetch {urls[1]}"
    )
    assert many.value.missing == tuple(urls[1:])
    assert f"and 2 more; where there is a network, run: maelio cache prefetch @{own}/missing.txt" in str(
        many.value
    )
    assert site.requests == 0
    monkeypatch.delenv("MAELIO_OFFLINE")
    assert main(["cache", "prefetch", f"@{own}/missing.txt"]) == 0
    assert site.requests == 5


def test_a_misspelled_dataset_is_told_at_once_with_what_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CliMetLab's catalogue in the net is not asked, which offline takes hours."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert main(["convert", "climetlab:maelio-hadgm", str(tmp_path / "s.zarr")]) == 3
    assert "maelio-hadgem" in capsys.readouterr().err


def test_the_commands_of_a_cache(site: Site, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fetch, list, damage, find, mend, remove: exit codes, text and JSON."""
    url = site.put("a.nc", os.urandom(PART + 1))

    def run(*command: str) -> tuple[int, str]:
        code = main(["cache", *command])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    assert run("ls") == (0, "")
    assert run("verify") == (0, "every file is what was fetched\n")
    assert run("prefetch", url) == (0, "1 file(s) in the cache, 8.0 MiB\n")
    code, listed = run("ls", "--json")
    (entry,) = json.loads(listed)["files"]
    assert (code, entry["url"], entry["size_bytes"]) == (0, url, PART + 1)
    assert run("ls")[1].endswith(f"{own}  {url}\n")

    file = Path(entry["file"])
    file.chmod(0o644)
    content = file.read_bytes()
    file.write_bytes(b"?" + content[1:])
    assert run("verify") == (6, f"{file}: part(s) 0 of 8 MiB damaged; {url}\n")
    assert json.loads(run("verify", "--json")[1].partition("\n}")[0] + "}")["damages"][0]["parts"] == [0]
    assert run("repair") == (0, f"repaired: {file}: part(s) 0 of 8 MiB damaged; {url}\n")
    assert file.read_bytes() == content
    assert run("repair") == (0, "every file is what was fetched\n")

    code, told = run("prune")
    assert (code, "wanted --limit SIZE or --all" in told) == (2, True)
    assert run("prune", "--limit", "1GiB") == (0, "0 file(s), 0 B removed\n")
    assert run("prefetch", "--json", url, "--cache", str(own.parent / "mirror"))[0] == 0
    assert (own.parent / "mirror" / "files").is_dir()


def test_a_cache_is_pruned_of_what_no_process_has(
    site: Site, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "prefetch", "--cache", str(cache.own.folder), site.put("a.nc", bytes(1000))]) == 0
    command = ["cache", "prune", "--all", "--cache", str(cache.own.folder)]
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("1 file(s), 1000 B removed\n")
    assert main([*command[:-1], str(cache.own.folder / "none")]) == 3


def test_other_file_systems_are_read_by_fsspec(cache: Cache) -> None:
    """In parts too; a file that changed is fetched when asked for."""
    memory = fsspec.filesystem("memory")
    content = os.urandom(2 * PART + 3)
    memory.pipe("/cache/a.grib", content)
    (path,) = cache.fetch(["memory://cache/a.grib"])
    assert (path.read_bytes(), path.suffix) == (content, ".grib")
    with pytest.raises(NotFound, match=r"memory://cache/none: no such file"):
        cache.fetch(["memory://cache/none"])


def test_objects_of_a_bucket_are_fetched_in_parts(
    site: Site, cache: Cache, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through s3fs, against a stand-in for S3."""
    pytest.importorskip("s3fs")
    site.put("a.nc", large)
    with serve(site.folder.parent, BucketHandler) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        url = f"s3://{site.folder.name}/a.nc"
        (path,) = cache.fetch([url])
        assert path.read_bytes() == large
        assert bucket.fetched == {f"/{site.folder.name}/a.nc": 4}
        with pytest.raises(NotFound, match=r"none\.nc: no such file"):
            cache.fetch([url.replace("a.nc", "none.nc")])
