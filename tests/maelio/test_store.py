"""The contract between those who write stores and those who read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maelio.codecs import CODECS, Codec
from maelio.errors import BadData, NotFound
from maelio.store import StackedArray, index_bytes, open_store, pack_index, unpack_index

stacks = st.builds(
    lambda samples, variables, rest, dtype, rows, width, shards, codec, length: StackedArray(
        name="fields",
        variables=tuple(f"v{number}" for number in range(variables)),
        dimensions=("time", "variable", *(f"d{axis}" for axis in range(len(rest)))),
        shape=(samples, variables, *rest),
        dtype=np.dtype(dtype),
        chunk=(rows, min(width, variables)),
        rows_per_shard=rows * shards,
        codec=Codec(codec),
        length=length if rest and length and length < rest[0] else None,
    ),
    st.integers(1, 50),
    st.integers(1, 6),
    st.lists(st.integers(1, 9), max_size=3),
    st.sampled_from(["float32", "float64", "int16"]),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from(CODECS),
    st.none() | st.integers(1, 8),
)


@given(stack=stacks)
def test_a_layout_survives_its_zarr_metadata(stack: StackedArray) -> None:
    """The loader sees what the converter meant."""
    metadata = json.loads(json.dumps(stack.to_zarr({})))
    assert StackedArray.from_zarr("fields", stack.variables, metadata) == stack


@given(stack=stacks)
def test_shards_part_the_samples(stack: StackedArray) -> None:
    """Each sample lies in exactly one shard."""
    rows = [row for shard in range(stack.shards) for row in stack.rows_of(shard)]
    assert rows == list(range(stack.samples))


@given(index=arrays(np.uint64, st.tuples(st.integers(1, 20), st.just(2))), bit=st.integers(0, 10_000))
def test_an_index_comes_back_and_no_flipped_bit_passes(index: np.ndarray, bit: int) -> None:
    """Offsets and lengths are guarded by their checksum."""
    stored = pack_index(index)
    assert len(stored) == index_bytes(len(index))
    np.testing.assert_array_equal(unpack_index(stored), index)
    damaged = bytearray(stored)
    damaged[bit % len(stored)] ^= 1 << bit % 8
    with pytest.raises(BadData, match="does not match its checksum"):
        unpack_index(bytes(damaged))


@pytest.mark.parametrize("codec", CODECS)
def test_a_chunk_comes_back_bit_for_bit(codec: str) -> None:
    """NaN, infinities and negative zero among them."""
    chunk = np.array([[np.nan, -0.0, np.inf], [1e-40, 2.5, -np.inf]], np.float32)
    out = np.empty_like(chunk)
    Codec(codec).decode(Codec(codec).encode(chunk), out)  # type: ignore[arg-type]
    assert out.tobytes() == chunk.tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("stored", [b"", b"\x00" * 30])
def test_a_damaged_chunk_is_an_error(codec: str, stored: bytes) -> None:
    """Never values that nobody wrote."""
    with pytest.raises(BadData):
        Codec(codec).decode(stored, np.empty(5, np.float32))  # type: ignore[arg-type]


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    """Nothing there, a folder, another group, damaged metadata: each its own line."""
    with pytest.raises(NotFound, match="no such store"):
        open_store(tmp_path / "none.zarr")
    with pytest.raises(BadData, match=r"it has no zarr\.json"):
        open_store(tmp_path)
    root = tmp_path / "zarr.json"
    for content, wanted in (
        ('{"zarr_format": 3, "node_type": "group", "attributes": {}}', "no maelio entry"),
        ('{"zarr_format": 3, "attr', "in zarr.json"),
        (
            '{"attributes": {"maelio": {"format": 1}}, "consolidated_metadata": {"metadata": {}}}',
            "in zarr.json",
        ),
    ):
        root.write_text(content)
        with pytest.raises(BadData, match=f"is not a maelio store: .*{wanted}"):
            open_store(tmp_path)
