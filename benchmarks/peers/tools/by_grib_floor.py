"""The floor for GRIB: read, decode, encode and write every message, and nothing else."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import eccodes
import numpy as np

from maelio.allocator import keep_freed_memory
from maelio.codecs import Codec


def messages(source: Path) -> Iterator[bytes]:
    """Of edition 2, whose bytes 8 to 15 are the message's length."""
    with open(source, "rb") as file:
        while head := file.read(16):
            yield head + file.read(int.from_bytes(head[8:], "big") - 16)


def convert(target: Path, source: Path) -> None:
    codec = Codec("lz4")
    with open(target / source.name, "wb", buffering=0) as out:
        for message in messages(source):
            handle = eccodes.codes_new_from_message(message)
            values = eccodes.codes_get_float_array(handle, "values")
            eccodes.codes_release(handle)
            out.write(codec.encode(np.asarray(values, np.float32)))


if __name__ == "__main__":
    folder, arguments, *sources = sys.argv[1:]
    keep_freed_memory()
    Path(folder).mkdir()
    with ThreadPoolExecutor(json.loads(arguments)["threads"]) as pool:
        list(pool.map(partial(convert, Path(folder)), map(Path, sources)))
