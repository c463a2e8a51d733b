"""TFRecord files whose records all hold the same lists of floats: read lazily, by place.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord (frames), tensorflow/core/example/feature.proto (contents).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData

if TYPE_CHECKING:
    import dask.array as da

_FRAME = 12, 4  # bytes before a record: its length and a checksum of that; behind it: a checksum


@dataclass(frozen=True)
class Floats:
    """One feature of all records of a file: (record, *shape), float32. Read where it is indexed by rows."""

    path: Path
    name: str
    offset: int
    intro: bytes
    length: int
    shape: tuple[int, ...]
    dtype = np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Raises BadData: a record does not hold the feature with as many values."""
        rows, *rest = key if isinstance(key, tuple) else (key,)
        count = self.shape[0]
        nbytes = 4 * prod(self.shape[1:])
        mapped = np.memmap(self.path, np.uint8, "r").reshape(count, sum(_FRAME) + self.length)[rows]
        found = mapped[:, self.offset : self.offset + nbytes].copy()
        ahead = mapped[:, self.offset - len(self.intro) : self.offset]
        elsewhere = np.flatnonzero((ahead != np.frombuffer(self.intro, np.uint8)).any(1))
        for row in elsewhere:  # the features of a record have no order
            places = features(mapped[row].tobytes(), self.path)
            offset, size = places.get(self.name, (0, 0))
            if size != nbytes:
                raise BadData(f"{self.path}: record with {size} bytes of {self.name!r}, wanted {nbytes}")
            found[row] = mapped[row, offset : offset + size]
        values: NDArray[np.float32] = found.view("<f4").reshape(len(found), *self.shape[1:])
        return values[(slice(None), *rest)]


def columns(path: Path, shapes: Mapping[str, tuple[int, ...]], rows: int) -> "dict[str, da.Array]":
    """Of each feature the values of all records, lazily, `rows` of them a chunk. Raises BadData: the file is not of that kind."""
    from dask.array import from_array

    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size or size % (whole := length + sum(_FRAME)):
            raise BadData(f"{path}: {size} bytes are no records of {length} bytes")
        file.seek(0)
        first = file.read(whole)
    places = features(first, path)
    found = {}
    for name, shape in shapes.items():
        offset, nbytes = places.get(name, (0, 0))
        if nbytes != 4 * prod(shape):
            raise BadData(f"{path}: first record with {nbytes} bytes of {name!r}, wanted {4 * prod(shape)}")
        start = first.rindex(name.encode(), 0, offset)  # a name and two lengths stand before the values
        floats = Floats(path, name, offset, first[start:offset], length, (size // whole, *shape))
        found[name] = from_array(floats, chunks=(rows, *shape), name=f"{path}:{name}", asarray=False)  # type: ignore[no-untyped-call]  # of dask
    return found


def features(record: bytes, path: Path) -> dict[str, tuple[int, int]]:
    """Of a record with its frame, `{name: (offset, bytes)}` of each packed list of floats. Raises BadData: it is none."""
    try:
        content = _FRAME[0], len(record) - _FRAME[1]
        found = {}
        for start, stop in _parts(record, content, 1):  # Example.features
            for entry in _parts(record, (start, stop), 1):  # Features.feature, a map
                (key,) = _parts(record, entry, 1)
                for feature in _parts(record, entry, 2):
                    for floats in _parts(record, feature, 2):  # Feature.float_list
                        for first, last in _parts(record, floats, 1):
                            found[record[slice(*key)].decode()] = first, last - first
        return found
    except (IndexError, ValueError) as error:
        raise BadData(f"{path}: a record is no tf.train.Example: {error}") from error


def _parts(record: bytes, within: tuple[int, int], field: int) -> Iterator[tuple[int, int]]:
    """Where the delimited values of a field lie. Source: protobuf.dev/programming-guides/encoding."""
    at, stop = within
    while at < stop:
        tag, at = _varint(record, at)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} at byte {at}")
        size, at = _varint(record, at)
        if at + size > stop:
            raise ValueError(f"{size} bytes at byte {at}, which end behind byte {stop}")
        if tag >> 3 == field:
            yield at, at + size
        at += size


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = record[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
