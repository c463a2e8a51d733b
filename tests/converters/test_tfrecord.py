"""The bytes of TFRecord, against Protocol Buffers and against another writer."""

import google_crc32c
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tfrecord import example_pb2
from tfrecord.writer import TFRecordWriter

from maelio.codecs import Codec
from maelio.converters.chunks import Chunk
from maelio.converters.tfrecord import around, example, masked
from maelio.store import StackedArray


def test_a_checksum_is_masked_as_tensorflow_does() -> None:
    """As another writer does; 0xe3069283 is the check value of CRC-32C."""
    assert google_crc32c.value(b"123456789") == 0xE3069283
    for data in (b"", b"123456789", bytes(32)):
        assert masked(google_crc32c.value(data)) == TFRecordWriter.masked_crc(data)


@given(
    numbers=st.lists(st.integers(0, 2**63 - 1), min_size=1),
    words=st.lists(st.binary(), min_size=1),
    names=st.lists(st.text(), min_size=3, max_size=3, unique=True),
    last=st.binary() | st.integers(0, 70_000).map(bytes),
)
def test_protocol_buffers_read_what_is_written_by_hand(
    numbers: list[int], words: list[bytes], names: list[str], last: bytes
) -> None:
    """Any feature, with a last one of any length."""
    front = example({names[0]: numbers, names[1]: words}, names[2], len(last))
    found = example_pb2.Example.FromString(front + last).features.feature
    assert set(found) == set(names)
    assert list(found[names[0]].int64_list.value) == numbers
    assert list(found[names[1]].bytes_list.value) == words
    assert list(found[names[2]].bytes_list.value) == [last]


def test_a_record_is_framed_by_its_length_and_two_checksums() -> None:
    """As TFRecordWriter of another package frames the same data."""
    values = np.arange(6, dtype="f4").reshape(1, 2, 3)
    array = StackedArray(
        name="fields",
        variables=("t", "u"),
        dimensions=("time", "variable", "x"),
        shape=(4, 2, 3),
        dtype=np.dtype("f4"),
        chunk=(1, 2),
        rows_per_shard=4,
        codec=Codec("none"),
        container="tfrecord",
    )
    before, after = around(Chunk(array, 3, 0, values), values.tobytes())
    data = before[12:] + values.tobytes()
    length = len(data).to_bytes(8, "little")
    assert before[:12] == length + TFRecordWriter.masked_crc(length)
    assert after == TFRecordWriter.masked_crc(data)
    features = example_pb2.Example.FromString(data).features.feature
    assert list(features["shape"].int64_list.value) == [2, 3]
    assert list(features["row"].int64_list.value) == [3]
    assert list(features["variables"].bytes_list.value) == [b"t", b"u"]
