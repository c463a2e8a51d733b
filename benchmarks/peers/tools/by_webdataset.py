"""webdataset's TarWriter: a member a column, all its values in one .npy; a source file is a shard."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import webdataset


def convert(target: str, names: list[str], source: str) -> None:
    with h5py.File(source) as file:
        fields = [file[name][...] for name in names]
    rows = np.concatenate([field.reshape(len(field), -1) for field in fields], axis=1)
    with webdataset.TarWriter(str(Path(target) / f"{Path(source).stem}.tar")) as writer:
        for number, row in enumerate(rows):
            writer.write({"__key__": f"{number:06d}", "npy": row})


if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    Path(target).mkdir()
    with ProcessPoolExecutor(given["threads"]) as pool:
        list(pool.map(partial(convert, target, given["variables"]), sources))
