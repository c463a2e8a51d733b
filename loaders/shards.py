"""Rows of one stacked array, read from its shards.

Of a part of a row only the chunks that hold it are read; of a chunk without codec only the bytes.

No Zarr library and no Python object per value take part; an index lookup is arithmetic on the row number.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.loaders.ahead import Range
from maelio.loaders.checks import Verify, is_checked
from maelio.loaders.parts import Part, Piece, extents, spans
from maelio.loaders.reading import Reading
from maelio.loaders.rows import Rows
from maelio.loaders.scratch import Scratch
from maelio.loaders.shardfile import PATIENCE, Patience, ShardFile, Stopped
from maelio.loaders.shardfiles import OPEN_FILES, ShardFiles
from maelio.loaders.stagedshards import Bring, StagedShards
from maelio.store import Store

Array = NDArray[Any]

_scratch = Scratch()


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a chunk lies in `file`; `checksum` is its CRC-32C, where it is to be compared."""

    file: ShardFile
    offset: int
    length: int
    checksum: int | None

    def check(self, content: memoryview) -> None:
        """Raises BadData: these are not the bytes that were written."""
        if self.checksum is not None and (found := crc32c(content)) != self.checksum:
            raise BadData(f"checksum {found:08x}, wanted {self.checksum:08x}")


