"""References between tasks."""

import os
from pathlib import Path

import pytest

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadData, NotFound
from maelio.flows.references import kept, path_of, reference_to, store_of
from maelio.records import Reference


def test_a_reference_leads_back_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "data.nc"
    file.write_bytes(b"123456789")
    reference = reference_to(file)
    assert reference.digest == "crc32c:e3069283"  # the check value of CRC-32C
    assert path_of(reference) == file


def test_a_file_that_has_changed_or_gone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data.nc"
    file.write_bytes(b"one")
    reference = reference_to(file)
    file.write_bytes(b"two")
    with pytest.raises(BadData, match="has changed: crc32c"):
        path_of(reference)
    file.unlink()
    with pytest.raises(NotFound, match="no such file"):
        path_of(reference)


def test_a_store_is_kept_until_its_source_or_the_codec_changes(hadgem: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "E1.nc", tmp_path / "E1.zarr"
    source.write_bytes((hadgem / "E1_north_america.nc").read_bytes())
    assert kept(target, [source], Options()) is None
    store = convert([source], target)
    held = kept(target, [source], Options())
    assert held is not None
    assert store_of(Reference(uri=str(target), digest=held.digest)).digest == store.digest
    assert kept(target, [source], Options(codec="zstd")) is None
    os.utime(source, ns=(0, 0))
    assert kept(target, [source], Options()) is None
    with pytest.raises(BadData, match="has changed"):
        store_of(Reference(uri=str(target), digest="crc32c:00000000"))
