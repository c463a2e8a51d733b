"""What each codec makes of the data of a store: a few of its chunks, packed and unpacked here and now."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.benchmarks.explain import Data
from maelio.benchmarks.stages import Codec
from maelio.codecs import CODECS
from maelio.codecs import Codec as Packing
from maelio.loaders.rows import Ask
from maelio.loaders.shards import Shards
from maelio.records import RunRecord
from maelio.store import Store, open_store

_CHUNKS, _ROUNDS = 4, 3


def data_of(record: RunRecord) -> Data | None:
    """Of the first store among the inputs of a run that is there and still the same; None: there is none."""
    for reference in record.inputs:
        if Path(reference.uri, "zarr.json").is_file():
            store = open_store(reference.uri)
            if store.digest == reference.digest:
                return data_in(store)
    return None


def data_in(store: Store) -> Data:
    """By chunks from the begin, the middle and the end of the largest array. Decoding: the best of three, in seconds
    for all the bytes of a chunk, which leaves a ratio of codecs."""
    array = max(store.arrays.values(), key=lambda array: array.row_bytes * array.samples)
    rows = min(array.rows_per_chunk, array.samples)
    chunks = []
    for first in np.linspace(0, array.samples - rows, _CHUNKS).astype(int):
        out = np.empty((rows, *array.row_shape), array.dtype)
        Shards(store, array.name).read([Ask(np.arange(first, first + rows), out)])
        chunks.append(out)
    found: dict[str, Codec] = {}
    for name in CODECS:
        packing = Packing(name)
        packed = [packing.encode(chunk) for chunk in chunks]
        best = min(_unpacked_s(packing, packed, out) for _ in range(_ROUNDS))
        found[name] = Codec(sum(map(len, packed)) / sum(chunk.nbytes for chunk in chunks), best)
    return Data(array.codec.name, found)


def _unpacked_s(packing: Packing, packed: list[bytes], out: NDArray[Any]) -> float:
    start = time.perf_counter()
    for one in packed:
        packing.decode(one, out)
    return time.perf_counter() - start
