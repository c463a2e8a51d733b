"""Tar files that WebDataset wrote: by offset, in the stream's own order, as the arrays that went in."""

import io
import logging
import os
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.errors import BadData, BadRequest, NotFound
from maelio.loaders.opening import expand
from maelio.loaders.order import epoch_order
from maelio.loaders.stream import stream

# WebDataset leaves closing its files to the garbage collection
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def samples_of(count: int, dtype: str = "f4") -> list[dict[str, Any]]:
    """Number n as all that a member may hold; what webdataset's writer takes."""
    return [
        {
            "__key__": f"a/{n:04d}",
            "x.npy": np.full((2, 3), n, dtype),
            "npz": {"u": np.full(4, n), "v": np.array(n, "f4")},
            "cls": n,
            "json": {"lat": n / 2, "station": "KIEL"},
        }
        for n in range(count)
    ]


def write(folder: Path, samples: Sequence[Mapping[str, Any]], files: int = 1) -> str:
    """By webdataset, in so many files; the pattern of their names."""
    for number in range(files):
        with webdataset.TarWriter(str(folder / f"shard-{number:03d}.tar")) as writer:
            for sample in samples[number::files]:
                writer.write(dict(sample))
    return str(folder / f"shard-{{000..{files - 1:03d}}}.tar")


def add(path: Path, name: str, content: bytes) -> Path:
    """One more member, by Python's own writer."""
    with tarfile.open(path, "a") as archive:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
    return path


@unclosed
@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(2, 20),
    files=st.integers(1, 3),
    dtype=st.sampled_from(["f4", ">f8", "i2", "u1", "f2"]),
    batch_size=st.integers(1, 6),
    shuffle=st.sampled_from([True, False]),
    threads=st.integers(1, 3),
    world=st.integers(1, 2),
)
def test_members_come_back_in_the_order_of_the_stream(
    count: int, files: int, dtype: str, batch_size: int, shuffle: bool, threads: int, world: int
) -> None:
    """Every rank's batches are those of a store with as many samples; webdataset's own reader has the same members."""
    with TemporaryDirectory() as folder:
        pattern = write(Path(folder), samples_of(count, dtype), files)
        read = list(webdataset.WebDataset(pattern, shardshuffle=False, empty_check=False).decode())
        order = epoch_order(count, seed=1, epoch=0, shuffle="global" if shuffle else False)
        seen = []
        for rank in range(world):
            batches = stream(
                pattern,
                batch_size=batch_size * world,
                shuffle=shuffle,
                seed=1,
                threads=threads,
                rank=rank,
                world=world,
                tail="pad",
            )
            for number, batch in enumerate(batches):
                of_batch = [read[row] for row in order[batches.cut.mine(number)].tolist()]
                wanted = np.stack([sample["x.npy"] for sample in of_batch])[:, None]
                np.testing.assert_array_equal(batch["x.npy"].numpy(), wanted)
                assert batch["x.npy"].numpy().dtype == np.dtype(dtype).newbyteorder("=")
                assert batch["cls"][:, 0].tolist() == [sample["cls"] for sample in of_batch]
                assert batch["json.lat"][:, 0].tolist() == [sample["json"]["lat"] for sample in of_batch]
                assert batch["npz.v"][:, 0].tolist() == [float(sample["npz"]["v"]) for sample in of_batch]
                assert batch["npz.u"].shape == (batch_size, 1, 4)
                seen += batch["cls"][batch["valid"], 0].tolist()
        assert sorted(seen) == list(range(count))


def test_inputs_targets_windows_and_crops_are_as_of_any_store(tmp_path: Path) -> None:
    """Dimensions are named by the extension and their number."""
    pattern = write(tmp_path, samples_of(9))
    batches = stream(
        pattern,
        batch_size=3,
        shuffle=False,
        inputs=("x.npy",),
        targets=("cls",),
        input_steps=(-1, 0),
        target_steps=(1,),
        crop={"x.npy_1": slice(1, 3)},
    )
    batch = next(iter(batches))
    assert batch["inputs"].shape == (3, 2, 1, 2, 2)
    assert batch["inputs"][:, :, 0, 0, 0].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert batch["targets"].tolist() == [[2], [3], [4]]


