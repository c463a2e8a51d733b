"""Files that are there as a whole or not at all, and sizes as people write them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maelio.errors import BadRequest

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6,
          "GB": 10**9, "TB": 10**12}  # fmt: skip


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never half of it, also after a power cut."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when the block ends; after an error, nothing is left of it.

    Each process writes a file of its own: the last to end has its way.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def parse_bytes(text: str) -> int:
    """Bytes of `64MiB`, `1.5 GB`, `4096`. Raises BadRequest: anything else, and less than one byte."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match and (unit := _UNITS.get(match[2].upper())) and (size := int(float(match[1]) * unit)) > 0:
        return size
    raise BadRequest(f"{text!r} is not a size; write it like 512MiB, 2GiB or 1.5GB")


def show_bytes(size: float) -> str:
    """`1.7 MiB` for 1824028."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
