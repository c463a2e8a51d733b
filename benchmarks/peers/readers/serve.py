"""Read with one of the readers beside this file, turn by turn, as told on standard input.

    python serve.py READER write FOLDER JSON     write the samples in the format of the reader
    python serve.py READER read FOLDER JSON      say when all is imported; then a line a turn in, and one out

A reader is a module with `write(rows, folder, given)`, where it reads a format of its own, and `read(folder, given)`,
which opens what was written and returns what gives the batches of an epoch, an array (sample, ...) each. This
imports nothing of maelio, and runs in any environment.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

Epochs = Callable[[int], Iterable[Any]]


def turn(open_epochs: Callable[[], Epochs], number: int, seconds: float) -> dict[str, Any]:
    """Whole epochs from `number` on until `seconds` have passed; of every batch the last value is looked at."""
    count, last, first_s = 0, 0.0, 0.0
    start = time.perf_counter()
    epochs = open_epochs()
    while True:
        for batch in epochs(number):
            count += len(batch)
            last = float(batch[-1].reshape(-1)[-1])
            first_s = first_s or time.perf_counter() - start
        number += 1
        passed = time.perf_counter() - start
        if passed >= seconds:
            return {"samples": count, "wall_s": passed, "first_s": first_s, "last": last, "next": number}


def digests(open_epochs: Callable[[], Epochs], number: int) -> dict[str, Any]:
    """Of every sample of one epoch, the checksum of its bytes."""
    return {
        "crcs": [crc32(sample.tobytes()) for batch in open_epochs()(number) for sample in np.asarray(batch)]
    }


def serve(reader: Any, folder: Path, given: Mapping[str, Any]) -> None:
    """What the reader itself prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: Mapping[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    for module in given["modules"]:
        import_module(module)
    answer({})
    opened = cache(lambda: reader.read(folder, given))
    for line in sys.stdin:
        asked = json.loads(line)
        answer((digests if asked.pop("check") else turn)(opened, **asked))


def main(name: str, what: str, target: str, arguments: str) -> None:
    sys.path.append(str(Path(__file__).parent))  # also of processes that the reader starts
    reader, folder, given = import_module(name), Path(target), json.loads(arguments)
    if what == "read":
        serve(reader, folder, given)
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.memmap(given["rows"], np.float32, "r", shape=tuple(given["all"]))
    reader.write(rows[: given["samples"]], folder, given)


if __name__ == "__main__":
    main(*sys.argv[1:])
