"""Rows of an array that was never converted, read by whoever opened it."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.foreign import Foreign
from maelio.loaders.checks import Verify
from maelio.loaders.parts import Part, Piece
from maelio.loaders.reading import Reading
from maelio.loaders.rows import Rows
from maelio.loaders.scratch import Scratch
from maelio.loaders.shardfile import Patience, Stopped
from maelio.loaders.shards import Shards
from maelio.loaders.stagedshards import Bring
from maelio.store import StackedArray, Store

Array = NDArray[Any]

_HELD_BYTES = 2**28  # of decoded blocks, by default


def open_rows(
    store: Store,
    name: str,
    parts: Sequence[Part],
    cached_blocks: int,
    patience: Patience,
    verify: Verify,
    bring: Bring | None = None,
) -> Rows:
    """The reader of the array `name`; `bring` waits until a shard of a store is there.

    Raises BadData, NotPermitted: its files are not what they should be.
    """
    if isinstance(store, Foreign):
        return InPlace(store, name, parts, cached_blocks, patience)
    return Shards(
        store, name, parts=parts, cached_chunks=cached_blocks, patience=patience, verify=verify, bring=bring
    )


def rows_together(store: Store, array: StackedArray) -> int:
    """Rows of the blocks that `array` is read in."""
    return store.blocks[array.name] if isinstance(store, Foreign) else array.rows_per_chunk


def blocks_held(store: Store, block_bytes: int, memory: int | None) -> int | None:
    """How many blocks of every array are worth holding; None: as of any store.

    What is not converted costs much to decode: as many as `memory` takes, by default a moderate one.
    """
    if not isinstance(store, Foreign):
        return None
    return store.samples if memory is not None else _HELD_BYTES // max(block_bytes, 1)


def reading_bytes(store: Store, parts: Sequence[Part]) -> int:
    """What a thread holds while it reads, besides what it fills: nothing that counts, of a store."""
    if not isinstance(store, Foreign):
        return 0
    return max(
        rows * part.array.chunk_bytes // part.array.rows_per_chunk
        + store.readers.nbytes(part.array.name, rows)
        for part in parts
        for rows in [rows_together(store, part.array)]
    )


class InPlace(Rows):
    """Reads each variable of a block by itself, and only those that are asked for.

    Raises BadData: a file is not what it was when the store was opened.
    """

    def __init__(
        self, store: Foreign, name: str, parts: Sequence[Part], cached_blocks: int, patience: Patience
    ) -> None:
        super().__init__(store.arrays[name], parts, store.blocks[name], cached_blocks)
        self._read = store.readers.open(name)
        self._patience = patience
        self._scratch = Scratch()

    def _fill(self, number: int, takers: Sequence[tuple[Sequence[Piece], Array]], reading: Reading) -> None:
        wanted: dict[int, list[tuple[Piece, Array]]] = {}
        for pieces, out in takers:
            for piece in pieces:
                wanted.setdefault(piece.number, []).append((piece, out))
        rows = range(self.array.samples)[number * self.rows :][: self.rows]
        for variable, takes in wanted.items():
            shape = (len(rows), *self.array.chunk_shape[1:])
            chunk = self._scratch.array(shape, self.array.dtype)
            with reading.decoding:
                self._patiently(rows, variable, chunk, reading)
            for piece, out in takes:
                for box in piece.boxes:
                    out[(slice(0, len(rows)), *box.target)] = chunk[(slice(None), *box.source)]

    def _patiently(self, rows: range, variable: int, chunk: Array, reading: Reading) -> None:
        """Raises BadData: they cannot be read, however often that is tried. Stopped: nobody wants them."""
        failed = 0
        while True:
            if reading.stop.is_set():
                raise Stopped
            try:
                return self._read(rows, variable, chunk)
            except BadData as error:
                if not _by_the_disk(error) or failed == self._patience.retries:
                    raise
            if reading.stop.wait(self._patience.pause_s * 2**failed):
                raise Stopped
            failed += 1


def _by_the_disk(error: BadData) -> bool:
    """Whether what failed is a read, and not what was read."""
    cause: BaseException | None = error
    while isinstance(cause, BadData):
        cause = cause.__cause__
    return isinstance(cause, OSError)
