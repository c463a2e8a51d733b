"""Sources behind URLs: they come through the cache, and the store notes what their servers said."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cache.remotes import revision_of
from maelio.cli import main
from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.export import export
from maelio.converters.options import Options
from maelio.converters.origin import origin_of
from maelio.converters.remote import place, staging
from maelio.errors import BadData, BadRequest, MaelioError, Missing, NotFound, NotPermitted, Offline
from maelio.urls import public
from tests.converters.netcdf_files import write_netcdf
from tests.web import BucketHandler, Web, serve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own, of each test."""
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, field: NDArray[np.float32]) -> Path:
    """What the server has: a.nc and b.nc follow each other in time."""
    (tmp_path / "web").mkdir()
    for number, name in enumerate(("a.nc", "b.nc")):
        write_netcdf(tmp_path / "web" / name, {"t": field + 1000 * number}, first=24 * number)
    return tmp_path / "web"


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with serve(folder) as server:
        yield server


def test_urls_convert_like_the_files_behind_them(web: Web, folder: Path, tmp_path: Path) -> None:
    """The store names the URLs, with size, time and tag; the links are gone."""
    store = convert([f"{web.url}/a.nc", f"{web.url}/b.nc"], tmp_path / "s.zarr")
    assert compare([folder / "a.nc", folder / "b.nc"], store.path) == []
    first = store.contents.sources[0]
    stat = (folder / "a.nc").stat()
    assert (first.path, first.bytes, first.etag) == (
        f"{web.url}/a.nc",
        stat.st_size,
        f'"{stat.st_mtime_ns:x}"',
    )
    assert first.modified_ns == stat.st_mtime_ns // 10**9 * 10**9
    assert not staging(store.path).exists()


def test_urls_are_exported_too(web: Web, folder: Path, tmp_path: Path) -> None:
    """To one NetCDF file; the links are gone."""
    export(f"{web.url}/*.nc", tmp_path / "all.nc")
    assert compare([folder / "a.nc", folder / "b.nc"], tmp_path / "all.nc") == []
    assert not staging(tmp_path / "all.nc").exists()


def test_a_pattern_is_matched_where_the_server_lists(web: Web, folder: Path, tmp_path: Path) -> None:
    """Sorted by name, like files."""
    store = convert(f"{web.url}/*.nc", tmp_path / "s.zarr")
    assert [source.path for source in store.contents.sources] == [f"{web.url}/a.nc", f"{web.url}/b.nc"]
    with pytest.raises(NotFound, match=r"/\*\.grib: no file matches"):
        convert(f"{web.url}/*.grib", tmp_path / "other.zarr")


def test_a_dry_run_fetches_for_the_run_that_follows(web: Web, tmp_path: Path) -> None:
    """Its plan needs the headers. Every run asks for a byte, whether the server has the same."""
    urls = [f"{web.url}/a.nc", f"{web.url}/b.nc"]
    plan = plan_conversion(urls, tmp_path / "s.zarr")
    assert plan.samples.count == 48
    links = sorted(staging(tmp_path / "s.zarr").rglob("*.nc"), key=lambda path: path.name)
    assert [link.name for link in links] == ["a.nc", "b.nc"]
    before = [link.stat() for link in links]
    convert(urls, tmp_path / "s.zarr")
    convert(urls, tmp_path / "other.zarr")
    assert web.fetched == {"/a.nc": 3, "/b.nc": 3}
    assert [os.path.exists(link) for link in links] == [False, False]
    plan_conversion(urls, tmp_path / "third.zarr")
    again = sorted(staging(tmp_path / "third.zarr").rglob("*.nc"), key=lambda path: path.name)
    assert [link.stat().st_ino for link in again] == [stat.st_ino for stat in before]


