"""The `tfrecord` package: an Example a column, a list of bytes a variable; a source file is a shard."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
from tfrecord.writer import TFRecordWriter


def convert(target: str, names: list[str], source: str) -> None:
    with h5py.File(source) as file:
        fields = {name: file[name][...] for name in names}
    writer = TFRecordWriter(str(Path(target) / f"{Path(source).stem}.tfrecord"))
    for column in range(len(fields[names[0]])):
        writer.write({name: (fields[name][column].tobytes(), "byte") for name in names})
    writer.close()


if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    Path(target).mkdir()
    with ProcessPoolExecutor(given["threads"]) as pool:
        list(pool.map(partial(convert, target, given["variables"]), sources))
