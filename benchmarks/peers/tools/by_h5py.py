"""The loop a scientist would write: h5py, numpy and zarr-python in two processes, one file after the other.

`stack`: variables side by side on an axis behind the sample's, for fields; else all values of a sample in one row,
for columns. `rows`: samples of one chunk; a source file is a shard.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec


def read(source: str, names: list[str], stack: bool) -> NDArray[Any]:
    with h5py.File(source) as file:
        fields = [file[name][...] for name in names]
    if stack:
        return np.stack(fields, axis=1)
    return np.concatenate([field.reshape(len(field), -1) for field in fields], axis=1)


def copy(source: str, target: str, names: list[str], stack: bool, first: int) -> None:
    block = read(source, names, stack)
    array = zarr.open_array(target)
    array[first : first + len(block)] = block


if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    with h5py.File(sources[0]) as file:
        shapes = [file[name].shape for name in given["variables"]]
    count, rest = shapes[0][0], shapes[0][1:]
    row = (len(shapes), *rest) if given["stack"] else (sum(int(np.prod(shape[1:])) for shape in shapes),)
    zarr.create_array(
        target,
        shape=(count * len(sources), *row),
        dtype="f4",
        chunks=(given["rows"], *row),
        shards=(count, *row),
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)],
    )
    starts = range(0, count * len(sources), count)
    with ProcessPoolExecutor(given["threads"]) as pool:
        list(
            pool.map(
                copy, sources, repeat(target), repeat(given["variables"]), repeat(given["stack"]), starts
            )
        )
