"""Zarr, tar and TFRecord hold the same samples: for the stream, for xarray, and for readers that know no maelio."""

import io
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import webdataset
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tfrecord.reader import tfrecord_loader

import maelio
from maelio.codecs import CODECS, CodecName
from maelio.converters import layout
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.verify import verify
from maelio.errors import BadData
from maelio.store import CONTAINERS, Container, Store
from tests.conftest import ROOT
from tests.converters.netcdf_files import write_netcdf

# WebDataset leaves closing its files to the garbage collection
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# Bytes from which a row stands alone, from which it is cut, and that chunks are cut or gathered to
LAYOUTS = {
    "blocks": (64 * 2**10, 4 * 2**20, 1024),
    "samples": (1, 4 * 2**20, 2**20),
    "pieces": (1, 1, 1),
}


@pytest.fixture
def field() -> NDArray[np.float32]:
    """23 steps of 5 x 7 temperatures: the last block is not full. Shape: (time, latitude, longitude); K."""
    return (np.random.default_rng(0).permutation(23 * 5 * 7).reshape(23, 5, 7) / 10 + 240).astype(np.float32)


def small(monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    """Let small fields be laid out as large ones are."""
    for name, nbytes in zip(("SMALL_ROW", "LARGE_ROW", "CHUNK_BYTES"), LAYOUTS[cut], strict=True):
        monkeypatch.setattr(layout, name, nbytes)


def stacked(fields: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return np.stack(list(fields.values()), axis=1)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_all_formats_stream_the_same_and_give_back_the_source(data: st.DataObject) -> None:
    """Bit for bit and in the same order, whatever the dataset, its layout, codec, seed and window."""
    samples, rows, columns = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 4)))
    dtypes = data.draw(st.lists(st.sampled_from(["f4", "f8", "i2"]), min_size=1, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    fields = {
        f"v{number}": (random.random((samples, rows, columns)) * 100).astype(dtype)
        for number, dtype in enumerate(dtypes)
    }
    cut = data.draw(st.sampled_from([*LAYOUTS]))
    codec, shard_bytes = data.draw(st.sampled_from(CODECS)), data.draw(st.integers(1, 2000))
    window = data.draw(st.sampled_from([(0,), (-1, 0)])) if samples > 1 else (0,)
    order: dict[str, Any] = {"batch_size": data.draw(st.integers(1, 9)), "seed": 3, "threads": 2}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        small(patch, cut)
        source = write_netcdf(Path(folder) / "a.nc", fields)
        streams = []
        for form in CONTAINERS:
            options = Options(format=form, codec=codec, shard_bytes=shard_bytes)
            store = convert([source], Path(folder) / form, options)
            with xr.open_dataset(source) as wanted, xr.open_dataset(store.path, engine="maelio") as found:
                xr.testing.assert_identical(found.load(), wanted.load())
            assert verify(store.path) == []
            streams.append(maelio.stream(store, window=window, **order))
        for batches in zip(*streams, strict=True):
            for name in batches[0]:
                assert len({batch[name].numpy().tobytes() for batch in batches}) == 1


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("cut", LAYOUTS)
def test_any_part_is_read_as_from_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Container, cut: str
) -> None:
    """Lazily: numbers, slices backwards, lists."""
    small(monkeypatch, cut)
    random = np.random.default_rng(0)
    source = write_netcdf(
        tmp_path / "a.nc", {name: random.random((23, 5, 7)).astype("f4") for name in ("t", "u")}
    )
    store = convert([source], tmp_path / "s", Options(format=form, shard_bytes=700))
    parts: list[dict[str, Any]] = [
        {"time": 3},
        {"time": slice(20, 2, -3), "latitude": 1},
        {"time": [4, 0, 22], "longitude": slice(1, 5)},
        {"latitude": slice(0, 0)},
    ]
    with xr.open_dataset(source) as wanted, xr.open_dataset(store.path, engine="maelio") as found:
        assert not found.t.variable._in_memory
        for part in parts:
            xr.testing.assert_identical(found.isel(part).load(), wanted.isel(part).load())


@pytest.fixture(params=["tar", "tfrecord"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    field: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """Several shards of two samples each."""
    small(monkeypatch, "samples")
    source = write_netcdf(tmp_path / "source.nc", {"t": field})
    return convert([source], tmp_path / "store", Options(format=request.param, shard_bytes=300))


@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_a_flipped_byte_anywhere_is_found(store: Store, where: float) -> None:
    """In shards and in their indexes: by `verify`, which names the file."""
    for file, wanted in list(store.shard_files()):
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[int(where * wanted.bytes)] ^= 1
        file.write_bytes(damaged)
        (damage,) = verify(store.path)
        assert damage.file == file
        assert damage.reason.startswith("checksum ")
        file.write_bytes(whole)


@pytest.mark.parametrize("change", ["flip", "cut", "remove", "empty"])
def test_a_damaged_index_is_refused_by_name(store: Store, change: str) -> None:
    """By xarray, and by the stream of a store without a table of chunks; with it nobody needs the index."""
    index = store.path / "fields-000001.index"
    if change == "remove":
        index.unlink()
    else:
        content = bytearray(index.read_bytes())
        content[3] ^= 1
        index.write_bytes(bytes({"flip": content, "cut": content[:-1], "empty": bytearray()}[change]))
    stacks = {name: stack.model_copy(update={"table": None}) for name, stack in store.contents.stacks.items()}
    earlier = replace(store, contents=store.contents.model_copy(update={"stacks": stacks}))
    with pytest.raises(BadData, match=str(index)):
        next(iter(maelio.stream(earlier, batch_size=3)))
    assert sum(len(batch["fields"]) for batch in maelio.stream(store, batch_size=3, verify="always")) == 23
    with (
        xr.open_dataset(store.path, engine="maelio") as found,
        pytest.raises(BadData, match=str(index)),
    ):
        found.t.load()


@pytest.mark.parametrize("change", ["cut", "remove"])
def test_a_damaged_shard_is_refused_by_name(store: Store, change: str) -> None:
    shard = store.path / store.arrays["fields"].shard_key(1)
    if change == "remove":
        shard.unlink()
    else:
        os.truncate(shard, 100)
    with pytest.raises(BadData, match=str(shard)):
        next(iter(maelio.stream(store, batch_size=3)))
    with (
        xr.open_dataset(store.path, engine="maelio") as found,
        pytest.raises(BadData, match=str(shard)),
    ):
        found.t.load()


def files(store: Store) -> list[str]:
    return [str(path) for path, _ in store.shard_files() if path.suffix not in (".index", ".chunks")]


@unclosed
@pytest.mark.parametrize("cut", LAYOUTS)
def test_webdataset_gives_arrays(
    tmp_path: Path, field: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Its own `decode`, over all shards: each sample once and no padding; pieces of a sample come together."""
    small(monkeypatch, cut)
    fields = {"t": field, "u": field + 1}
    source = write_netcdf(tmp_path / "a.nc", fields)
    store = convert([source], tmp_path / "s", Options(format="tar", codec="none", shard_bytes=3000))
    assert len(files(store)) > 1
    members = list(webdataset.WebDataset(files(store), shardshuffle=False).decode())
    match cut:
        case "blocks":
            found = np.concatenate([member["npy"] for member in members])
            assert found.shape[0] % members[0]["npy"].shape[0]
        case "samples":
            found = np.stack([member["npy"] for member in members])
        case "pieces":
            found = np.stack([np.concatenate([member["0.npy"], member["1.npy"]]) for member in members])
    np.testing.assert_array_equal(found, stacked(fields))
    starts = range(0, 23, store.arrays["fields"].rows_per_chunk)
    assert [int(member["__key__"]) for member in members] == list(starts)


@pytest.mark.parametrize("codec", CODECS)
def test_tarfile_reads_the_members(tmp_path: Path, field: NDArray[np.float32], codec: CodecName) -> None:
    """Python's own reader sees whole, well-formed archives, and nothing behind them."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field})
    store = convert([source], tmp_path / "s", Options(format="tar", codec=codec))
    (path,) = files(store)
    with tarfile.open(path, errorlevel=2) as archive:
        (member,) = archive
        assert (member.name, member.mtime) == (f"000000000.{'npy' if codec == 'none' else 'blosc'}", 0)
        end = -(-(member.offset_data + member.size) // 512) * 512
    content = Path(path).read_bytes()
    assert content[257:265] == b"ustar\x0000"
    assert content[end:] == bytes(1024)


def test_large_values_without_codec_begin_on_a_page(tmp_path: Path) -> None:
    """There a read copies whole pages; NumPy takes the longer header."""
    values = np.random.default_rng(0).random((3, 128, 129)).astype("f4")
    source = write_netcdf(tmp_path / "a.nc", {"t": values})
    store = convert([source], tmp_path / "s", Options(format="tar", codec="none"))
    (path,) = files(store)
    offsets = np.frombuffer((store.path / "fields-000000.index").read_bytes()[:-4], "<u8")[::2]
    assert len(offsets) == 3
    assert not (offsets % 4096).any()
    with tarfile.open(path) as archive:
        for member, wanted in zip(archive, values, strict=True):
            file = archive.extractfile(member)
            assert file is not None
            np.testing.assert_array_equal(np.load(io.BytesIO(file.read()))[0], wanted)


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("cut", LAYOUTS)
def test_the_tfrecord_package_reads_the_records(
    tmp_path: Path,
    field: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    cut: str,
    codec: CodecName,
) -> None:
    """Every feature says what it is; where values are not packed they are there as they are."""
    small(monkeypatch, cut)
    fields = {"t": field, "u": field + 1}
    source = write_netcdf(tmp_path / "a.nc", fields)
    store = convert([source], tmp_path / "s", Options(format="tfrecord", codec=codec, shard_bytes=3000))
    records = [record for path in files(store) for record in tfrecord_loader(path, None)]
    found = np.zeros((23, 2, 5, 7), "f4")
    for record in records:
        assert record["codec"] == (b"none" if codec == "none" else b"blosc")
        assert record["dtype"] == b"float32"
        names = np.atleast_1d(record["variables"]).tolist()
        first, shape = record["row"][0], record["shape"].tolist()
        assert shape[-3:] == [len(names), 5, 7]
        rows = shape[0] if len(shape) == 4 else 1
        if codec == "none":
            here = [[b"t", b"u"].index(name) for name in names]
            values = np.frombuffer(record["fields"], "<f4").reshape(rows, len(names), 5, 7)
            found[first : first + rows, here] = values
    assert sum(record["shape"][0] if cut == "blocks" else 1 for record in records) == 23 * (
        2 if cut == "pieces" else 1
    )
    if codec == "none":
        np.testing.assert_array_equal(found, stacked(fields))


EXAMPLES: list[str] = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "formats.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_page_read_the_source(
    tmp_path: Path, field: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """They end with its fields, and import no maelio."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 1024)
    source = write_netcdf(tmp_path / "a.nc", {"t": field, "u": field + 1})
    for form, codec in (("tar", "none"), ("tar", "lz4"), ("tfrecord", "lz4")):
        options = Options(format=form, codec=codec, shard_bytes=3000)  # type: ignore[arg-type]
        assert len(files(convert([source], tmp_path / f"{form}-{codec}", options))) > 1
    assert "import maelio" not in EXAMPLES[number]
    code = EXAMPLES[number] + "\nnp.save('found.npy', fields)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), stacked({"t": field, "u": field + 1}))