class Shards(Rows):
    """The reader of the array `name`. Several threads may read at the same time.

    `parts` of its rows can be asked for; all of the row by default. `cached_chunks` decoded chunks are held
    where a chunk has many rows, and `open_files` shards open. `verify` says which chunks are compared with their
    checksum; without checksums, none. With `bring`, which waits until a shard is there, each is opened when it has come.

    Raises:
        BadData: a shard is missing, not as long as the store says, or the places of its chunks are damaged.
        NotPermitted: those may not be read.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        parts: Sequence[Part] | None = None,
        cached_chunks: int = 1,
        patience: Patience = PATIENCE,
        verify: Verify = "never",
        open_files: int = OPEN_FILES,
        bring: Bring | None = None,
    ) -> None:
        array = store.arrays[name]
        parts = [Part.whole(array)] if parts is None else list(parts)
        super().__init__(array, parts, array.rows_per_chunk, cached_chunks)
        self._raw = self.array.codec.name == "none"
        self._chunk_row = self.array.chunk_shape[1:]
        self._staged = None if bring is None else StagedShards(store, name, patience=patience, bring=bring)
        self._files = self._staged or ShardFiles(store, name, patience=patience, most=open_files)
        self._chunk_rows_per_file = self.array.rows_per_shard // self.array.rows_per_chunk
        of_row = self.array.chunks_per_shard // self._chunk_rows_per_file
        self._index = self._files.places.reshape(-1, of_row, 2)
        checksums = self._files.checksums
        self._checksums = None if checksums is None else checksums.reshape(-1, of_row)
        self._verify = verify
        alone = self._raw and self.rows == 1 and verify != "always"
        self._extents = tuple(dict.fromkeys(extent for part in parts for extent in extents(part, alone)))

    def forget(self, shard: int) -> None:
        """Close a shard that was brought, once nobody reads it."""
        if self._staged is not None:
            self._staged.forget(shard)

    def coming(self, rows: NDArray[np.int64]) -> list[Range]:
        numbers = np.unique(rows // self.rows)
        if self._blocks is not None:
            numbers = self._blocks.lacking(numbers)
        found = []
        for number in numbers.tolist():
            places = self._index[number].tolist()
            for piece, begin, nbytes in self._extents:
                offset, length = places[piece]
                if offset >= 0:
                    shard = number // self._chunk_rows_per_file
                    found.append(Range(self._files.ask, shard, offset + begin, nbytes or length))
        return found

    def _fill(self, number: int, takers: Sequence[tuple[Sequence[Piece], Array]], reading: Reading) -> None:
        """Fill what every taker wants of the chunk row `number`. Shape of each: (rows of a chunk, *held)."""
        if reading.stop.is_set():
            raise Stopped
        wanted: dict[int, list[tuple[Piece, Array]]] = {}
        for pieces, out in takers:
            for piece in pieces:
                wanted.setdefault(piece.number, []).append((piece, out))
        file = self._file(number // self._chunk_rows_per_file, reading)
        stored = (self.array.rows_stored(number), *self._chunk_row)
        for piece_number, takes in wanted.items():
            offset, length = self._index[number, piece_number].tolist()
            if offset < 0:
                for view, _ in _views(takes, stored[0]):
                    view[...] = self.array.fill_value
                continue
            try:
                place = Stored(file, offset, length, self._checksum(number, piece_number, reading.epoch))
                self._take(place, stored, takes, reading)
            except BadData as error:
                raise BadData(
                    f"{file.path}, {self.array.chunk_name(number)}, at byte {offset}: {error}"
                ) from error

    def _file(self, shard: int, reading: Reading) -> ShardFile:
        if self._staged is None:
            return self._files[shard]
        with reading.fetching:
            return self._staged.get(shard, reading.stop)

    def _checksum(self, number: int, piece: int, epoch: int) -> int | None:
        """That of a chunk, where it is to be compared."""
        if self._checksums is None:
            return None
        if not is_checked(self._verify, number * self._checksums.shape[1] + piece, epoch):
            return None
        return int(self._checksums[number, piece])

    def _take(
        self,
        place: Stored,
        stored: tuple[int, ...],
        takes: Sequence[tuple[Piece, Array]],
        reading: Reading,
    ) -> None:
        """Read the inner chunk of shape `stored` once, and hand each of `takes` what it wants of it."""
        chunk = next((view for view in _wholes(takes, stored)), None)
        if chunk is not None:
            self._load(place, chunk, reading)
            if len(takes) == 1:
                return
        elif self._raw and stored[0] == 1 and (place.checksum is None or self._verify == "sample"):
            chunk = _scratch.array(stored, self.array.dtype)
            self._load_spans(place, chunk, takes, reading)
        else:
            chunk = _scratch.array(stored, self.array.dtype)
            self._load(place, chunk, reading)
        for view, source in _views(takes, stored[0]):
            if view.ctypes.data != chunk.ctypes.data:
                view[...] = chunk[(slice(None), *source)]

    def _load(self, place: Stored, out: Array, reading: Reading) -> None:
        """Fill `out`, C-contiguous, with one inner chunk."""
        reading.stored_bytes += place.length
        if self._raw:
            if place.length != out.nbytes:
                raise BadData(f"holds {place.length} bytes, wanted {out.nbytes}")
            content = out.reshape(-1).view(np.uint8).data
            with reading.fetching:
                place.file.read_into(place.offset, content, reading.stop)
            with reading.decoding:
                place.check(content)
            return
        with reading.fetching:
            stored = place.file.fetch(place.offset, place.length, reading.stop)
        with reading.decoding:
            place.check(stored)
            self.array.codec.decode(stored, out)

    def _load_spans(
        self,
        place: Stored,
        chunk: Array,
        takes: Sequence[tuple[Piece, Array]],
        reading: Reading,
    ) -> None:
        """Fill of `chunk`, one row stored without codec, what is wanted."""
        if place.length != chunk.nbytes:
            raise BadData(f"holds {place.length} bytes, wanted {chunk.nbytes}")
        content, size = chunk.reshape(-1).view(np.uint8).data, chunk.dtype.itemsize
        with reading.fetching:
            for box in (box for piece, _ in takes for box in piece.boxes):
                for begin, end in spans(box.source, chunk.shape[1:], size):
                    span = content[begin * size : end * size]
                    place.file.read_into(place.offset + begin * size, span, reading.stop)
                    reading.stored_bytes += (end - begin) * size


def scratch_bytes(parts: Iterable[Part]) -> int:
    """Memory that each thread needs to cut `parts` out of chunks: one decoded chunk, or none."""
    return max(
        (part.array.chunk_bytes for part in parts if part.drawn or not all(p.whole for p in part.pieces)),
        default=0,
    )


def _views(takes: Sequence[tuple[Piece, Array]], rows: int) -> Iterator[tuple[Array, tuple[slice, ...]]]:
    """Where each box goes, and from where in the chunk."""
    for piece, out in takes:
        for box in piece.boxes:
            yield out[(slice(0, rows), *box.target)], box.source


def _wholes(takes: Sequence[tuple[Piece, Array]], stored: tuple[int, ...]) -> Iterator[Array]:
    """The places that take all of the chunk, as it is stored."""
    for piece, out in takes:
        if piece.whole:
            view = out[(slice(0, stored[0]), *piece.boxes[0].target)]
            if view.shape == stored and view.flags.c_contiguous:
                yield view
