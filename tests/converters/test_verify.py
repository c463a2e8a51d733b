"""Damage is found, wherever it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.chunktable import read_table
from maelio.codecs import CODECS, CodecName
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.verify import verify
from maelio.errors import NotFound
from maelio.store import CONTAINERS, Container, open_store
from tests.converters.netcdf_files import write_netcdf


@pytest.fixture
def store(netcdf: Path, tmp_path: Path) -> Path:
    return convert([netcdf], tmp_path / "s.zarr", Options(shard_bytes=1)).path


def test_a_whole_store_has_no_damage(store: Path) -> None:
    """Nothing to report is an empty list."""
    assert verify(store) == []


def test_a_flipped_bit_a_short_and_a_missing_shard_are_named(tmp_path: Path) -> None:
    """One line each: the file and what is wrong."""
    source = write_netcdf(tmp_path / "a.nc", {"t": np.ones((4, 128, 128), np.float32)})
    store = convert([source], tmp_path / "s.zarr", Options(shard_bytes=1)).path
    shards = [store / f"fields/c/{number}/0/0/0" for number in range(4)]
    content = bytearray(shards[0].read_bytes())
    content[20] ^= 4
    shards[0].write_bytes(content)
    shards[1].write_bytes(content[:-1])
    shards[2].unlink()
    found = {damage.file: damage.reason for damage in verify(store)}
    assert list(found) == shards[:3]
    assert found[shards[0]].startswith("checksum ")
    assert found[shards[1]] == f"{len(content) - 1} bytes, wanted {len(content)}"
    assert found[shards[2]] == "missing"


@settings(deadline=None, max_examples=40)
@given(form=st.sampled_from(CONTAINERS), codec=st.sampled_from(CODECS), damaged=st.sets(st.integers(0, 99)))
def test_the_very_chunks_that_are_damaged_are_named(
    form: Container, codec: CodecName, damaged: set[int], stores: dict[tuple[str, str], Path]
) -> None:
    """By chunk, row and byte; of more than three the number. What stands around chunks is told apart from them."""
    path = stores[form, codec]
    store = open_store(path)
    (array,) = store.arrays.values()
    table = read_table(store, array.name)
    assert table is not None
    shard, content = path / array.shard_key(0), (path / array.shard_key(0)).read_bytes()
    spoilt, wanted = bytearray(content), []
    for number in sorted({each % array.chunks_per_shard for each in damaged}):
        offset, length = table.places[0, number].tolist()
        spoilt[offset + length // 2] ^= 1
        wanted.append(f"chunk {number} of array 'fields' (row {number}), at byte {offset}")
    if not wanted:
        spoilt[-1] ^= 1  # the checksum of the index, the end of a tar, or a record's checksum
    try:
        shard.write_bytes(spoilt)
        (found,) = verify(path)
    finally:
        shard.write_bytes(content)
    more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""
    assert found.file == shard
    assert found.reason.split(": ", 1)[1] == ("; ".join(wanted[:3]) + more or "outside its chunks")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Of every container and codec: two shards of six chunks."""
    folder = tmp_path_factory.mktemp("stores")
    values = np.random.default_rng(0).normal(280, 10, (12, 128, 128)).astype("f4")
    source = write_netcdf(folder / "a.nc", {"t": values})
    return {
        (form, codec): convert(
            [source],
            folder / f"{form}-{codec}",
            Options(format=form, codec=codec, shard_bytes=6 * 128 * 128 * 4),
        ).path
        for form in CONTAINERS
        for codec in CODECS
    }


def test_what_is_not_there_cannot_be_verified(tmp_path: Path) -> None:
    """A wrong path is not "no damage"."""
    with pytest.raises(NotFound):
        verify(tmp_path / "none.zarr")
