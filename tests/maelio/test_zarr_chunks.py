"""Chunks of Zarr arrays: what is read by offset is what zarr-python reads, and what is damaged is named."""

import os
import zlib
from collections.abc import Callable
from itertools import product
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs as v3
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.zarr_chunks import Unknown, ZarrChunks, read_packed, zarr_chunks
from tests.zarr_arrays import bits, values_of, zarr_arrays

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs")  # version 3 does not specify them


def chunks_of(array: zarr.Array[Any]) -> ZarrChunks:
    return zarr_chunks(array.metadata.to_dict(), array.path, array.dtype, array.fill_value)


def read(chunks: ZarrChunks, folder: Path) -> NDArray[Any]:
    """The whole array, a chunk at a time."""
    counts = [ceil(size / length) for size, length in zip(chunks.array, chunks.shape, strict=True)]
    grid = [length * count for length, count in zip(chunks.shape, counts, strict=True)]
    whole = np.full(grid, chunks.fill, chunks.dtype)
    seen = []
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for index, packed in read_packed(chunks, descriptor, [range(count) for count in counts]):
            seen.append(index)
            if packed is not None:
                stored = np.empty([chunks.shape[axis] for axis in chunks.order], chunks.dtype)
                packed.decode(stored)
                place = zip(index, chunks.shape, strict=True)
                box = tuple(slice(at * length, (at + 1) * length) for at, length in place)
                whole[box] = stored.transpose(np.argsort(chunks.order))
    finally:
        os.close(descriptor)
    assert sorted(seen) == sorted(product(*map(range, counts)))
    return whole[tuple(slice(size) for size in chunks.array)]


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_what_is_read_by_offset_is_what_zarr_reads(data: st.DataObject) -> None:
    """Bit for bit: any version, shape, chunks, shards, codecs, byte order, fill value, and chunks that are not there."""
    with TemporaryDirectory() as name:
        array, _ = data.draw(zarr_arrays(Path(name)))
        np.testing.assert_array_equal(bits(read(chunks_of(array), Path(name))), bits(array[...]))


def read_by_zarr(array: zarr.Array[Any], otherwise: Any) -> Any:
    try:
        return array[...]
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error):
        return otherwise


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_a_damaged_file_is_an_error_or_read_as_zarr_reads_it(data: st.DataObject) -> None:
    """Cut short, with a byte replaced or some appended: never a crash, never other values than zarr-python's.

    Where that finds fault with what is of no use, such as bytes behind a frame, they are those from before.
    """
    with TemporaryDirectory() as name:
        array, _ = data.draw(zarr_arrays(Path(name)))
        before = array[...]
        files = [path for path in Path(name, "t").rglob("*") if path.is_file() and path.name[0] not in ".z"]
        if not files:
            return
        path = data.draw(st.sampled_from(sorted(files)), label="file")
        content = bytearray(path.read_bytes())
        match data.draw(st.sampled_from(["cut", "replace", "append"]), label="damage"):
            case "cut":
                del content[data.draw(st.integers(0, len(content) - 1)) :]
            case "append":
                content += b"more"
            case "replace":
                at = data.draw(st.integers(0, len(content) - 1))
                content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            found = read(chunks_of(array), Path(name))
        except BadData as error:
            told = str(error)
        else:
            np.testing.assert_array_equal(bits(found), bits(read_by_zarr(array, before)))
            return
        assert str(path.relative_to(name)) in told
        assert "\n" not in told


LZ4 = numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE)


def cut(content: bytes) -> bytes:
    return content[:-3]


def longer(content: bytes) -> bytes:
    return content + b"!"


def noise(content: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in content)


