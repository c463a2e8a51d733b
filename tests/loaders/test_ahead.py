"""What is asked of a disk before it is needed: the right bytes, not too many, and nothing where no disk is."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.benchmarks.peers.pagecache import _resident, evict
from maelio.loaders.ahead import Disk, Range, ReadAhead
from maelio.loaders.shardfile import ShardFile
from maelio.loaders.stream import Stream, stream
from maelio.loaders.tiles import Tiles
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_stream import loader_threads, rows_of

Batches = list[tuple[int, NDArray[np.int64]]]

DEADLINE_S = 60.0
AWAY = 2**40  # read-ahead that no test reaches


def numbered(sizes: Sequence[int]) -> Batches:
    """Batches, each of one sample: its size in bytes."""
    return [(number, np.array([size])) for number, size in enumerate(sizes)]


class Asked:
    """Says what a batch takes, and remembers what was asked."""

    def __init__(self) -> None:
        self.planned: list[int] = []
        self.asked: list[int] = []

    def ranges(self, samples: NDArray[np.int64]) -> list[Range]:
        self.planned += samples.tolist()
        return [Range(self.ask, 0, 0, size) for size in samples.tolist()]

    def ask(self, shard: int, offset: int, length: int) -> None:
        self.asked.append(length)


@given(sizes=st.lists(st.integers(0, 50), max_size=30), limit=st.integers(0, 120), reads=st.data())
def test_batches_come_in_order_and_no_more_than_the_limit_is_ahead(
    sizes: list[int], limit: int, reads: st.DataObject
) -> None:
    """Whenever the disk is needed; each batch is asked for once, or never."""
    asked, stop = Asked(), threading.Event()
    ahead = ReadAhead(asked.ranges, limit, Disk(lambda: reads.draw(st.integers(0, 1))), stop)
    seen: list[int] = []
    for _, samples in ahead.before(numbered(sizes)):
        seen += samples.tolist()
        beyond = asked.planned[:-1] if asked.planned else []
        assert sum(beyond) - sum(seen[:-1]) < max(limit, 1)
    stop.set()
    ahead.close(wait=True)
    assert seen == sizes
    assert limit or not asked.planned


def test_the_disk_is_asked_for_all_while_it_is_needed() -> None:
    """In the order of the batches, each before it is delivered."""
    asked, stop, reads = Asked(), threading.Event(), iter(range(100))
    ahead = ReadAhead(asked.ranges, 3, Disk(lambda: next(reads)), stop)
    for number, _ in ahead.before(numbered([1] * 10)):
        assert len(asked.planned) == min(number + 3, 10)
    assert ahead._thread is not None
    ahead._thread.shutdown(wait=True)
    assert asked.asked == [1] * 10


def test_batches_that_take_nothing_are_not_all_looked_at() -> None:
    """What is held decoded is not asked for, and an epoch may be long."""
    asked, reads = Asked(), iter(range(1000))
    ahead = ReadAhead(asked.ranges, 1, Disk(lambda: next(reads)), threading.Event())
    for number, _ in ahead.before(numbered([0] * 500)):
        assert len(asked.planned) <= number + 64
    ahead.close(wait=True)


def test_a_disk_that_is_not_read_from_is_not_asked_for_long() -> None:
    """Eight batches more, and again once something was read."""
    counts = iter([5] * 20 + [6] * 20)
    disk = Disk(lambda: next(counts))
    assert [disk.needed() for _ in range(40)] == ([True] * 8 + [False] * 12) * 2


def test_what_fails_in_the_thread_that_asks_reaches_the_loop() -> None:
    """A fault of ours is not left with a thread."""

    def fault(shard: int, offset: int, length: int) -> None:
        raise ZeroDivisionError

    reads = iter(range(100))
    ahead = ReadAhead(
        lambda samples: [Range(fault, 0, 0, 1)], 1, Disk(lambda: next(reads)), threading.Event()
    )
    coming = ahead.before(numbered([1] * 10))
    next(coming)
    assert ahead._asked is not None
    assert ahead._asked.exception(DEADLINE_S)
    with pytest.raises(ZeroDivisionError):
        list(coming)
    ahead.close(wait=True)


@pytest.fixture
def read() -> Iterator[set[int]]:
    """Which bytes of a shard are read: of one alone."""
    with pytest.MonkeyPatch.context() as patch:
        yield bytes_read(patch)


def bytes_read(patch: pytest.MonkeyPatch) -> set[int]:
    read: set[int] = set()
    fetch, read_into = ShardFile.fetch, ShardFile.read_into

    def fetches(file: ShardFile, offset: int, length: int, *stop: Any) -> memoryview:
        read.update(range(offset, offset + length))
        return fetch(file, offset, length, *stop)

    def reads(file: ShardFile, offset: int, out: memoryview, *stop: Any) -> None:
        read.update(range(offset, offset + len(out)))
        read_into(file, offset, out, *stop)

    patch.setattr(ShardFile, "fetch", fetches)
    patch.setattr(ShardFile, "read_into", reads)
    return read


def bytes_coming(batches: Stream) -> set[int]:
    """What all batches of an epoch ask for."""
    ranges = batches._opened().coming(np.arange(batches.samples))
    return {byte for each in ranges for byte in range(each.offset, each.offset + each.length)}


@settings(deadline=None, max_examples=60)
@given(
    layout=st.builds(
        Layout,
        rows=st.integers(1, 3),
        width=st.integers(1, 4),
        chunks=st.just(12),
        codec=st.sampled_from(["none", "lz4"]),
        length=st.sampled_from([None, 2]),
    ),
    variables=st.sampled_from([None, ("v1",), ("v3", "v0")]),
    crop=st.sampled_from([{}, {"d0": slice(1, 3)}, {"d1": slice(0, 2)}]),
    steps=st.sampled_from([(0,), (-1, 1)]),
    batch_size=st.integers(1, 5),
    verify=st.sampled_from(["never", "always"]),
)
def test_what_is_read_was_asked_for_and_nothing_else(
    layout: Layout, variables: Any, crop: Any, steps: tuple[int, ...], batch_size: int, verify: Any
) -> None:
    """Byte by byte, whatever part of the rows is delivered."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = write_store(Path(folder), {"fields": field(12, 4, 4, 3)}, layout)
        batches = stream(
            path,
            batch_size=batch_size,
            window=steps,
            variables=variables,
            crop=crop,
            verify=verify,
            threads=2,
        )
        coming, read = bytes_coming(batches), bytes_read(patch)
        for _ in batches:
            pass
        assert coming == read


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("crop", [{"d0": 2}, {"d0": Tiles(2)}])
def test_of_windows_that_are_drawn_whole_chunks_are_asked_for_or_nothing(
    tmp_path: Path, codec: Any, crop: Any, read: set[int]
) -> None:
    """Without codec their bytes are read alone, and are others each time."""
    write_store(tmp_path, {"fields": field(12, 4, 4, 3)}, Layout(codec=codec, chunks=12))
    batches = stream(tmp_path, batch_size=4, crop=crop, verify="never")
    coming = bytes_coming(batches)
    assert len(list(batches)) == len(batches)
    assert coming == (set() if codec == "none" else read)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("read_ahead", [0, 1, 1000, AWAY])
