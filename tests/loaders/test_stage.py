"""Shards that come ahead of need: from servers that fail, within a limit, for several processes at a time."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest, MaelioError, NotFound, NotPermitted
from maelio.loaders import stage as stage_module
from maelio.loaders import staging
from maelio.loaders.order import Shuffle
from maelio.loaders.stagefolder import StageFolder
from maelio.loaders.stream import stream
from maelio.store import CONTAINERS, Container, open_store
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_stream import loader_threads, rows_of
from tests.web import BucketHandler, Handler, Web, serve


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """40 rows in 8 shards; row r begins with 24 r."""
    return write_store(tmp_path / "web" / "s.zarr", {"fields": field(40, 2, 3, 4)}, Layout(chunks=5))


@pytest.fixture
def web(store: Path) -> Iterator[Web]:
    with serve(store.parent) as server:
        yield server


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses."""
    monkeypatch.setattr(stage_module, "NETWORK_PAUSE_S", 0.001)
    monkeypatch.setattr(staging, "NETWORK_PAUSE_S", 0.001)


class Failing(dict[str, int]):
    """Answers with status 503, `times` times for every path below `part`."""

    def __init__(self, times: int, part: str = "/c/") -> None:
        self.left: dict[str, int] = {}
        self.times, self.part = times, part

    def get(self, path: str, default: Any = None) -> Any:
        self.left[path] = self.left.get(path, self.times) - 1
        return 503 if self.part in path and self.left[path] >= 0 else default


def shards_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/fields/c/**/*") if path.is_file())


Watch = Callable[[staging.Origin, str], None]


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """`watch` is called before a block of a shard is read."""
    read = staging.Origin.read

    def watching(self: staging.Origin, key: str, *arguments: Any) -> bytes:
        if arguments:
            watch(self, key)
        return read(self, key, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging.Origin, "read", watching)
        yield


def test_a_url_streams_like_the_store_behind_it(store: Path, web: Web, tmp_path: Path) -> None:
    """The same batches in the same order; every shard is fetched once, and the next run fetches none."""
    for epochs in (2, 1):
        remote = stream(f"{web.url}/s.zarr", batch_size=6, seed=3, stage=tmp_path / "stage")
        local = stream(store, batch_size=6, seed=3)
        for _ in range(epochs):
            for here, there in zip(local, remote, strict=True):
                np.testing.assert_array_equal(here["fields"].numpy(), there["fields"].numpy())
        assert not loader_threads()
    fetched = {path: count for path, count in web.fetched.items() if "/c/" in path}
    assert set(fetched.values()) == {1}
    assert len(fetched) == 8
    assert remote.state_dict() == local.state_dict()
    assert web.fetched["/s.zarr/zarr.json"] == 2


