"""Whole files or none, and sizes as people write them."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maelio.errors import BadRequest
from maelio.files import parse_bytes, replacing, show_bytes, write_atomically

UNITS = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


@given(st.integers(1, 2**20), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, space: str) -> None:
    assert parse_bytes(f"{number}{space}{unit}") == number * UNITS[unit]


@given(st.integers(1, 2**44))
@example(1024 * 1024 - 1)
def test_a_shown_size_reads_back_within_what_it_shows(size: int) -> None:
    """One decimal of the unit is what is shown, so half of that is the error."""
    unit = show_bytes(size).split()[1]
    assert abs(parse_bytes(show_bytes(size)) - size) <= 0.05 * UNITS[unit] + 1


@pytest.mark.parametrize(
    ("text", "size"), [("64MiB", 2**26), ("1.5 GB", 1_500_000_000), ("2gib", 2**31), ("4096", 4096)]
)
def test_sizes_a_person_writes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "0", "0.1B", "1 2", "3 parsecs", "nan", "1e9"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a size"):
        parse_bytes(text)


@given(old=st.binary(), new=st.binary())
def test_the_new_content_replaces_the_old_and_nothing_else_stays(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    path = tmp_path_factory.mktemp("written") / "record.json"
    for content in (old, new):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["record.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"old")
    path.with_name("record.json.part").mkdir()  # so that the part cannot be opened
    with pytest.raises(IsADirectoryError):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_file_takes_the_place_of_another_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(b"old")
    with replacing(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(b"old")

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        fail(part)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]