def test_batches_are_the_same_whatever_is_asked_for(tmp_path: Path, rows: int, read_ahead: int) -> None:
    """And no thread stays."""
    write_store(tmp_path, {"fields": field(40, 2, 3, 4)}, Layout(rows=rows))
    batches, others = (stream(tmp_path, batch_size=4, read_ahead=ahead) for ahead in (read_ahead, None))
    assert rows_of(batches) == rows_of(others)
    assert not loader_threads()


@pytest.mark.parametrize("mapped", [True, False])
def test_what_is_asked_for_comes_into_memory(tmp_path: Path, mapped: bool) -> None:
    """Those pages of a file alone, where files are on a disk."""
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    if mounts[next(str(folder) for folder in tmp_path.parents if str(folder) in mounts)] == "tmpfs":
        pytest.skip("temporary files are in memory here")
    path = tmp_path / "file"
    path.write_bytes(bytes(2**22))
    assert evict([path]) == 0
    file = ShardFile(path, nbytes=2**22, mapped=mapped)
    assert resident(path) == set(), "to open it reads nothing"
    file.ask(2**20 + 5, 2**20)
    wanted = {*range(256, 513)}
    deadline = time.monotonic() + DEADLINE_S
    while resident(path) != wanted:
        assert resident(path) <= wanted
        assert time.monotonic() < deadline


def resident(path: Path) -> set[int]:
    """The numbers of the pages of a file that are in memory."""
    with open(path, "rb") as file:
        return {*np.flatnonzero(_resident(file.fileno()) & 1).tolist()}
