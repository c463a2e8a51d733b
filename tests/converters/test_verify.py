"""Damage is found, wherever it is."""

from pathlib import Path

import pytest

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.verify import verify
from maelio.errors import NotFound


@pytest.fixture
def store(netcdf: Path, tmp_path: Path) -> Path:
    return convert([netcdf], tmp_path / "s.zarr", Options(shard_bytes=1)).path


def test_a_whole_store_has_no_damage(store: Path) -> None:
    """Nothing to report is an empty list."""
    assert verify(store) == []


def test_a_flipped_bit_a_short_and_a_missing_shard_are_named(tmp_path: Path) -> None:
    """One line each: the file and what is wrong."""
    import numpy as np

    from tests.converters.netcdf_files import write_netcdf

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


def test_what_is_not_there_cannot_be_verified(tmp_path: Path) -> None:
    """A wrong path is not "no damage"."""
    with pytest.raises(NotFound):
        verify(tmp_path / "none.zarr")
