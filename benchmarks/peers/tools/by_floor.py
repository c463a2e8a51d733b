"""The floor for NetCDF4: read, inflate, unshuffle, encode and write every source chunk, and nothing else.

No order of samples, no statistics, no store that opens. The reading and encoding are maelio's own.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from maelio.allocator import keep_freed_memory
from maelio.codecs import Codec
from maelio.converters.netcdf4 import tables
from maelio.converters.storage import Chunks, read_rows

_ENCODED_AT_ONCE = 2**20  # bytes


def convert(target: Path, source: Path) -> None:
    with h5py.File(source) as opened:
        shapes = {
            name: held.shape for name, held in opened.items() if held.dtype == np.float32 and held.chunks
        }
    found = tables(source, {name: ("", shape) for name, shape in shapes.items()})
    codec = Codec("lz4")
    with open(source, "rb") as file, open(target / source.name, "wb", buffering=0) as out:
        for name, (dtype, storage) in found.items():
            assert isinstance(storage, Chunks)
            rows = shapes[name][0]
            block = np.empty((storage.shape[0], *shapes[name][1:]), dtype)
            width = max(1, _ENCODED_AT_ONCE // block[0].nbytes)
            for first in range(0, rows, len(block)):
                part = block[: min(len(block), rows - first)]
                read_rows(file.fileno(), storage, dtype, 0, range(first, first + len(part)), part)
                out.writelines(codec.encode(part[at : at + width]) for at in range(0, len(part), width))


if __name__ == "__main__":
    folder, arguments, *sources = sys.argv[1:]
    keep_freed_memory()
    Path(folder).mkdir()
    with ThreadPoolExecutor(json.loads(arguments)["threads"]) as pool:
        list(pool.map(partial(convert, Path(folder)), map(Path, sources)))
