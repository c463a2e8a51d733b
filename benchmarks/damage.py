"""Damage as disks and networks do it: a file cut short, or some of its bytes replaced. The seed decides which."""

import random
import shutil
from pathlib import Path

_CUT_SHORT = 0.25  # of the copies; bytes are replaced in the others
_HEADERS = (
    4096  # bytes at the start, where half of the replaced ones are: most files have their headers there
)
_COUNTS = (1, 1, 2, 5, 20)


def damaged(content: bytes, seed: str) -> bytes:
    """Other content than `content`, and the same for the same seed; nothing can be changed where there is none."""
    dice = random.Random(seed)
    if len(content) < 2:
        return content
    if dice.random() < _CUT_SHORT:
        return content[: dice.randrange(1, len(content))]
    changed = bytearray(content)
    for _ in range(dice.choice(_COUNTS)):
        at = dice.randrange(len(content) if dice.random() < 0.5 else min(len(content), _HEADERS))
        changed[at] ^= dice.randrange(1, 256)
    return bytes(changed) if changed != content else damaged(content, seed + "again")


def damaged_copy(path: Path, target: Path, seed: str) -> Path:
    """A copy of a file, or of a folder with one file of it, damaged."""
    if path.is_file():
        target.write_bytes(damaged(path.read_bytes(), seed))
        return target
    shutil.copytree(path, target)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    chosen = random.Random(seed).choice(files)
    chosen.write_bytes(damaged(chosen.read_bytes(), seed))
    return target
