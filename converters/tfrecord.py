"""TFRecord shards: one `tf.train.Example` a chunk.

    fields       bytes     the chunk as the codec made it; the feature has the name of the array
    codec        bytes     none, or blosc
    dtype        bytes     of the values, as NumPy names it
    shape        int64     of the values
    row          int64     the number of the first sample
    variables    bytes     names along the axis `variable`

Source: TensorFlow, `tensorflow/core/lib/io/record_writer.h` (framing, masked CRC-32C) and
`tensorflow/core/example/feature.proto`; Protocol Buffers encoding.
"""

from collections.abc import Iterable

from crc32c import crc32c

from maelio.converters.chunks import Chunk

_VARINT, _LENGTH_DELIMITED = 0, 2
_BYTES_LIST, _INT64_LIST = 1, 3


def around(chunk: Chunk, encoded: bytes) -> tuple[bytes, bytes]:
    """What stands in front of `encoded` and behind it."""
    front = example(
        {
            "codec": [b"none" if chunk.array.codec.name == "none" else b"blosc"],
            "dtype": [chunk.array.dtype.name.encode()],
            "shape": chunk.shape,
            "row": [chunk.row],
            "variables": [name.encode() for name in chunk.variables],
        },
        chunk.array.name,
        len(encoded),
    )
    length = (len(front) + len(encoded)).to_bytes(8, "little")
    data_crc = crc32c(encoded, crc32c(front))
    return length + masked(crc32c(length)) + front, masked(data_crc)


def masked(checksum: int) -> bytes:
    """So that the checksum of data that hold checksums stays a good one."""
    return (((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def example(features: dict[str, Iterable[int] | Iterable[bytes]], last: str, nbytes: int) -> bytes:
    """A serialised Example up to the `nbytes` bytes of its last feature, `last`, which end it."""
    known = b"".join(delimited(1, _feature(name, values)) for name, values in features.items())
    front, size = b"", nbytes  # from the inside out: value, list, feature, entry of the map
    for field, before in ((1, b""), (_BYTES_LIST, b""), (2, delimited(1, last.encode())), (1, known)):
        front = before + _tag(field, _LENGTH_DELIMITED) + _varint(size) + front
        size = len(front) + nbytes
    return _tag(1, _LENGTH_DELIMITED) + _varint(size) + front


def _feature(name: str, values: Iterable[int] | Iterable[bytes]) -> bytes:
    """An entry of the map: its key and a Feature."""
    kind, listed = _INT64_LIST, b""
    for value in values:
        if isinstance(value, bytes):
            kind, listed = _BYTES_LIST, listed + delimited(1, value)
        else:
            listed += _tag(1, _VARINT) + _varint(value)
    return delimited(1, name.encode()) + delimited(2, delimited(kind, listed))


def delimited(field: int, content: bytes) -> bytes:
    """A field of a message that is bytes, text or a message itself."""
    return _tag(field, _LENGTH_DELIMITED) + _varint(len(content)) + content


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    """Of a number from 0."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
