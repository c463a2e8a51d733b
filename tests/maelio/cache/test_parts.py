"""Parts of a file: every byte in exactly one."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from maelio.cache.parts import PART, bounds, digest_of, part_count, split


@given(st.integers(0, 5 * PART + 1))
def test_parts_follow_each_other_and_cover_the_file(size: int) -> None:
    edges = [bounds(part, size) for part in range(part_count(size))]
    assert all(0 < stop - start <= PART for start, stop in edges)
    assert [0, *(stop for _, stop in edges)] == [*(start for start, _ in edges), size]


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_an_object_is_named_by_the_string_of_its_checksums(checksums: list[bytes]) -> None:
    """So that the name proves the checksums, and they prove the bytes."""
    together = b"".join(checksums)
    assert digest_of(checksums) == hashlib.sha256(together).hexdigest()
    assert list(split(together)) == checksums


def test_names_stay_what_they_are() -> None:
    """To change this makes everything in every cache another object."""
    sums = [hashlib.sha256(block).digest() for block in (bytes(PART), b"end")]
    assert digest_of(sums) == "8eed62e981b2c197cc05e250b47a37c0bdf6c2ab4be9b1fc38690a827027d375"
    assert digest_of([]) == hashlib.sha256().hexdigest()
