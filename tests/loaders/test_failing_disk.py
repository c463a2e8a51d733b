"""A disk that fails, for a while or for good, and files that change under a stream."""

import ctypes
import errno
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maelio.errors import BadData
from maelio.loaders import shardfile
from maelio.loaders.rows import Ask
from maelio.loaders.shardfile import Patience, Stopped
from maelio.loaders.shards import Shards
from maelio.loaders.stream import stream
from maelio.store import open_store
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_shards import first_shard
from tests.loaders.test_stream import loader_threads, rows_of

Fail = Callable[[int], bool]


class FailingDisk:
    """The kernel's calls, of which those fail for which `fails` says so of their number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Fail) -> None:
        self.calls = 0
        self._fails = fails
        self._preadv, self._madvise = os.preadv, shardfile._libc.madvise
        monkeypatch.setattr(os, "preadv", self.preadv)
        monkeypatch.setattr(shardfile, "_libc", self)
        monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)

    def preadv(self, *arguments: Any) -> int:
        self.calls += 1
        if self._fails(self.calls):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._preadv(*arguments)

    def mincore(self, address: int, length: int, found: Any) -> int:
        """Nothing is in memory."""
        ctypes.memset(found, 0, -(-length // mmap.PAGESIZE))
        return 0

    def madvise(self, *arguments: Any) -> int:
        if arguments[2] == mmap.MADV_WILLNEED:  # nobody waits for it, nor hears of it
            return 0
        self.calls += 1
        if self._fails(self.calls):
            return -1
        done: int = self._madvise(*arguments)
        return done


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses."""
    monkeypatch.setattr("maelio.loaders.stream.Patience", lambda retries: Patience(retries, pause_s=0.001))


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_read_that_fails_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Any, rows: int
) -> None:
    """Two of three calls fail: nobody notices."""
    write_store(tmp_path, {"fields": field(20, 2, 3, 4)}, Layout(rows=rows, codec=codec))
    batches = stream(tmp_path, batch_size=6, threads=1)
    disk = FailingDisk(monkeypatch, lambda call: call % 3 != 0)
    assert sorted(rows_of(batches)) == list(range(20))
    assert disk.calls >= 3 * 20 / rows


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_disk_that_fails_half_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Any, rows: int
) -> None:
    """File, chunk, rows and bytes, in one line; no thread stays, and it goes on when the disk does."""
    write_store(tmp_path, {"fields": field(20, 2, 3, 4)}, Layout(rows=rows, chunks=20 // rows, codec=codec))
    batches = stream(tmp_path, batch_size=4, threads=2, shuffle=False, retries=2)
    iterator = iter(batches)
    seen = rows_of([next(iterator)])
    broken = [True]
    FailingDisk(monkeypatch, lambda call: broken[0])
    where = r"row \d+" if rows == 1 else r"rows \d+ to \d+"
    says = rf"{first_shard(tmp_path)}, chunk .* of array 'fields' \({where}\), at byte .*: "
    with pytest.raises(
        BadData, match=says + r"bytes .* cannot be read, tried 3 times: Input/output error"
    ) as caught:
        seen += rows_of(iterator)
    assert "\n" not in str(caught.value)
    state = batches.state_dict()
    del caught, iterator
    assert not loader_threads()
    broken[0] = False
    batches.load_state_dict(state)
    consumed = rows_of(batches)
    assert consumed[-1] == 19
    assert state["samples"] == consumed[0]


def test_pauses_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By 0.02, 0.04 and 0.08 s, then it is given up."""
    write_store(tmp_path, {"fields": field(4, 2, 3)}, Layout(codec="none"))
    shards = Shards(open_store(tmp_path), "fields", patience=Patience(3, pause_s=0.02))
    disk = FailingDisk(monkeypatch, lambda call: True)
    start = time.perf_counter()
    with pytest.raises(BadData, match="tried 4 times"):
        shards.read([Ask(np.array([0]), np.empty((1, 2, 3), "f4"))])
    assert time.perf_counter() - start >= 0.14
    assert disk.calls == 4


def test_nobody_waits_for_a_disk_once_the_loop_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause of an hour ends when the stream is left."""
    write_store(tmp_path, {"fields": field(4, 2, 3)}, Layout(codec="none"))
    shards = Shards(open_store(tmp_path), "fields", patience=Patience(3, pause_s=3600))
    FailingDisk(monkeypatch, lambda call: True)
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        shards.read([Ask(np.array([0]), np.empty((1, 2, 3), "f4"))], stop=stop)


def test_a_shard_that_is_gone_before_it_is_opened_is_named(tmp_path: Path) -> None:
    """By the first batch."""
    write_store(tmp_path, {"fields": field(20, 2, 3, 4)})
    batches = stream(tmp_path, batch_size=4)
    gone = first_shard(tmp_path)
    gone.unlink()
    with pytest.raises(BadData, match=f"{gone} is missing"):
        next(iter(batches))


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_shard_deleted_while_streaming_is_named_unless_it_is_open(tmp_path: Path, codec: Any) -> None:
    """What was read once goes on: rows 0 to 9 lie in the first shard. A new stream names it before it reads."""
    write_store(tmp_path, {"fields": field(40, 2, 3, 4)}, Layout(codec=codec, chunks=10))
    batches = stream(tmp_path, batch_size=2, shuffle=False, threads=1, read_ahead=0)  # which opens shards too
    iterator = iter(batches)
    seen = rows_of([next(iterator)])
    for number in (0, 3):
        (tmp_path / f"fields/c/{number}/0/0/0").unlink()
    with pytest.raises(BadData, match=f"{tmp_path}/fields/c/3/0/0/0 is missing"):
        seen.extend(row for batch in iterator for row in rows_of([batch]))
    assert seen == list(range(30))
    with pytest.raises(BadData, match=f"{tmp_path}/fields/c/0/0/0/0 is missing"):
        next(iter(stream(tmp_path, batch_size=2)))


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_shards_cut_short_while_streaming_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Any
) -> None:
    """At once: to try again would not help. They are cut between two reads, by the thread that reads."""
    random = np.random.default_rng(0)
    write_store(tmp_path, {"fields": random.random((20, 2, 3000))}, Layout(codec=codec))
    batches = stream(tmp_path, batch_size=4, shuffle=False, threads=1, retries=1000)

    def cut(call: int) -> bool:
        for file in tmp_path.glob("fields/c/*/0/0") if call == 8 else ():
            os.truncate(file, 10_000)
        return False

    FailingDisk(monkeypatch, cut)
    with pytest.raises(BadData, match=r"/fields/c/\d+/0/0, chunk \d+ .*: ends at byte .* too early"):
        list(batches)