def test_one_line_says_that_it_is_slower(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream(write(tmp_path, samples_of(3), files=2), batch_size=2)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.message.startswith(
        f"{tmp_path}/shard-000.tar and 1 more: read in place, slower than a store"
    )


def test_what_is_no_tensor_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As is what WebDataset skips; asked for by name it is refused."""
    pattern = write(tmp_path, [{"__key__": f"{n}", "cls": n, "txt": "fine"} for n in range(3)])
    batches = stream(pattern, batch_size=3)
    assert set(next(iter(batches))) == {"cls"}
    assert ".txt: wanted npy, npz, json, cls" in caplog.text
    with pytest.raises(BadRequest, match="has no 'txt', it has cls"):
        stream(pattern, batch_size=3, variables=("txt",))


def test_a_run_goes_on_elsewhere(tmp_path: Path) -> None:
    """The stream pickles with its index; the state is of these files alone."""
    pattern = write(tmp_path, samples_of(10), files=2)
    batches = stream(pattern, batch_size=4)
    iterator = iter(batches)
    seen = next(iterator)["cls"][:, 0].tolist()
    after: Any = pickle.loads(pickle.dumps(batches))
    after.load_state_dict(batches.state_dict())
    seen += [value for batch in after for value in batch["cls"][:, 0].tolist()]
    assert sorted(seen) == list(range(10))
    other = stream(write(tmp_path, samples_of(11), files=2), batch_size=4)
    with pytest.raises(BadRequest, match="store="):
        other.load_state_dict(batches.state_dict())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("9.npy", b"\x93NUMPY", r"\.npy of sample 3, at byte"),
        ("9.cls", b"one", r"\.cls of sample 3, at byte \d+: invalid literal"),
        ("9.json", b"[1]", "holds no numbers"),
    ],
)
def test_a_member_that_is_not_as_the_first_is_named(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """By file, extension, sample and byte, when a batch needs it."""
    extension = name.partition(".")[2]
    values: Any = {"npy": np.zeros(3), "cls": 1, "json": 2}[extension]
    write(tmp_path, [{"__key__": f"{n}", extension: values} for n in range(3)])
    path = add(tmp_path / "shard-000.tar", name, content)
    with pytest.raises(BadData, match=says) as caught:
        list(stream(path, batch_size=4))
    assert str(path) in str(caught.value)


def npy(values: Any) -> bytes:
    held = io.BytesIO()
    np.save(held, values)
    return held.getvalue()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"0.npy": npy(np.zeros(3)), "1.npy": npy(np.zeros(4))}, r"is float64 \(4,\), wanted float64 \(3,\)"),
        ({"0.npy": npy(np.zeros(3)), "1.npy": npy(np.zeros(3, "f4"))}, r"is float32 \(3,\), wanted float64"),
        ({"0.npy": npy(np.zeros(3)), "1.cls": b"1"}, "sample '1' has cls, wanted npy"),
        ({"0.npy": npy(np.zeros(3)), "0.NPY": npy(np.zeros(3))}, "sample '0' has two members .npy"),
        ({"0.txt": b"fine", "1.txt": b"cold"}, r"nothing that is a tensor; .txt: wanted"),
        ({"0.npy": npy(np.array(["a", "b"]))}, "nothing that is a tensor; .npy: holds no numbers"),
        (
            {"0.npy": npy(np.array([{}, {}]))},
            "nothing that is a tensor; .npy: holds objects, no numbers",
        ),
        ({"README": b"no extension"}, "no member has a key and an extension"),
    ],
)
def test_files_that_are_no_set_of_samples_are_refused(
    tmp_path: Path, members: Mapping[str, bytes], says: str
) -> None:
    for name, content in members.items():
        add(tmp_path / "a.tar", name, content)
    with pytest.raises(BadData, match=says):
        list(stream(tmp_path / "a.tar", batch_size=1))


def test_damaged_and_compressed_files_are_refused(tmp_path: Path) -> None:
    """By name, and one that is cut short or gone while it is streamed too."""
    pattern = write(tmp_path, samples_of(20))
    path = tmp_path / "shard-000.tar"
    batches, changed = (stream(pattern, batch_size=2, shuffle=False) for _ in range(2))
    iterator = iter(batches)
    next(iterator)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BadData, match=f"{path} ends"):
        list(iterator)
    with pytest.raises(BadData, match=rf"{path} has \d+ bytes, and had \d+ when"):
        list(changed)
    with pytest.raises(BadData, match=f"{path} cannot be read as a plain tar file"):
        stream(pattern, batch_size=2)
    path.write_bytes(b"\x1f\x8b" + bytes(1000))
    with pytest.raises(BadData, match=f"{path} cannot be read as a plain tar file"):
        stream(pattern, batch_size=2)
    path.unlink()
    with pytest.raises(NotFound, match=f"{path}: no such file"):
        stream(pattern, batch_size=2)
    with pytest.raises(NotFound, match="no file matches"):
        stream(str(tmp_path / "*.tar"), batch_size=2)
    with pytest.raises(BadRequest, match=r"a.nc beside tar files"):
        stream(["a.nc", "a.tar"], batch_size=2)
    with pytest.raises(BadRequest, match="samples='time': a member's key"):
        stream(pattern, batch_size=2, samples="time")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{a,}x", ["ax", "x"]),
    ],
)
def test_braces_are_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assert list(expand(pattern)) == names


def test_a_name_is_taken_as_it_is_before_it_is_a_pattern(tmp_path: Path) -> None:
    """As by `convert`."""
    path = add(tmp_path / "{1..2}[0].tar", "0.cls", b"7")
    (batch,) = stream(path, batch_size=1)
    assert batch["cls"].tolist() == [[7]]


def test_braces_without_a_choice_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"\{one\}: wanted"):
        list(expand("{one}.tar"))
