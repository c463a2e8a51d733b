"""Zarr arrays of every kind that the fast reader knows, as zarr-python writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
import zarr.codecs as v3
import zarr.codecs.numcodecs as v3_numcodecs
from hypothesis import strategies as st
from numpy.typing import NDArray

DTYPES = ("f4", "f8", "f2", "i2", "i4", "u1", "u2", "i8")
COMPRESSORS_2: dict[str, Any] = {
    "none": None,
    "zlib": numcodecs.Zlib(1),
    "gzip": numcodecs.GZip(1),
    "zstd": numcodecs.Zstd(1, checksum=True),
    "lz4": numcodecs.LZ4(),
    "blosc lz4": numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE),
    "blosc zstd bits": numcodecs.Blosc("zstd", 1, numcodecs.Blosc.BITSHUFFLE),
    "blosc zlib": numcodecs.Blosc("zlib", 1, numcodecs.Blosc.NOSHUFFLE),
    "blosc lz4hc": numcodecs.Blosc("lz4hc", 1, numcodecs.Blosc.SHUFFLE, 512),
}
COMPRESSORS_3 = ("none", "gzip", "zstd", "blosc", "zlib", "lz4")


def compressors_3(
    name: str, dtype: np.dtype[Any], *, shuffle: bool, crc_before: bool, crc_after: bool
) -> list[Any]:
    compressor: dict[str, Any] = {
        "gzip": lambda: v3.GzipCodec(level=1),
        "zstd": lambda: v3.ZstdCodec(level=1, checksum=True),
        "blosc": lambda: v3.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        "zlib": lambda: v3_numcodecs.Zlib(level=1),
        "lz4": lambda: v3_numcodecs.LZ4(),
    }
    chain: list[Any] = [v3_numcodecs.Shuffle(elementsize=dtype.itemsize)] if shuffle else []
    chain += [v3.Crc32cCodec()] if crc_before else []
    chain += [compressor[name]()] if name in compressor else []
    return chain + ([v3.Crc32cCodec()] if crc_after else [])


def fills(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    """Also the not-a-numbers that bits make."""
    if dtype.kind == "f":
        return st.sampled_from([0.0, -0.0, 1.5, np.nan, np.inf, -np.inf])
    return st.integers(0, int(np.iinfo(dtype).max)).map(dtype.type)


def parts(sizes: Sequence[int]) -> st.SearchStrategy[tuple[slice, ...]]:
    """A box in an array."""
    cuts = [st.tuples(st.integers(0, size - 1), st.integers(1, size)) for size in sizes]
    return st.tuples(*cuts).map(lambda box: tuple(slice(first, first + count) for first, count in box))


def values_of(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> NDArray[Any]:
    """Any bits, and any not-a-number among them; half of them compress."""
    random = np.random.default_rng(seed)
    count = int(np.prod(shape)) * dtype.itemsize
    content = random.integers(0, 256, count, np.uint8)
    content[: count // 2] //= 64
    return content.view(dtype).reshape(shape)


@st.composite
def zarr_arrays(draw: st.DrawFn, folder: Path) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """An array `t` of a new group in `folder`, some of whose chunks are not there; and how it was made."""
    rank = draw(st.integers(1, 3), label="rank")
    shape = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    chunks = tuple(draw(st.integers(1, 5)) for _ in range(rank))
    version = draw(st.sampled_from([2, 3]), label="version")
    dtype = np.dtype(draw(st.sampled_from(DTYPES), label="dtype"))
    how: dict[str, Any] = {"shape": shape, "fill_value": draw(fills(dtype), label="fill"), "chunks": chunks}
    if version == 2:
        how["dtype"] = dtype.newbyteorder(draw(st.sampled_from("<>"), label="bytes"))
        how["order"] = draw(st.sampled_from("CF"), label="order")
        compressor = COMPRESSORS_2[draw(st.sampled_from([*COMPRESSORS_2]), label="compressor")]
        how["compressors"] = [compressor] if compressor else None
        if draw(st.booleans(), label="shuffled"):
            how["filters"] = [numcodecs.Shuffle(dtype.itemsize)]
        how["chunk_key_encoding"] = {
            "name": "v2",
            "separator": draw(st.sampled_from("./"), label="separator"),
        }
        if draw(st.booleans(), label="without a fill value"):
            how["fill_value"] = None
    else:
        how["dtype"] = dtype
        how["serializer"] = v3.BytesCodec(endian=draw(st.sampled_from(["little", "big"]), label="bytes"))
        how["compressors"] = compressors_3(
            draw(st.sampled_from(COMPRESSORS_3), label="compressor"),
            dtype,
            shuffle=draw(st.booleans(), label="shuffled"),
            crc_before=draw(st.booleans(), label="checksum before"),
            crc_after=draw(st.booleans(), label="checksum after"),
        )
        if draw(st.booleans(), label="transposed"):
            how["filters"] = [v3.TransposeCodec(order=tuple(draw(st.permutations(range(rank)))))]
        encoding = draw(st.sampled_from([("default", "/"), ("default", "."), ("v2", "."), ("v2", "/")]))
        how["chunk_key_encoding"] = dict(zip(("name", "separator"), encoding, strict=True))
        if draw(st.booleans(), label="sharded"):
            how["shards"] = {
                "shape": tuple(size * draw(st.integers(1, 3)) for size in chunks),
                "index_location": draw(st.sampled_from(["start", "end"]), label="index"),
            }
    how["config"] = {"write_empty_chunks": draw(st.booleans(), label="empty chunks written")}
    group = zarr.open_group(folder, mode="w", zarr_format=version)  # type: ignore[arg-type]
    array = group.create_array("t", **how)
    for box in draw(st.lists(parts(shape), max_size=3), label="what is written"):
        there = array[box]
        array[box] = values_of(there.shape, dtype, draw(st.integers(0, 2**32 - 1)))  # type: ignore[union-attr]
    return array, how


def bits(values: Any) -> NDArray[Any]:
    """Values as unsigned integers in this machine's byte order: not-a-numbers differ where their bits do."""
    native = np.ascontiguousarray(values, np.asarray(values).dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}")
