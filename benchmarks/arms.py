"""The two ways that are compared: the naive one, and maelio's stream, in one and the same order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maelio.benchmarks.compare import Arm
from maelio.benchmarks.naive import NaiveWindows, as_it_is, naive_epoch
from maelio.benchmarks.training import Fields
from maelio.errors import NotFound
from maelio.loaders.order import epoch_order
from maelio.loaders.stream import Stream


def fields_of(stream: Stream, variable: str) -> Fields:
    """Finds `variable` in a batch of `stream`: (sample, step, *rest).

    Raises NotFound: the store does not hold it.
    """
    places = [
        (array, variables.index(variable))
        for array, variables in stream.variables.items()
        if variable in variables
    ]
    if not places:
        raise NotFound(f"{stream.store.path}: no variable {variable!r}; found {stream.variables}")
    array, number = places[0]
    return lambda batch: batch[array][:, :, number]


def order_of(stream: Stream, epoch: int) -> NDArray[np.int64]:
    """The first rows of the windows of an epoch, in the order in which `stream` delivers them."""
    return epoch_order(
        stream.samples,
        seed=stream.seed,
        epoch=epoch,
        shuffle=stream.shuffle,
        rows_per_chunk=stream.rows_per_chunk,
    )


def maelio_arm(new_stream: Callable[[], Stream], variable: str) -> Arm:
    """Every epoch is a new stream: chunks that the last one decoded and kept do not make the next one faster."""

    def epoch(number: int) -> Stream:
        stream = new_stream()
        stream.set_epoch(number)
        return stream

    return Arm("maelio", epoch, fields_of(new_stream(), variable))


@contextmanager
def naive_arm(source: Path, variable: str, stream: Stream) -> Iterator[Arm]:
    """The batches of `stream`, read from its `source` instead. Windows must be of consecutive steps."""
    windows = NaiveWindows(source, variable, len(stream.window))
    try:
        yield Arm(
            "naive",
            lambda number: naive_epoch(windows, order_of(stream, number).tolist(), stream.cut.batch_size),
            as_it_is,
        )
    finally:
        windows.close()
