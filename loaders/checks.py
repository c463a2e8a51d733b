"""Which chunks are compared with their checksum before they are used: none, all, or others in every epoch."""

from collections.abc import Iterable
from typing import Literal, get_args

from maelio.errors import BadRequest
from maelio.store import Store

Verify = Literal["never", "sample", "always"]
SAMPLED = 64  # one chunk of so many; as many epochs come to all

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: neighbours fall far from each other
_64_BITS = 0xFFFFFFFFFFFFFFFF


def is_checked(verify: Verify, chunk: int, epoch: int) -> bool:
    """Whether to compare chunk number `chunk` of an array in `epoch`. `sample`: one of 64, each once in 64 epochs.

    Source: Fibonacci hashing, Knuth, The Art of Computer Programming, volume 3, section 6.4.
    """
    if verify != "sample":
        return verify == "always"
    hashed = (chunk * _GOLDEN & _64_BITS) * SAMPLED >> 64
    return (hashed + epoch) % SAMPLED == 0


def choose_verify(store: Store, arrays: Iterable[str], wanted: Verify | None) -> Verify:
    """What is `wanted` for these `arrays`; None: `sample`, where the store has checksums of chunks.

    Raises BadRequest: an unknown choice, or there are no such checksums: an earlier maelio wrote the store, or it is none.
    """
    there = all(store.contents.stacks[name].table for name in arrays)
    if wanted is None:
        return "sample" if there else "never"
    if wanted not in get_args(Verify):
        raise BadRequest(f"verify={wanted!r}; wanted 'never', 'sample' or 'always'")
    if wanted != "never" and not there:
        raise BadRequest(
            f"verify={wanted!r}: {store.path} has no checksums of chunks; convert it with this maelio, or take 'never'"
        )
    return wanted
