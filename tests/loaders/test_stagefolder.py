"""What goes from a stage when room is wanted, and what never does."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from maelio.errors import BadRequest, MaelioError
from maelio.loaders.stagefolder import Fetching, StageFolder
from maelio.store import open_store, root_of
from tests.loaders.handwritten import Layout, field, write_store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store of 6 shards that have the same size."""
    return write_store(tmp_path / "s.zarr", {"fields": field(6, 2, 3)}, Layout(chunks=1, codec="none"))


@pytest.fixture
def size(source: Path) -> int:
    return next(open_store(source).shard_files())[1].bytes


def staged(folder: StageFolder, source: Path, shards: range) -> list[Path]:
    """The first of them is the one unused for longest."""
    entry = folder.entry("s.zarr", root_of(source))
    folder.put(entry, {"zarr.json": root_of(source)})
    found = []
    for number in shards:
        path = entry / f"fields/c/{number}/0/0"
        path.parent.mkdir(parents=True)
        shutil.copy(source / f"fields/c/{number}/0/0", path)
        os.utime(path, (number, number))
        found.append(path)
    return found


def begin(folder: StageFolder, path: Path, size: int, *, urgent: bool = False) -> Fetching | str:
    with folder.locked():
        return folder.begin(path, size, {}, set(), urgent=urgent)


def there(paths: list[Path]) -> list[bool]:
    return [path.exists() for path in paths]


def test_what_nobody_holds_goes_the_longest_unused_first(tmp_path: Path, source: Path, size: int) -> None:
    """Of any store; as much as is needed and no more, and its bytes are taken then."""
    folder = StageFolder(tmp_path / "stage", 4 * size)
    paths = staged(folder, source, range(4))
    begun = begin(folder, tmp_path / "stage" / "other" / "shard", 2 * size)
    assert isinstance(begun, Fetching)
    assert there(paths) == [False, False, True, True]
    os.close(begun.descriptor)


def test_what_others_hold_stays_unless_it_is_urgent(tmp_path: Path, source: Path, size: int) -> None:
    """Then they can still read what they have open."""
    folder = StageFolder(tmp_path / "stage", 2 * size)
    paths = staged(folder, source, range(2))
    held = [folder.hold(path, size) for path in paths]
    new = paths[0].parents[2] / "5" / "0" / "0"
    assert begin(folder, new, size) == "full"
    assert there(paths) == [True, True]
    begun = begin(folder, new, size, urgent=True)
    assert isinstance(begun, Fetching)
    assert there(paths) == [False, True]
    for descriptor in held:
        assert descriptor is not None
        assert len(os.read(descriptor, 2 * size)) == size
        os.close(descriptor)
    os.close(begun.descriptor)


def test_a_part_takes_all_of_its_room_and_is_one_process_s(tmp_path: Path, source: Path, size: int) -> None:
    """Nobody else fetches it meanwhile; whoever left one, dead, has left it to all."""
    folder = StageFolder(tmp_path / "stage", 2 * size)
    (path,) = staged(folder, source, range(1))
    path.unlink()
    begun = begin(folder, path, size)
    assert isinstance(begun, Fetching)
    os.write(begun.descriptor, b"abc")
    assert folder.used() == size
    assert begin(folder, path, size) == "busy"
    os.close(begun.descriptor)  # as the kernel does for a process that is killed
    again = begin(folder, path, size)
    assert isinstance(again, Fetching)
    assert os.pread(again.descriptor, 9, 0) == b"abc"
    assert begin(folder, path.with_name("1"), 2 * size, urgent=True) == "full"
    os.close(again.descriptor)
    other = begin(folder, path.with_name("1"), 2 * size)
    assert isinstance(other, Fetching)
    assert not again.part.exists()
    os.close(other.descriptor)


def test_only_shards_of_staged_stores_ever_go(tmp_path: Path, source: Path, size: int) -> None:
    """Not a store that was put there, not through a link, nothing that stands beside."""
    folder = StageFolder(tmp_path / "stage", size)
    (path,) = staged(folder, source, range(1))
    entry = path.parents[4]
    shutil.copytree(source, folder.path / "mine.zarr")
    shutil.copytree(source, tmp_path / "elsewhere" / entry.name)
    (folder.path / f"x-{entry.name}").symlink_to(tmp_path / "elsewhere" / entry.name)
    (entry / "fields" / "c" / "1").symlink_to(source / "fields" / "c" / "1")
    (entry / "notes.txt").write_text("the only copy")
    path.unlink()
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    begun = begin(folder, path, size, urgent=True)
    assert isinstance(begun, Fetching)
    assert begin(folder, path.with_name("1"), size, urgent=True) == "full"
    os.close(begun.descriptor)
    assert before <= {file for file in tmp_path.rglob("*") if file.is_file()}


def test_a_shard_of_another_size_is_none(tmp_path: Path, source: Path, size: int) -> None:
    """It was cut, or its disk was full: it goes."""
    folder = StageFolder(tmp_path / "stage", None)
    (path,) = staged(folder, source, range(1))
    os.truncate(path, size - 1)
    assert folder.hold(path, size) is None
    assert not path.exists()


def test_a_whole_shard_is_held_by_who_fetched_it(tmp_path: Path, source: Path, size: int) -> None:
    """From the moment in which it appears."""
    folder = StageFolder(tmp_path / "stage", None)
    (path,) = staged(folder, source, range(1))
    path.unlink()
    begun = begin(folder, path, size)
    assert isinstance(begun, Fetching)
    os.write(begun.descriptor, bytes(size))
    descriptor = folder.finish(begun)
    assert path.read_bytes() == bytes(size)
    with open(path) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder.remove([path])
    assert path.exists()
    os.close(descriptor)
    folder.remove([path])
    assert not path.exists()


def test_a_folder_that_cannot_be_a_stage_is_named(tmp_path: Path) -> None:
    """It is a file, or it holds something else."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BadRequest, match=r"full is in the way: it holds no stage"):
        StageFolder(tmp_path / "full", None)
    with pytest.raises(MaelioError, match=r"file cannot be written: "):
        StageFolder(tmp_path / "full" / "file", None)
