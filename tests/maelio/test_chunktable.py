"""The table of chunks: what the shards say of themselves, in one file."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.chunktable import entries, read_table
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.verify import verify
from maelio.errors import BadData
from maelio.store import CONTAINERS, Store, open_store, places
from tests.converters.netcdf_files import write_netcdf
from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_shards import flip, layouts


@settings(deadline=None)
@given(
    samples=st.integers(1, 20),
    row_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    layout=layouts,
    absent=st.integers(-1, 3),
)
def test_the_table_says_what_every_shard_says_of_itself(
    samples: int, row_shape: list[int], layout: Layout, absent: int
) -> None:
    """Places as in the index at its end; checksums of the bytes that lie there. Written by hand, by the letter."""
    with TemporaryDirectory() as folder:
        store = open_store(
            write_store(Path(folder), {"fields": field(samples, *row_shape)}, layout, absent=absent)
        )
        agrees(store)


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_conversion_writes_it(tmp_path: Path, form, codec) -> None:  # type: ignore[no-untyped-def]
    """For every container: offsets are those of the codec's bytes, whatever stands around them."""
    source = write_netcdf(tmp_path / "a.nc", {"t": np.random.default_rng(0).random((9, 128, 128), "f4")})
    store = convert([source], tmp_path / "s", Options(format=form, codec=codec, shard_bytes=200_000))
    assert len(store.contents.stacks["fields"].shards) > 2
    agrees(store)


def test_a_conversion_to_series_writes_it(tmp_path: Path) -> None:
    """Slab by slab, with chunks that follow each other in another order than in the index."""
    values = np.random.default_rng(0).random((48, 160, 160), "f4")
    sources = [
        write_netcdf(tmp_path / f"{n}.nc", {"t": values[n * 24 :][:24]}, first=n * 24) for n in range(2)
    ]
    store = convert(
        sources,
        tmp_path / "s",
        Options(samples="latitude,longitude", memory=2**23, shard_bytes=10**6, threads=1),
    )
    (array,) = store.arrays.values()
    assert array.cuts > 1
    assert array.shards > 1
    agrees(store)


def agrees(store: Store) -> None:
    for name, array in store.arrays.items():
        table = read_table(store, name)
        assert table is not None
        for number in range(array.shards):
            shard = (store.path / array.shard_key(number)).read_bytes()
            key, end = array.index_key(number), len(shard)
            index = (store.path / key).read_bytes() if key else shard[-16 * array.chunks_per_shard - 4 :]
            np.testing.assert_array_equal(
                table.places[number], places(index, chunks=array.chunks_per_shard, end=end)
            )
            wanted = [
                0 if offset < 0 else google_crc32c.value(shard[offset : offset + length])
                for offset, length in table.places[number].tolist()
            ]
            assert table.checksums[number].tolist() == wanted


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: flip(path, 3), r"checksum \w{8} of 180 bytes, wanted \w{8}"),
        (lambda path: os.truncate(path, 160), r"checksum \w{8} of 160 bytes, wanted \w{8}"),
        (os.remove, "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, damage, says: str) -> None:  # type: ignore[no-untyped-def]
    """By who reads it, and by `verify`."""
    store = open_store(write_store(tmp_path, {"fields": field(8, 2, 3)}))
    table = tmp_path / "fields" / "chunks"
    assert read_table(store, "fields") is not None
    damage(table)
    with pytest.raises(BadData, match=f"{table}:? {says}"):
        read_table(store, "fields")
    if not table.is_dir():
        assert [damage.file for damage in verify(tmp_path)] == [table]


def test_a_table_that_points_behind_its_shard_is_refused(tmp_path: Path) -> None:
    """Whoever wrote it."""
    store = open_store(write_store(tmp_path, {"fields": field(2, 2, 3)}, Layout(codec="none", chunks=1)))
    stack = store.contents.stacks["fields"]
    for index in ([24, 1], [0, 25], [2**63, 2**63 + 1], [2**64 - 1, 0]):
        content = entries(np.array([[0, 24]], np.uint64), np.zeros(1, np.uint32))
        content += entries(np.array([index], np.uint64), np.zeros(1, np.uint32))
        (tmp_path / "fields" / "chunks").write_bytes(content)
        known = stack.model_copy(
            update={"table": stack.table.model_copy(update={"crc32c": f"{google_crc32c.value(content):08x}"})}  # type: ignore[union-attr]
        )
        store.contents.stacks["fields"] = known
        with pytest.raises(BadData, match="points behind the 24 bytes"):
            read_table(store, "fields")


def test_a_store_of_an_earlier_maelio_has_none(tmp_path: Path) -> None:
    """And says so."""
    store = open_store(write_store(tmp_path, {"fields": field(8, 2, 3)}, table=False))
    assert read_table(store, "fields") is None