def test_what_is_in_the_cache_converts_without_a_network(
    web: Web, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is not is told at once; nobody can match a pattern."""
    convert(f"{web.url}/a.nc", tmp_path / "online.zarr")
    web.fetched.clear()
    monkeypatch.setenv("MAELIO_OFFLINE", "1")
    assert compare(folder / "a.nc", convert(f"{web.url}/a.nc", tmp_path / "s.zarr").path) == []
    with pytest.raises(Offline, match=r"1 file\(s\) are in no cache: .*/b\.nc; .*maelio cache prefetch"):
        convert([f"{web.url}/a.nc", f"{web.url}/b.nc"], tmp_path / "other.zarr")
    with pytest.raises(Offline, match=r"only its server knows what matches .*/\*\.nc"):
        convert(f"{web.url}/*.nc", tmp_path / "other.zarr")
    assert not web.fetched


def test_a_server_that_is_gone_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """What is in the cache is converted, with a warning."""
    with serve(folder) as web:
        convert(f"{web.url}/a.nc", tmp_path / "s.zarr")
    assert compare(folder / "a.nc", convert(f"{web.url}/a.nc", tmp_path / "other.zarr").path) == []


def test_a_mirror_is_not_asked_about(
    web: Web, folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has is used, whatever the server has by now."""
    convert(f"{web.url}/a.nc", tmp_path / "s.zarr")
    monkeypatch.setenv("MAELIO_MIRRORS", str(cache))
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "own"))
    (folder / "a.nc").write_bytes(b"something else")
    web.fetched.clear()
    assert compare(tmp_path / "s.zarr", convert(f"{web.url}/a.nc", tmp_path / "other.zarr").path) == []
    assert not web.fetched


