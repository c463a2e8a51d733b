"""A chunk that is not what was written is found, in the epochs that are asked for, and named."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maelio
from maelio.chunktable import read_table
from maelio.codecs import CODECS, CodecName
from maelio.errors import BadData, BadRequest
from maelio.loaders.checks import is_checked
from maelio.loaders.rows import Ask
from maelio.loaders.shards import Shards
from maelio.store import open_store
from tests.loaders.handwritten import Layout, write_store
from tests.loaders.test_shards import first_shard

SAMPLES = 14


def values() -> np.ndarray:
    """Shape: (14, 4, 30)."""
    return np.random.default_rng(0).normal(280, 10, (SAMPLES, 4, 30)).astype("f4")


@settings(deadline=None, max_examples=100)
@given(
    codec=st.sampled_from(CODECS),
    rows=st.integers(1, 3),
    width=st.sampled_from([2, 4]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_in_any_byte_of_a_shard_is_found(
    codec: CodecName, rows: int, width: int, where: float, bit: int
) -> None:
    """In a chunk it is named; in the index, which the table stands for, it changes nothing."""
    with TemporaryDirectory() as folder:
        path = write_store(Path(folder), {"fields": values()}, Layout(rows=rows, width=width, codec=codec))
        store = open_store(path)
        table = read_table(store, "fields")
        assert table is not None
        shard = first_shard(path)
        content = bytearray(shard.read_bytes())
        byte = int(where * len(content))
        content[byte] ^= 1 << bit
        shard.write_bytes(content)
        hit = [
            (number, offset, bytes(content[offset : offset + length]))
            for number, (offset, length) in enumerate(table.places[0].tolist())
            if offset <= byte < offset + length
        ]
        out = np.empty((SAMPLES, 4, 30), "f4")
        reader = Shards(store, "fields", verify="always")
        if not hit:
            reader.read([Ask(np.arange(SAMPLES), out)])
            np.testing.assert_array_equal(out, values())
            return
        ((number, offset, chunk),) = hit
        row = number // (4 // width)
        named = f"row {row}" if rows == 1 else f"rows {row * rows} to {row * rows + rows - 1}"
        with pytest.raises(BadData) as caught:
            reader.read([Ask(np.arange(SAMPLES), out)])
        assert str(caught.value) == (
            f"{shard}, chunk {row} of array 'fields' ({named}), at byte {offset}: "
            f"checksum {google_crc32c.value(chunk):08x}, wanted {table.checksums[0, number]:08x}"
        )


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "asked", [{}, {"variables": ["v3"]}, {"crop": {"d0": slice(0, 2)}}, {"crop": {"d0": 2}}], ids=str
)
def test_the_loop_is_told_whatever_is_asked_of_a_chunk(
    tmp_path: Path, codec: CodecName, rows: int, asked: dict[str, Any]
) -> None:
    """Also where the damage lies beside what is delivered."""
    path = write_store(tmp_path, {"fields": values()}, Layout(rows=rows, width=2, codec=codec))
    table = read_table(open_store(path), "fields")
    assert table is not None
    shard, last = first_shard(path), table.places[0].sum(axis=-1).max() - 1
    content = bytearray(shard.read_bytes())
    content[last] ^= 0x10
    shard.write_bytes(content)
    batches = maelio.stream(path, batch_size=2, verify="always", **asked)
    with pytest.raises(BadData, match=rf"{shard}, chunk 2 of .*: checksum \w{{8}}, wanted \w{{8}}"):
        list(batches)


@given(chunk=st.integers(0, 2**40), first=st.integers(0, 2**20))
def test_every_chunk_is_compared_once_in_64_epochs(chunk: int, first: int) -> None:
    """Of `sample`; whatever the chunk, and whenever one begins."""
    assert sum(is_checked("sample", chunk, epoch) for epoch in range(first, first + 64)) == 1


@given(first=st.integers(0, 10**6), epoch=st.integers(0, 200), step=st.integers(1, 50))
def test_every_epoch_compares_its_share(first: int, epoch: int, step: int) -> None:
    """Of any 64 x 100 chunks at equal distances, such as the pieces of one variable, about 100."""
    chunks = range(first, first + 6400 * step, step)
    assert 60 <= sum(is_checked("sample", chunk, epoch) for chunk in chunks) <= 140


@pytest.mark.parametrize("codec", CODECS)
def test_a_sample_finds_the_damage_in_its_epoch(tmp_path: Path, codec: CodecName) -> None:
    """The other 63 epochs say nothing: it lies in bytes that no codec packed, where none notices it."""
    array = np.zeros((4, 1, 64), "u1") + np.random.default_rng(0).integers(0, 255, (4, 1, 64), "u1")
    path = write_store(tmp_path, {"fields": array}, Layout(codec=codec, chunks=4))
    shard = first_shard(path)
    content = bytearray(shard.read_bytes())
    table = read_table(open_store(path), "fields")
    assert table is not None
    content[table.places[0, 1].sum() - 1] ^= 1  # the last value of sample 1
    shard.write_bytes(content)
    batches, told = maelio.stream(path, batch_size=4, threads=1), []
    for epoch in range(64):
        batches.set_epoch(epoch)
        try:
            list(batches)
        except BadData as error:
            told.append((epoch, str(error)))
    assert [epoch for epoch, _ in told] == [epoch for epoch in range(64) if is_checked("sample", 1, epoch)]
    assert "chunk 1 of array 'fields' (row 1)" in told[0][1]


def test_never_looks_at_no_checksum(tmp_path: Path) -> None:
    """What is asked for is what is done."""
    path = write_store(tmp_path, {"fields": values()}, Layout(codec="none"))
    shard = first_shard(path)
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    for _ in range(64):
        assert len(list(maelio.stream(path, batch_size=7, verify="never"))) == 2


@pytest.mark.parametrize("verify", ["sample", "always"])
def test_a_store_without_checksums_cannot_be_compared(tmp_path: Path, verify: Any) -> None:
    """It says so in one line, and streams without being asked for more."""
    path = write_store(tmp_path, {"fields": values()}, table=False)
    with pytest.raises(
        BadRequest, match=f"verify='{verify}': {path} has no checksums of chunks; convert it with this maelio"
    ):
        maelio.stream(path, batch_size=2, verify=verify)
    assert maelio.stream(path, batch_size=2).verify == "never"
    assert len(list(maelio.stream(path, batch_size=2))) == 7


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    """By its name."""
    path = write_store(tmp_path, {"fields": values()})
    assert maelio.stream(path, batch_size=2).verify == "sample"
    with pytest.raises(BadRequest, match="verify='often'; wanted 'never', 'sample' or 'always'"):
        maelio.stream(path, batch_size=2, verify="often")  # type: ignore[arg-type]
