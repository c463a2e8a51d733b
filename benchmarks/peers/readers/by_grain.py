"""Grain over ArrayRecord: a record a sample, a `MapDataset` shuffled and batched, read by threads.

Not by its worker processes: they take a second to start, or read ahead while others have their turn.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def write(rows: Any, folder: Path, given: dict[str, Any]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(folder / "samples.array_record"), "group_size:1,uncompressed")
    for row in rows:
        writer.write(row.tobytes())
    writer.close()


def decoded(shape: list[int], record: bytes) -> Any:
    return np.frombuffer(record, np.float32).reshape(shape)


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[Any]]:
    import grain

    source = grain.sources.ArrayRecordDataSource(str(folder / "samples.array_record"))
    options = grain.ReadOptions(num_threads=given["threads"])

    def epoch(number: int) -> Iterator[Any]:
        samples = grain.MapDataset.source(source).seed(number).shuffle()
        decode = partial(decoded, given["all"][1:])
        return iter(samples.map(decode).batch(given["batch_size"]).to_iter_dataset(options))

    return epoch