def test_a_file_that_changed_is_fetched_again(
    web: Web, folder: Path, tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """Of the same size, and by its tag alone."""
    plan_conversion(f"{web.url}/a.nc", tmp_path / "s.zarr")
    stat = (folder / "a.nc").stat()
    write_netcdf(folder / "a.nc", {"t": field + 7})
    assert (folder / "a.nc").stat().st_size == stat.st_size
    store = convert(f"{web.url}/a.nc", tmp_path / "s.zarr")
    assert compare(folder / "a.nc", store.path) == []


CONVERT = "import sys; from maelio.cli import main; sys.exit(main(['convert', *sys.argv[1:]]))"


def test_a_conversion_that_was_killed_while_it_fetched_goes_on(
    web: Web, folder: Path, tmp_path: Path
) -> None:
    """The file that was there is not fetched again, and the one on its way is taken up."""
    big = np.random.default_rng(0).random((24, 400, 400)).astype(np.float32)
    write_netcdf(folder / "c.nc", {"t": big}, first=24)
    write_netcdf(folder / "a.nc", {"t": big[:, ::-1]})
    target = tmp_path / "s.zarr"
    plan_conversion(f"{web.url}/a.nc", target)
    web.fetched.clear()
    web.pause_s = 1.0
    urls = [f"{web.url}/a.nc", f"{web.url}/c.nc"]
    process = subprocess.Popen([sys.executable, "-c", CONVERT, *urls, str(target)])
    try:
        wait_for(lambda: web.fetched["/c.nc"] > 0, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    web.pause_s = 0.0
    store = convert(urls, target)
    assert compare([folder / "a.nc", folder / "c.nc"], store.path) == []
    assert web.fetched["/a.nc"] <= 2
    assert not staging(target).exists()


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)


def test_a_file_that_breaks_off_is_fetched_again(web: Web, folder: Path, tmp_path: Path) -> None:
    """By the cache, which does so until its patience ends."""
    web.cut = 1
    assert compare(folder / "a.nc", convert(f"{web.url}/a.nc", tmp_path / "s.zarr").path) == []
    assert web.fetched == {"/a.nc": 2}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, 3, "no such file"),
        (403, 4, "may not be read"),
        (401, 4, "may not be read"),
        (500, 1, "status 500"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, code: int, words: str
) -> None:
    """With the URL and the right exit code; nothing is left behind."""
    web.statuses["/a.nc"] = status
    assert main(["convert", f"{web.url}/a.nc", str(tmp_path / "s.zarr")]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{web.url}/a.nc" in line
    assert words in line
    assert not list(tmp_path.glob("s.zarr*"))


def test_a_server_that_is_not_there_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(folder) as gone:
        url = f"{gone.url}/a.nc"
    assert main(["convert", url, str(tmp_path / "s.zarr")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"maelio: {url} cannot be fetched: ")


def test_one_file_that_is_missing_does_not_waste_the_others(web: Web, folder: Path, tmp_path: Path) -> None:
    """What was fetched before is there for the next run."""
    plan_conversion(f"{web.url}/a.nc", tmp_path / "s.zarr")
    with pytest.raises(NotFound, match=r"/no\.nc: no such file"):
        convert([f"{web.url}/a.nc", f"{web.url}/no.nc"], tmp_path / "s.zarr")
    web.fetched.clear()
    convert([f"{web.url}/a.nc", f"{web.url}/b.nc"], tmp_path / "s.zarr")
    assert web.fetched == {"/a.nc": 1, "/b.nc": 1}  # of the first a byte, to see that it is the same


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path) -> None:
    """By the sizes that the file system knows."""
    memory = fsspec.filesystem("memory")

    class Huge(type(memory)):  # type: ignore[misc]  # fsspec ships no types
        protocol = "huge"

        def info(self, path: str, **_: object) -> dict[str, object]:
            return {"name": path, "size": 2**60, "type": "file"}

    fsspec.register_implementation("huge", Huge, clobber=True)
    with pytest.raises(MaelioError, match=r"1073741824\.0 GiB would be fetched, .*cache has room for .* GiB"):
        convert("huge://a.nc", tmp_path / "s.zarr")
    assert not list(tmp_path.glob("s.zarr*"))


def test_other_file_systems_and_one_in_another(web: Web, folder: Path, tmp_path: Path) -> None:
    """Memory, file://, and members of an archive behind HTTP by a pattern."""
    fsspec.filesystem("memory").pipe("/maelio/a.nc", (folder / "a.nc").read_bytes())
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name in ("a.nc", "b.nc"):
            archive.write(folder / name, f"in/{name}")
    for number, source in enumerate(
        ("memory://maelio/a.nc", f"file://{folder}/a.nc", f"file://{folder}/a*.nc")
    ):
        assert compare(folder / "a.nc", convert(source, tmp_path / f"{number}.zarr").path) == []
    store = convert(f"zip://in/*.nc::{web.url}/all.zip", tmp_path / "zip.zarr")
    assert compare([folder / "a.nc", folder / "b.nc"], store.path) == []
    assert store.contents.sources[1].path == f"zip://in/b.nc::{web.url}/all.zip"


@pytest.mark.slow
def test_objects_of_a_bucket_convert(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: NDArray[np.float32]
) -> None:
    """Through s3fs against a stand-in for S3: a pattern, tags and times; a group in place; and no such key."""
    with xr.open_dataset(folder / "a.nc") as dataset:
        plain = dataset.load().drop_encoding()
    plain.to_zarr(folder / "deep" / "group", zarr_format=2, consolidated=False)
    with serve(folder.parent, BucketHandler) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        store = convert("s3://web/*.nc", tmp_path / "s.zarr")
        assert compare([folder / "a.nc", folder / "b.nc"], store.path) == []
        first = store.contents.sources[0]
        stat = (folder / "a.nc").stat()
        assert (first.path, first.bytes, first.etag) == (
            "s3://web/a.nc",
            stat.st_size,
            f'"{stat.st_mtime_ns:x}"',
        )
        assert first.modified_ns == int(stat.st_mtime) * 10**9
        with xr.open_dataset(
            convert("s3://web/deep/group", tmp_path / "g.zarr").path, engine="maelio"
        ) as found:
            xr.testing.assert_identical(found.load(), plain)
        with pytest.raises(NotFound, match=r"s3://web/no\.nc: no such file"):
            convert("s3://web/no.nc", tmp_path / "other.zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_group_is_read_where_it_is(web: Web, folder: Path, tmp_path: Path, version: int) -> None:
    """Over HTTP, out of memory and out of an archive; only its metadata is fetched."""
    with xr.open_dataset(folder / "a.nc") as dataset:
        plain = dataset.load().drop_encoding()
    plain.to_zarr(folder / "g.zarr", zarr_format=version, consolidated=version == 2)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder / "g.zarr"), f"/maelio/{version}", recursive=True)
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        for path in sorted((folder / "g.zarr").rglob("*")):
            archive.write(path, path.relative_to(folder))
    urls = (f"{web.url}/g.zarr", f"memory://maelio/{version}", f"zip://g.zarr::file://{tmp_path}/g.zip")
    for number, url in enumerate(urls):
        store = convert(url, tmp_path / f"{number}.zarr", Options(shard_bytes=2000))
        with xr.open_dataset(store.path, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), plain)
        assert store.contents.sources[0].path == url
        assert str(store.contents.sources[0].etag).startswith("crc32c:")
        assert compare(url, store.path) == []