@settings(deadline=None, max_examples=25)
@given(
    room=st.integers(1, 9),
    shuffle=st.sampled_from(["global", "shards", False]),
    batch_size=st.integers(1, 5),
    codec=st.sampled_from(["none", "lz4"]),
    rows=st.sampled_from([1, 2]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_a_stage_is_never_larger_than_its_limit(
    room: int, shuffle: Shuffle, batch_size: int, codec: Any, rows: int, threads: int, seed: int
) -> None:
    """Whatever the order, and every sample is right, or it is refused before anything is read."""
    used: list[int] = []

    def watch(origin: staging.Origin, key: str) -> None:
        stage = StageFolder(folder / "stage", None)
        with stage.locked():
            used.append(stage.used())

    with TemporaryDirectory() as name, watched(watch):
        folder = Path(name)
        values = {"fields": field(60, 2, 3, 4)}
        path = write_store(folder / "s.zarr", values, Layout(rows, chunks=6 // rows, codec=codec))
        limit = room * max(shard.bytes for _, shard in open_store(path).shard_files())
        options: Any = {"shuffle": shuffle, "seed": seed, "threads": threads, "stage": folder / "stage"}
        try:
            batches = stream(path, batch_size=batch_size, stage_bytes=limit, **options)
        except BadRequest:
            assert shuffle == "shards" or room < batch_size
            assert not used
            return
        for _ in range(2):
            assert sorted(rows_of(batches)) == list(range(60))
        assert max(used) <= limit
        assert all(file.exists() for file, _ in open_store(path).shard_files())


@pytest.mark.parametrize("shuffle", ["shards", False])
@pytest.mark.parametrize(("room", "most"), [(36, 12), (24, 23)])
def test_what_is_needed_last_goes_first(tmp_path: Path, shuffle: Shuffle, room: int, most: int) -> None:
    """With room for so many of 40 shards, a second epoch fetches few more than what has no room."""
    store = write_store(tmp_path / "s.zarr", {"fields": field(80, 2, 3, 4)}, Layout(chunks=2, codec="none"))
    size = next(open_store(store).shard_files())[1].bytes
    fetched: list[str] = []
    with watched(lambda origin, key: fetched.append(key)):
        batches = stream(
            store, batch_size=2, shuffle=shuffle, stage=tmp_path / "stage", stage_bytes=room * size
        )
        for epoch in range(2):
            for _ in batches:
                time.sleep(0.02)  # training: what may come ahead of need does
            if not epoch:
                assert sorted(fetched) == sorted(set(fetched))
                assert len(fetched) == 40
    assert 40 - room <= len(fetched) - 40 <= most


@pytest.mark.parametrize("shuffle", ["global", "shards", False])
@pytest.mark.parametrize("room", [9, 12, 20])
def test_ranks_in_step_never_wait_for_each_other_s_shards(
    tmp_path: Path, shuffle: Shuffle, room: int
) -> None:
    """Neither delivers another batch before the other has, and the stage is small for both: they go on."""
    store = write_store(tmp_path / "s.zarr", {"fields": field(80, 2, 3, 4)}, Layout(chunks=2, codec="none"))
    limit = room * next(open_store(store).shard_files())[1].bytes
    ranks = [
        stream(
            store, batch_size=18, shuffle=shuffle, stage=tmp_path / "stage", stage_bytes=limit,
            rank=rank, world=2,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for _ in range(2):
        together = [rows_of(batches) for batches in zip(*ranks, strict=True)]
        assert sorted(row for rows in together for row in rows) == list(range(80))
    stage = StageFolder(tmp_path / "stage", None)
    with stage.locked():
        assert 0 < stage.used() <= limit


@pytest.mark.usefixtures("fast")
def test_a_server_that_fails_for_a_while_is_asked_again(web: Web, tmp_path: Path) -> None:
    """Status 503 twice for every file, the root too; and connections that break off."""
    web.statuses = Failing(2, "/")
    assert sorted(rows_of(stream(f"{web.url}/s.zarr", batch_size=4, stage=tmp_path / "a"))) == list(range(40))
    batches = stream(f"{web.url}/s.zarr", batch_size=4, stage=tmp_path / "b")
    web.cut = 3
    assert sorted(rows_of(batches)) == list(range(40))
    assert web.cut == 0


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (
            503,
            MaelioError,
            r"the server answers with status 503 \(shard 4 of .*, rows 20 to 24\), tried 3 times",
        ),
        (404, NotFound, r"no such file \(shard 4 of array 'fields', rows 20 to 24\)"),
        (403, NotPermitted, r"may not be read: status 403 \(shard 4 of array 'fields', rows 20 to 24\)"),
    ],
)
def test_a_shard_that_does_not_come_is_named(
    web: Web, tmp_path: Path, status: int, kind: type[MaelioError], says: str
) -> None:
    """URL, shard and rows, in one line, when the batch is due that needs it; it goes on when the server does."""
    web.statuses = {"/s.zarr/fields/c/4/0/0/0": status}
    batches = stream(f"{web.url}/s.zarr", batch_size=5, shuffle=False, retries=2, stage=tmp_path / "stage")
    iterator = iter(batches)
    assert rows_of(next(iterator) for _ in range(4)) == list(range(20))
    with pytest.raises(kind, match=rf"{web.url}/s.zarr/fields/c/4/0/0/0.*{says}") as caught:
        next(iterator)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    del caught, iterator
    assert not loader_threads()
    state = batches.state_dict()
    web.statuses.clear()
    batches.load_state_dict(state)
    assert rows_of(batches) == list(range(20, 40))


@pytest.mark.usefixtures("fast")
def test_a_shard_that_changed_is_no_part_of_the_store(store: Path, web: Web, tmp_path: Path) -> None:
    """Of the same size: its checksum tells; nothing of it stays under its name."""
    shard = store / "fields/c/1/0/0/0"
    batches = stream(f"{web.url}/s.zarr", batch_size=5, shuffle=False, stage=tmp_path / "stage")
    shard.write_bytes(shard.read_bytes()[::-1])
    with pytest.raises(
        BadData, match=r"s.zarr/fields/c/1/0/0/0 \(shard 1 .* 5 to 9\): its crc32c is \w+, the store lists"
    ):
        list(batches)
    assert not [path for path in shards_in(tmp_path / "stage") if path.parts[-4:] == ("1", "0", "0", "0")]
    shard.write_bytes(shard.read_bytes()[::-1])
    assert sorted(rows_of(stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage"))) == list(
        range(40)
    )


def test_a_store_that_was_replaced_is_another_store(store: Path, web: Web, tmp_path: Path) -> None:
    """What was kept of the old one is not read."""
    url = f"{web.url}/s.zarr"
    list(stream(url, batch_size=5, stage=tmp_path / "stage"))
    for file in sorted(store.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    write_store(store, {"fields": field(40, 2, 3, 4)[::-1].copy()}, Layout(chunks=5))
    replaced = stream(url, batch_size=5, shuffle=False, stage=tmp_path / "stage")
    assert rows_of(replaced) == list(range(40))[::-1]


def test_a_kept_shard_that_was_cut_is_fetched_again(web: Web, tmp_path: Path) -> None:
    """Its size tells."""
    url = f"{web.url}/s.zarr"
    list(stream(url, batch_size=5, stage=tmp_path / "stage"))
    kept = shards_in(tmp_path / "stage")
    os.truncate(kept[3], 10)
    assert sorted(rows_of(stream(url, batch_size=5, stage=tmp_path / "stage"))) == list(range(40))
    assert sorted(count for path, count in web.fetched.items() if "/c/" in path) == [1] * 7 + [2]


def test_shards_that_shall_not_stay_go_with_the_stream(web: Web, store: Path, tmp_path: Path) -> None:
    """Those that it fetched; what another run keeps, and the store itself, stay."""
    list(
        stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage", shuffle=False, variables=("v0",))
    )
    kept = shards_in(tmp_path / "stage")
    kept[0].unlink()
    batches = stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage", stage_keep=False)
    list(batches)
    assert len(shards_in(tmp_path / "stage")) == 8
    del batches
    gc.collect()
    assert shards_in(tmp_path / "stage") == kept[1:]
    assert len(shards_in(store.parent)) == 8


class Whole(Handler):
    """A server that knows nothing of ranges."""

    send_head = SimpleHTTPRequestHandler.send_head


def test_a_server_without_ranges_does_too(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends whole shards where blocks are asked for."""
    monkeypatch.setattr(stage_module, "BLOCK_BYTES", 100)
    with serve(store.parent, Whole) as web:
        assert sorted(rows_of(stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage"))) == list(
            range(40)
        )
        assert {count for path, count in web.fetched.items() if "/c/" in path} == {1}


def test_other_file_systems_are_staged_too(store: Path, tmp_path: Path) -> None:
    """By fsspec's names; also where a path is one, because its disk is slow."""
    memory = fsspec.filesystem("memory")
    for file in store.rglob("*"):
        if file.is_file():
            memory.pipe(f"/deep/s.zarr/{file.relative_to(store)}", file.read_bytes())
    for name in ("memory://deep/s.zarr", str(store), f"file://{store}", open_store(store)):
        batches = stream(name, batch_size=5, shuffle=False, stage=tmp_path / str(id(name)), stage_keep=True)
        assert rows_of(batches) == list(range(40))
        assert len(shards_in(tmp_path / str(id(name)))) == 8


@pytest.mark.parametrize("container", CONTAINERS)
def test_levels_of_a_store_behind_a_url_are_known(tmp_path: Path, container: Container) -> None:
    """By their values, in every container; an index beside a shard comes with it."""
    values = np.random.default_rng(0).random((12, 3, 4)).astype("f4")
    level = ("level", [1000.0, 850.0, 500.0], {"axis": "Z", "units": "hPa"})
    coordinates: Any = {"time": np.arange(12), "level": level}
    source = tmp_path / "source.nc"
    xr.Dataset({"t": (("time", "level", "x"), values)}, coordinates).to_netcdf(source)
    convert(source, tmp_path / "web" / "s", Options(format=container, samples="time"))
    with serve(tmp_path / "web") as web:
        batches = stream(
            f"{web.url}/s", batch_size=12, shuffle=False, levels=(850, 500), stage=tmp_path / "stage"
        )
        (batch,) = batches
        (name,) = batch
        np.testing.assert_array_equal(batch[name][:, 0].numpy(), values[:, 1:])


@pytest.mark.slow
def test_objects_of_a_bucket_are_staged(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through s3fs, against a stand-in for S3."""
    with serve(store.parent.parent, BucketHandler) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        batches = stream("s3://web/s.zarr", batch_size=5, stage=tmp_path / "stage")
        assert sorted(rows_of(batches)) == list(range(40))
        with pytest.raises(NotFound, match=r"s3://web/no.zarr: no such store"):
            stream("s3://web/no.zarr", batch_size=5, stage=tmp_path / "stage")


@pytest.mark.parametrize("where", ["inside", "around", "full"])
def test_a_stage_is_a_folder_of_its_own(store: Path, tmp_path: Path, where: str) -> None:
    """Not in a store, not around one, and not where something else is: nothing is written there."""
    folder = {"inside": store / "stage", "around": store.parent, "full": tmp_path / "mine"}[where]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("the only copy")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadRequest, match=r"one lies in the other|holds no stage; name a new or empty folder"):
        stream(store, batch_size=5, stage=folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_url_alone_is_staged_in_the_cache(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of the settings; what is no store of ours behind a URL is nothing to stage."""
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    assert sorted(rows_of(stream(f"{web.url}/s.zarr", batch_size=5))) == list(range(40))
    assert len(shards_in(tmp_path / "cache" / "stage")) == 8
    with pytest.raises(NotFound, match=rf"{web.url}/no.nc"):
        stream(f"{web.url}/no.nc", batch_size=5)
    for options in ({"stage_bytes": 10}, {"samples": "time"}):
        with pytest.raises(BadRequest, match=r"stage_bytes=10 without stage|samples='time'"):
            stream(tmp_path / "web" / "s.zarr", batch_size=5, **options)
    with pytest.raises(BadRequest, match="samples='time': it was chosen"):
        stream(f"{web.url}/s.zarr", batch_size=5, samples="time")


def test_a_url_that_is_no_store_is_named(web: Web, store: Path, tmp_path: Path) -> None:
    """By the URL, without its secrets."""
    with pytest.raises(NotFound, match=rf"{web.url}/no.zarr: no such store"):
        stream(f"{web.url}/no.zarr", batch_size=5, stage=tmp_path / "stage")
    (store / "zarr.json").write_text("{}")
    with pytest.raises(BadData, match=rf"{web.url}/s.zarr is not a maelio store"):
        stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage")


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what would be fetched, and what is free."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(MaelioError, match=r"stage=.*KiB of http.*s.zarr would be fetched, 100 B are free"):
        stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage")
    assert not shards_in(tmp_path / "stage")


def test_leaving_early_ends_what_is_on_its_way(web: Web, tmp_path: Path) -> None:
    """Though the server takes its time; what came is gone on with."""
    batches = stream(f"{web.url}/s.zarr", batch_size=5, stage=tmp_path / "stage")
    web.pause_s = 0.5
    iterator = iter(batches)
    next(iterator)
    begun = time.perf_counter()
    iterator.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - begun < 30
    assert not loader_threads()


STREAM = """
import sys
from maelio import stream
from maelio.loaders import stage
stage.BLOCK_BYTES = 2**14
url, folder = sys.argv[1:3]
batches = stream(url, batch_size=4, stage=folder, **eval(sys.argv[3]))
for epoch in range(2):
    rows = sorted(int(row) for batch in batches for row in batch["fields"][:, 0, 0])
    assert rows == list(range(40)), rows
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """40 rows in 8 shards of 200 kB; row r begins with r."""
    rows = np.random.default_rng(0).random((40, 1, 10_000)).astype("f4")
    rows[:, 0, 0] = np.arange(40)
    return write_store(tmp_path / "web" / "large.zarr", {"fields": rows}, Layout(chunks=5, codec="none"))


WORKERS = """
import sys
from torch.utils.data import DataLoader
from maelio import stream

def rows_of(batches):
    return [int(value) for batch in batches for value in batch["fields"][:, 0, 0]]

if __name__ == "__main__":
    batches = stream(sys.argv[1], batch_size=3, seed=2, stage=sys.argv[2])
    alone = rows_of(batches)
    batches.set_epoch(0)
    assert rows_of(DataLoader(batches, batch_size=None, num_workers=2)) == alone
"""


@pytest.mark.slow
def test_workers_of_a_data_loader_share_a_stage(large: Path, tmp_path: Path) -> None:
    """Forked after this process fetched; the order is the same."""
    with serve(large.parent) as web:
        command = [sys.executable, "-c", WORKERS, f"{web.url}/large.zarr", str(tmp_path / "stage")]
        subprocess.run(command, check=True, timeout=120)


def start(url: str, folder: Path, options: str = "{}") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STREAM, url, str(folder), options], stderr=subprocess.PIPE, text=True
    )


def finish(run: subprocess.Popen[str]) -> None:
    said = run.communicate(timeout=120)[1]
    assert run.returncode == 0, said


@pytest.mark.slow
def test_processes_share_what_is_staged(large: Path, tmp_path: Path) -> None:
    """Each shard is fetched once for both, each block of it."""
    with serve(large.parent) as web:
        runs = [start(f"{web.url}/large.zarr", tmp_path / "stage", f"dict(seed={seed})") for seed in (0, 1)]
        for run in runs:
            finish(run)
        blocks = -(-next(open_store(large).shard_files())[1].bytes // 2**14)
        assert {count for path, count in web.fetched.items() if "/c/" in path} == {blocks}


@pytest.mark.slow
def test_processes_share_a_stage_that_is_small(large: Path, tmp_path: Path) -> None:
    """Room for 4 of 8 shards, and two that want others: both come to their end."""
    size = next(open_store(large).shard_files())[1].bytes
    with serve(large.parent) as web:
        options = f"dict(stage_bytes={4 * size}, shuffle=False, %s)"
        runs = [
            start(f"{web.url}/large.zarr", tmp_path / "stage", options % each)
            for each in ("threads=1", "rank=0, world=1")
        ]
        for run in runs:
            finish(run)
    stage = StageFolder(tmp_path / "stage", None)
    assert 0 < stage.used() <= 4 * size


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_parts_that_the_next_one_goes_on_with(
    large: Path, tmp_path: Path
) -> None:
    """No half shard under a whole one's name; blocks that came are not fetched again."""
    with serve(large.parent) as web:
        web.pause_s = 0.15
        run = start(f"{web.url}/large.zarr", tmp_path / "stage")
        while sum(web.fetched.values()) < 40:
            time.sleep(0.01)
            assert run.poll() is None, run.communicate()[1]
        run.send_signal(signal.SIGKILL)
        run.communicate()
        staged = shards_in(tmp_path / "stage")
        parts = [path for path in staged if path.suffix == ".part"]
        sizes = {file: shard.bytes for file, shard in open_store(large).shard_files()}
        assert parts
        for path in set(staged) - set(parts):
            assert path.stat().st_size in sizes.values()
        came = sum(path.stat().st_size for path in parts)
        assert came > 0
        web.pause_s = 0
        before = sum(web.fetched.values())
        run = start(f"{web.url}/large.zarr", tmp_path / "stage")
        finish(run)
        whole = sum(path.stat().st_size for path in set(staged) - set(parts))
        left = sum(sizes.values()) - came - whole
        assert sum(web.fetched.values()) - before <= left / 2**14 + 8 + 1
        assert not [path for path in shards_in(tmp_path / "stage") if path.suffix == ".part"]
