"""How long a conversion will take: one shard's beginning is read and encoded into memory, and the time scaled up."""

import threading
import time
from collections.abc import Callable

import numpy as np

from maelio.converters.chunks import chunks
from maelio.converters.moments import moments_of_each
from maelio.converters.plan import Plan, Region, pieces
from maelio.converters.region import read_region
from maelio.converters.storage import Chunked
from maelio.store import StackedArray

_WARM_S = 0.1  # a shorter measurement is mostly of what a library does when it is first used
_SAMPLE_BYTES = 128 * 2**20  # of a block: about a second


def estimate_s(plan: Plan, clock: Callable[[], float] = time.perf_counter) -> float | None:
    """Seconds that the whole plan takes on its threads: reading and encoding, without writing to a disk.

    None: not even one chunk of some array is small enough to be tried.

    Raises BadData: what was tried cannot be read.
    """
    total = 0.0
    for array in plan.arrays:
        rows = _rows(plan, array)
        if not rows:
            return None
        wall = _measure(plan, array, rows, clock)
        if wall < _WARM_S:
            wall = _measure(plan, array, rows, clock)
        total += wall * array.samples / rows
    return total / plan.workers


def _rows(plan: Plan, array: StackedArray) -> int:
    """Rows to try: whole chunks of the source, since each is decoded as a whole, from the first file alone."""
    first, dimension, width = plan.joined.runs[0], plan.joined.dimension, plan.samples.width
    variables = [plan.sources[first.file].variables[name] for name in array.variables]
    lengths = [
        storage.shape[variable.held.dimensions.index(dimension)] * width
        for variable in variables
        if isinstance(storage := variable.along(dimension), Chunked)
    ]
    most = min(array.rows_per_shard, _SAMPLE_BYTES // array.row_bytes, len(first.rows) * width)
    return min(max(array.rows_per_chunk, *lengths, 1), most)


def _measure(plan: Plan, array: StackedArray, rows: int, clock: Callable[[], float]) -> float:
    tried = tuple(pieces(range(rows), plan.joined, plan.samples))
    region = Region(array, 0, plan.samples, tried, plan.feeds[array.name], plan.options)
    block = np.empty((rows, *array.row_shape), array.dtype)
    start = clock()
    read_region(region, plan.sources, block, threading.Event())
    moments_of_each(block, None)
    for chunk in chunks(array, 0, block):
        array.codec.encode(chunk.values)
    return clock() - start