@pytest.mark.parametrize(
    ("version", "how", "damage", "told"),
    [
        (2, {"compressors": None}, cut, "t/1.0: it holds 93 bytes, wanted 96"),
        (2, {"compressors": None}, longer, "t/1.0: it holds 97 bytes, wanted 96"),
        (2, {"compressors": [LZ4]}, cut, "t/1.0: it does not decompress (blosc): a chunk of"),
        (2, {"compressors": [numcodecs.Zlib()]}, noise, "t/1.0: it does not decompress (deflate)"),
        (2, {"compressors": [numcodecs.GZip()]}, cut, "t/1.0: it does not decompress (gzip)"),
        (2, {"compressors": [numcodecs.Zstd()]}, noise, "(zstd): it does not begin as a frame of Zstandard"),
        (2, {"compressors": [numcodecs.LZ4()]}, noise, "t/1.0: it does not decompress (lz4): it announces"),
        (3, {"compressors": [v3.Crc32cCodec()]}, noise, "t/c/1/0: it does not decompress (crc32c): its bytes have"),
        (3, {"shards": (4, 6)}, cut, "t/c/0/0: the shard's index does not match its checksum"),
        (3, {"shards": (4, 6)}, lambda content: b"", "t/c/0/0: it holds 0 bytes, wanted 36 of its index alone"),
    ],
)  # fmt: skip
def test_a_damaged_chunk_is_told_by_its_file(
    tmp_path: Path, version: Any, how: dict[str, Any], damage: Callable[[bytes], bytes], told: str
) -> None:
    """And by what was found and wanted."""
    group = zarr.open_group(tmp_path, mode="w", zarr_format=version)
    array = group.create_array("t", shape=(4, 6), chunks=(2, 6), dtype="f8", **how)
    array[...] = values_of((4, 6), np.dtype("f8"), 0)
    names = {2: "t/1.0", 3: "t/c/0/0" if "shards" in how else "t/c/1/0"}
    path = tmp_path / names[version]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadData) as caught:
        read(chunks_of(array), tmp_path)
    assert str(caught.value).startswith("chunk t/")
    assert told in str(caught.value)


def test_a_frame_that_announces_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    """A damaged header of Zstandard may ask for any number of bytes."""
    array = zarr.open_group(tmp_path, mode="w", zarr_format=2).create_array(
        "t", shape=(4,), chunks=(4,), dtype="f8", compressors=[numcodecs.Zstd()]
    )
    array[...] = 1
    eight_bytes_of_size, window = 0xC0, 0
    header = b"\x28\xb5\x2f\xfd" + bytes([eight_bytes_of_size, window])
    (tmp_path / "t" / "0").write_bytes(header + (2**60).to_bytes(8, "little") + bytes(9))
    with pytest.raises(BadData, match=f"announces {2**60} bytes, wanted 32"):
        read(chunks_of(array), tmp_path)


@pytest.mark.parametrize(
    ("version", "how", "reason"),
    [
        (2, {"dtype": "M8[s]"}, "dtype datetime64"),
        (2, {"dtype": "bool"}, "dtype bool"),
        (2, {"filters": [numcodecs.Delta("f8")]}, "codec 'delta'"),
        (2, {"compressors": [numcodecs.BZ2()]}, "codec 'bz2'"),
        (2, {"filters": [numcodecs.Zlib()], "compressors": [numcodecs.LZ4()]}, "several compressors"),
        (2, {"filters": [numcodecs.CRC32C(location="start")]}, "codec 'crc32c'"),
        (2, {"filters": [numcodecs.Shuffle(3)]}, "items of 3 bytes"),
        (2, {"shape": (0, 6)}, "no values along an axis"),
        (2, {"shape": (40000, 40000), "chunks": (40000, 40000)}, "chunks of 12800000000 bytes"),
        (3, {"serializer": v3.ShardingCodec(chunk_shape=(2, 6), index_codecs=[v3.BytesCodec(), v3.GzipCodec()]),
             "compressors": None}, "a shard's index in codecs bytes, gzip"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_to_zarr(
    tmp_path: Path, version: Any, how: dict[str, Any], reason: str
) -> None:
    """With the reason, which the plan shows."""
    made = {"shape": (4, 6), "chunks": (4, 6), "dtype": "f8", **how}
    array = zarr.open_group(tmp_path, mode="w", zarr_format=version).create_array("t", **made)
    with pytest.raises(Unknown, match=reason):
        chunks_of(array)