def test_references_to_bytes_of_other_files_are_a_zarr_group(tmp_path: Path) -> None:
    """As kerchunk writes them, through fsspec's own file system for them."""
    field = np.arange(12, dtype="<f4").reshape(6, 2)
    (tmp_path / "raw.dat").write_bytes(field.tobytes())
    metadata = {"zarr_format": 2, "shape": [6, 2], "chunks": [3, 2], "dtype": "<f4", "order": "C"}
    references = {
        ".zgroup": json.dumps({"zarr_format": 2}),
        "t/.zarray": json.dumps({**metadata, "compressor": None, "filters": None, "fill_value": None}),
        "t/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": ["time", "x"]}),
        "t/0.0": [f"file://{tmp_path}/raw.dat", 0, 24],
        "t/1.0": [f"file://{tmp_path}/raw.dat", 24, 24],
    }
    (tmp_path / "refs.json").write_text(json.dumps({"version": 1, "refs": references}))
    url = f"reference://::file://{tmp_path}/refs.json"
    store = convert(url, tmp_path / "s.zarr", Options(samples="time"))
    with xr.open_dataset(store.path, engine="maelio") as found:
        np.testing.assert_array_equal(found["t"], field)


def test_ctrl_c_while_fetching_is_one_line(web: Web, folder: Path, tmp_path: Path) -> None:
    """With 130, and what to do."""
    write_netcdf(folder / "c.nc", {"t": np.random.default_rng(0).random((24, 200, 200)).astype(np.float32)})
    web.pause_s = 0.2
    target = tmp_path / "s.zarr"
    process = subprocess.Popen(
        [sys.executable, "-c", CONVERT, f"{web.url}/c.nc", str(target)], stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: web.fetched["/c.nc"] > 0, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    *before, last = errors.splitlines()
    assert last == "maelio: interrupted; the same command goes on from here"
    assert [line.startswith("fetching 1 source(s), 3.") for line in before] == [True]


def test_a_group_in_a_zarr_group_is_read_where_it_is(web: Web, folder: Path, tmp_path: Path) -> None:
    """By its path, or by the option."""
    with xr.open_dataset(folder / "a.nc") as dataset:
        plain = dataset.load().drop_encoding()
    plain.to_zarr(folder / "g.zarr", group="sub/deep", zarr_format=3, consolidated=False)
    for number, (url, group) in enumerate([("g.zarr/sub/deep", ""), ("g.zarr", "sub/deep")]):
        store = convert(f"{web.url}/{url}", tmp_path / f"{number}.zarr", Options(group=group))
        with xr.open_dataset(store.path, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), plain)


def test_a_chunk_that_is_forbidden_is_no_missing_chunk(web: Web, folder: Path, tmp_path: Path) -> None:
    """A missing one reads as the fill value; this one ends the conversion."""
    with xr.open_dataset(folder / "a.nc") as dataset:
        dataset.load().drop_encoding().to_zarr(folder / "g.zarr", zarr_format=3, consolidated=False)
    web.statuses["/g.zarr/t/c/0/0/0"] = 403
    with pytest.raises(NotPermitted, match=r"/g\.zarr: variable 't' may not be read: status 403"):
        convert(f"{web.url}/g.zarr", tmp_path / "s.zarr")


def test_a_zarr_group_that_the_server_does_not_list_needs_consolidated_metadata(
    web: Web, folder: Path, tmp_path: Path
) -> None:
    """Without either, nobody knows what is in it."""
    with xr.open_dataset(folder / "a.nc") as dataset:
        plain = dataset.load().drop_encoding()
    for name in ("plain.zarr", "consolidated.zarr"):
        plain.to_zarr(folder / name, zarr_format=2, consolidated=name == "consolidated.zarr")
        web.statuses[f"/{name}/"] = web.statuses[f"/{name}"] = 404
    assert convert(f"{web.url}/consolidated.zarr", tmp_path / "s.zarr").samples == 24
    with pytest.raises(
        BadData, match=r"plain\.zarr: no arrays; a server that lists no folders needs consolidated"
    ):
        convert(f"{web.url}/plain.zarr", tmp_path / "other.zarr")


