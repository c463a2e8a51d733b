"""Reading rows of one array."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.codecs import CODECS, CodecName
from maelio.errors import BadData
from maelio.loaders import shardfile
from maelio.loaders.rows import Ask
from maelio.loaders.shards import Shards
from maelio.store import StackedArray, open_store
from tests.loaders.handwritten import Layout, field, write_store

layouts = st.builds(
    Layout,
    rows=st.integers(1, 5),
    width=st.integers(1, 4) | st.none(),
    chunks=st.integers(1, 4),
    codec=st.sampled_from(CODECS),
    length=st.none() | st.integers(1, 3),
)
row_shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
dtypes = st.sampled_from(["float32", "float64", "float16", "int16", "uint8", "int64"])


@settings(deadline=None)
@given(
    samples=st.integers(1, 30),
    row_shape=row_shapes,
    dtype=dtypes,
    layout=layouts,
    table=st.booleans(),
    threads=st.integers(1, 4),
    cached=st.integers(1, 5),
    data=st.data(),
)
def test_rows_read_are_the_rows_written(
    samples: int,
    row_shape: list[int],
    dtype: str,
    layout: Layout,
    table: bool,
    threads: int,
    cached: int,
    data: st.DataObject,
) -> None:
    """Any rows, in any order, several times, by several threads, through a cache of any size; with a table or not."""
    values = field(samples, *row_shape, dtype=dtype)
    rows = np.array(data.draw(st.lists(st.integers(0, samples - 1), max_size=40)), np.int64)
    out = np.full((len(rows), *row_shape), 77, dtype)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        store = open_store(write_store(Path(folder), {"fields": values}, layout, table=table))
        shards = Shards(store, "fields", cached_chunks=cached)
        bounds = np.linspace(0, len(rows), threads + 1).astype(int)
        parts = [slice(*part) for part in pairwise(bounds)]
        works = list(pool.map(lambda part: shards.read([Ask(rows[part], out[part])]), parts))
    np.testing.assert_array_equal(out, values[rows])
    assert sum(work.delivered_bytes for work in works) == out.nbytes


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [None, 3])
@pytest.mark.parametrize("rows", [1, 3])
def test_plain_zarr_reads_the_same(tmp_path: Path, codec: CodecName, rows: int, length: int | None) -> None:
    """The handwritten stores of these tests are stores, and not only to us."""
    values = field(11, 4, 7)
    layout = Layout(rows=rows, width=2, codec=codec, length=length)
    write_store(tmp_path / "s.zarr", {"fields": values}, layout)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["fields"]), values)


@pytest.mark.parametrize("rows", [1, 2])
def test_an_absent_chunk_is_missing_values(tmp_path: Path, rows: int) -> None:
    """As any Zarr reader sees it."""
    values = field(8, 2, 3)
    store = open_store(write_store(tmp_path, {"fields": values}, Layout(rows=rows), absent=1))
    out = np.empty_like(values)
    Shards(store, "fields").read([Ask(np.arange(8), out)])
    values[rows : 2 * rows] = np.nan
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("codec", CODECS)
def test_without_the_new_kernel_call_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: CodecName
) -> None:
    """Linux before 5.14 reads the same."""
    monkeypatch.setattr(shardfile, "_MADV_POPULATE_READ", 12345)
    values = field(9, 2, 300)
    store = open_store(write_store(tmp_path, {"fields": values}, Layout(codec=codec)))
    out = np.empty_like(values)
    Shards(store, "fields").read([Ask(np.arange(9), out)])
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("ours", [True, False])
def test_pages_that_are_in_memory_are_asked_for_where_the_kernel_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """Of files that are neither ours nor to be written by us."""
    store = open_store(write_store(tmp_path, {"fields": field(9, 2, 300)}, Layout(chunks=9)))
    if not ours:
        monkeypatch.setattr(os, "geteuid", lambda: -1)
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    asked, madvise = [], shardfile._libc.madvise

    def asks(*arguments: int) -> Any:
        asked.append(arguments)
        return madvise(*arguments)

    monkeypatch.setattr(shardfile._libc, "madvise", asks)
    Shards(store, "fields").read([Ask(np.arange(9), np.empty((9, 2, 300), "f4"))])
    assert len(asked) == (0 if ours else 9)


@pytest.mark.parametrize("row", [-1, 8])
def test_a_row_outside_is_refused(tmp_path: Path, row: int) -> None:
    """Nothing wraps around."""
    store = open_store(write_store(tmp_path, {"fields": field(8, 2, 3)}))
    with pytest.raises(IndexError, match=f"row {row} of array 'fields', which has 8 rows"):
        Shards(store, "fields").read([Ask(np.array([3, row]), np.empty((2, 2, 3), "f4"))])


def first_shard(path: Path) -> Path:
    return next(file for file in path.glob("fields/c/0/**/0") if file.is_file())


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: flip(path, -30), "index does not match its checksum"),
        (lambda path: flip(path, -1), "index does not match its checksum"),
        (lambda path: os.truncate(path, path.stat().st_size - 5), "bytes, wanted"),
        (os.remove, "is missing"),
    ],
)
@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_shard_is_refused_when_opened(tmp_path: Path, damage, says: str, codec: CodecName) -> None:  # type: ignore[no-untyped-def]
    """The message names the file; without a table of chunks that is so for its index too."""
    write_store(tmp_path, {"fields": field(8, 2, 3)}, Layout(codec=codec), table=False)
    shard = first_shard(tmp_path)
    damage(shard)
    with pytest.raises(BadData, match=f"{shard}.*{says}"):
        Shards(open_store(tmp_path), "fields")


@pytest.mark.parametrize("position", [-1, 0, 1])
@pytest.mark.parametrize("damage", [os.remove, lambda path: os.truncate(path, path.stat().st_size - 5)])
def test_one_shard_of_many_that_is_not_whole_is_named(tmp_path: Path, damage, position: int) -> None:  # type: ignore[no-untyped-def]
    """Before anything is read, whichever it is."""
    store = open_store(write_store(tmp_path, {"marks": np.arange(900)[:, None]}, Layout(chunks=1)))
    files = sorted(tmp_path.glob("marks/c/*/0"), key=lambda path: int(path.parent.name))
    damage(files[position])
    with pytest.raises(BadData, match=f"{files[position]} (is missing|has .* bytes, wanted)"):
        Shards(store, "marks")


@settings(deadline=None, max_examples=30)
@given(shards=st.integers(1, 12), most=st.integers(1, 13), codec=st.sampled_from(CODECS))
def test_no_more_shards_are_open_than_allowed(shards: int, most: int, codec: CodecName) -> None:
    """However many threads read, and they read what was written."""
    values = field(shards * 2, 2, 3)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(values)), 5))
    with TemporaryDirectory() as folder, ThreadPoolExecutor(3) as pool:
        store = open_store(write_store(Path(folder), {"fields": values}, Layout(chunks=2, codec=codec)))
        reader = Shards(store, "fields", open_files=most)
        out = np.empty((len(rows), 2, 3), "f4")
        before = open_files(folder)
        list(pool.map(lambda share: reader.read([Ask(rows, out)], share, 3), range(3)))
        after = open_files(folder)
    np.testing.assert_array_equal(out, values[rows])
    assert before == 0
    assert after <= min(most, shards)


def open_files(folder: str) -> int:
    """Of this process, mapped ones too, below `folder`."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if folder in line}
    links = []
    for link in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{link}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return len(mapped | {name for name in links if name.startswith(folder)})


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("position", [0, 5, 12])
def test_a_damaged_header_of_a_chunk_is_refused_when_read(tmp_path: Path, rows: int, position: int) -> None:
    """The message names the file and the chunk; the other chunks are read, and it fails again."""
    values = field(8, 2, 3)
    write_store(tmp_path, {"fields": values}, Layout(rows=rows))
    flip(first_shard(tmp_path), position)
    shards = Shards(open_store(tmp_path), "fields")
    out = np.empty((2, 2, 3), "f4")
    for _ in range(2):
        with pytest.raises(BadData, match=f"{first_shard(tmp_path)}, chunk 0 of array 'fields'"):
            shards.read([Ask(np.array([0, 5]), out)])
    shards.read([Ask(np.array([4, 5]), out)])
    np.testing.assert_array_equal(out, values[4:6])


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_shard_cut_short_while_open_is_refused(tmp_path: Path, codec: CodecName) -> None:
    """An error, and not a killed process."""
    write_store(tmp_path, {"fields": np.random.default_rng(0).random((8, 2, 3000))}, Layout(codec=codec))
    shards, out = Shards(open_store(tmp_path), "fields"), np.empty((1, 2, 3000))
    shards.read([Ask(np.array([0]), out)])
    os.truncate(first_shard(tmp_path), 10_000)
    with pytest.raises(BadData, match=f"{first_shard(tmp_path)}, chunk 2"):
        shards.read([Ask(np.array([2]), out)])


def test_a_store_that_lists_too_few_shards_is_refused(tmp_path: Path) -> None:
    """Its metadata contradict each other."""
    store = open_store(write_store(tmp_path, {"fields": field(8, 2, 3)}))
    store.contents.stacks["fields"] = store.contents.stacks["fields"].model_copy(update={"shards": ()})
    with pytest.raises(BadData, match="lists 0 shards, wanted 3"):
        Shards(store, "fields")


def test_the_layout_of_the_tests_is_the_contract(tmp_path: Path) -> None:
    """What is described comes back from the metadata."""
    array: StackedArray = open_store(
        write_store(tmp_path, {"fields": field(7, 5, 3)}, Layout(rows=2, width=2))
    ).arrays["fields"]
    assert (array.shape, array.chunk, array.pieces, array.shards) == ((7, 5, 3), (2, 2), 3, 2)
