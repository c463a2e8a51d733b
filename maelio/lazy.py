"""Stacked arrays as xarray reads them: lazily, chunk by chunk."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import ExplicitIndexer, IndexingSupport, explicit_indexing_adapter

from maelio.errors import BadData, MaelioError, NotPermitted
from maelio.store import Store, places


class Stacked(BackendArray):
    """The array `name` of a `store` of tar or TFRecord shards. Shape: (sample, variable, *rest).

    Indexing raises BadData, NotPermitted: a shard is damaged, missing, or may not be read; it is named.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._array = store.arrays[name]
        self.shape = self._array.shape
        self.dtype = self._array.dtype

    def __getitem__(self, key: ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = explicit_indexing_adapter(key, self.shape, IndexingSupport.BASIC, self._select)
        return values

    def _select(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        samples, variables = (np.arange(size)[part] for size, part in zip(self.shape, key[:2], strict=False))
        rows = samples.reshape(-1)
        pieces = np.unique(variables // self._array.chunk[1]).tolist()
        held = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of_chunk = rows // self._array.rows_per_chunk
        for number in np.unique(of_chunk).tolist():
            into = np.flatnonzero(of_chunk == number)
            self._read(number, pieces, rows[into] % self._array.rows_per_chunk, into, held)
        return held[(slice(None) if samples.ndim else 0, *key[1:])]

    def _read(
        self,
        number: int,
        pieces: list[int],
        rows: NDArray[np.int64],
        into: NDArray[np.int64],
        out: NDArray[Any],
    ) -> None:
        """Fill ``out[into]`` with `rows` of the chunk row `number`, as far as `pieces` hold them."""
        array, width = self._array, self._array.chunk[1]
        shard, place = divmod(number, array.rows_per_shard // array.rows_per_chunk)
        path = self._store.path / array.shard_key(shard)
        index = self._index(shard)[place * array.pieces : (place + 1) * array.pieces]
        chunk = np.empty((array.rows_stored(number), *array.chunk_shape[1:]), self.dtype)
        try:
            with open(path, "rb") as file:
                for piece in pieces:
                    offset, length = index[piece].tolist()
                    file.seek(offset)
                    array.codec.decode(file.read(length), chunk)
                    out[into, piece * width : (piece + 1) * width] = chunk[rows]
        except (OSError, BadData) as error:
            raise _named(path, error) from error

    def _index(self, shard: int) -> NDArray[np.int64]:
        path = self._store.path / str(self._array.index_key(shard))
        end = self._store.contents.stacks[self._array.name].shards[shard].bytes
        try:
            return places(path.read_bytes(), chunks=self._array.chunks_per_shard, end=end)
        except (OSError, BadData) as error:
            raise _named(path, error) from error


class Unstacked(BackendArray):
    """`variable` (sample, *rest), whose samples are all combinations of `sizes` indexes. Shape: (*sizes, *rest)."""

    def __init__(self, variable: xr.Variable, sizes: tuple[int, ...]) -> None:
        self._variable = variable
        self._sizes = sizes
        self.shape = (*sizes, *variable.shape[1:])
        self.dtype = variable.dtype

    def __getitem__(self, key: ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = explicit_indexing_adapter(key, self.shape, IndexingSupport.BASIC, self._select)
        return values

    def _select(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        among = len(self._sizes)
        taken = [np.arange(size)[part] for size, part in zip(self._sizes, key, strict=False)]
        samples = np.ravel_multi_index(np.ix_(*map(np.atleast_1d, taken)), self._sizes).reshape(-1)
        values = self._variable[(_as_slice(samples), *key[among:])].values
        return values.reshape(*(size for part in taken for size in part.shape), *values.shape[1:])


def _as_slice(numbers: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Numbers that follow each other as a slice, which is read much faster."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _named(path: Path, error: OSError | BadData) -> MaelioError:
    kind = NotPermitted if isinstance(error, PermissionError) else BadData
    return kind(f"{path}: {error.strerror if isinstance(error, OSError) else error}")