def test_a_folder_a_store_and_an_unknown_protocol_are_refused(folder: Path, tmp_path: Path) -> None:
    """Each with one line that says what to do."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/folder/a.nc", (folder / "a.nc").read_bytes())
    with pytest.raises(BadData, match=r"memory://folder is a folder, no Zarr group; .*memory://folder/\*"):
        convert("memory://folder", tmp_path / "s.zarr")
    store = convert(folder / "a.nc", tmp_path / "own.zarr")
    memory.put(str(store.path), "/own", recursive=True)
    with pytest.raises(BadRequest, match="memory://own is a store of maelio: copy it here"):
        convert("memory://own", tmp_path / "s.zarr")
    with pytest.raises(BadRequest, match=r"nowhere://a\.nc: Protocol not known"):
        convert("nowhere://a.nc", tmp_path / "s.zarr")
    assert not list(tmp_path.glob("s.zarr*"))


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """The implementation of a protocol may need one."""
    fsspec.register_implementation(
        "needy", "no_such_package.FileSystem", clobber=True, errtxt="Install no_such_package to access it"
    )
    with pytest.raises(Missing, match=r"needy://a\.nc cannot be read: Install no_such_package") as refused:
        convert("needy://a.nc", tmp_path / "s.zarr")
    assert refused.value.exit_code == 5


def test_a_folder_of_somebody_else_is_not_written_into(web: Web, tmp_path: Path) -> None:
    folder = staging(tmp_path / "s.zarr")
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(BadRequest, match=r"s\.zarr\.sources is in the way"):
        convert(f"{web.url}/a.nc", tmp_path / "s.zarr")
    assert (folder / "diary.txt").read_text() == "mine"


def test_secrets_of_a_url_are_not_kept(folder: Path, tmp_path: Path, web: Web) -> None:
    """Neither in the store nor in names of files."""
    url = f"{web.url}/a.nc?X-Amz-Signature=deadbeef&part=1"
    store = convert(url, tmp_path / "s.zarr")
    assert store.contents.sources[0].path == f"{web.url}/a.nc?X-Amz-Signature=...&part=1"
    assert public("https://me:pass@host/a.nc") == "https://host/a.nc"
    assert public("zip://a.nc::https://host/x.zip?token=abc") == "zip://a.nc::https://host/x.zip?token=..."


words = st.text(st.sampled_from("ab./:%?=&*"), max_size=12)


@given(words, words)
def test_places_lie_within_the_folder(one: str, other: str) -> None:
    """Whatever a URL looks like."""
    for url in (f"s3://{one}/{other}", f"zip://{one}::https://host/{other}"):
        parts = place(url).parts
        assert parts
        assert ".." not in parts
        assert not place(url).is_absolute()


TIME = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": TIME},
        {"Last-Modified": "Thu, 02 Jan 2020 03:04:05 GMT"},
        {"last_modified": "2020-01-02T03:04:05Z"},
        {"mtime": TIME.timestamp()},
        {"created": TIME},
        {"LastModified": TIME.replace(tzinfo=None)},
    ],
)
def test_times_are_understood_in_every_form(info: dict[str, object]) -> None:
    """S3, HTTP, Azure, SFTP and memory write them differently."""
    assert origin_of("x://y", revision_of(info)).modified_ns == 1577934245 * 10**9
    assert origin_of("x://y", revision_of({"mtime": "yesterday"})).modified_ns is None


def test_inspect_shows_what_is_known(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that says nothing about a file leaves those columns empty."""
    convert(f"{web.url}/a.nc", tmp_path / "s.zarr")
    assert main(["inspect", str(tmp_path / "s.zarr"), "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert source["path"] == f"{web.url}/a.nc"
    assert source["etag"]
    assert os.path.exists(tmp_path / "s.zarr")
