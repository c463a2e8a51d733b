"""Tar files in the way of WebDataset, seen as a store: members of one key are a sample, each extension is an array.

    a/07.npy  a/07.cls  a/08.npy  a/08.cls         arrays "npy" (sample, 1, ...) and "cls" (sample, 1)

All headers are read once; members are then read by their offset, in any order.
Source: webdataset 1.0, `tariterators`: what a key is, and which members are skipped.
"""

import logging
import os
import re
import tarfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

import maelio
from maelio.codecs import Codec
from maelio.errors import BadData, NotFound, NotPermitted
from maelio.foreign import Foreign, Reader
from maelio.loaders.members import arrays_of
from maelio.loaders.scratch import Scratch
from maelio.loaders.shardfile import allow_open_files
from maelio.store import VARIABLE, Contents, Stack, StackedArray

Array = NDArray[Any]
Places = dict[str, list[tuple[int, int, int]]]  # by extension, of each sample: file, offset and bytes

log = logging.getLogger(__name__)

_scratch = Scratch()

SAMPLE = "sample"
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_SKIPPED = re.compile(r"__[^/]*__($|/)")


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """What one array is made of: of the members `extension`, the `entry`. Values as the first one has them.

    Shape: places (sample, 3): number of the file, offset and length in bytes.
    """

    extension: str
    entry: str
    places: NDArray[np.int64]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.extension, self.entry)))

    def fits(self, values: Array | None) -> bool:
        return values is not None and (values.shape, values.dtype.newbyteorder("=")) == (
            self.shape,
            self.dtype,
        )


def open_tars(names: Sequence[str]) -> Foreign:
    """Samples in the order of the files, each as in its file. Reads all headers, and the first sample.

    Members that hold no numbers are left out, and named.

    Raises:
        NotFound, NotPermitted: there is no such file, or it may not be read.
        BadData: it is no tar file, or a compressed one; a sample lacks what the first one has; there are no numbers.
    """
    paths = tuple(Path(name) for name in names)
    members, left_out = _described(paths, _places(paths))
    where = f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    if not members:
        raise BadData(f"{where}: nothing that is a tensor; {'; '.join(left_out)}")
    for what in left_out:
        log.warning("%s: left out: %s", where, what)
    log.warning(
        "%s: read in place, slower than a store; `maelio convert` makes one of the NetCDF, GRIB or Zarr it came from",
        where,
    )
    arrays = {each.name: _array(each) for each in members}
    return Foreign(
        path=paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.absolute() for path in paths])),
        contents=Contents(
            version=maelio.__version__,
            sample_dimension=SAMPLE,
            stacks={
                name: Stack(variables=array.variables, statistics={}, shards=())
                for name, array in arrays.items()
            },
            variables={},
            attributes={},
            sources=(),
            options={},
        ),
        metadata={name: array.to_zarr({}) for name, array in arrays.items()},
        digest=_digest(members),
        readers=_Readers(
            {path: path.stat().st_size for path in paths}, {each.name: each for each in members}
        ),
        blocks=dict.fromkeys(arrays, 1),
        coordinates={},
    )


def _places(paths: Sequence[Path]) -> Places:
    """Where all members lie. Raises BadData: not every sample has the same extensions, each once."""
    found: Places = {}
    samples = 0
    for number, path in enumerate(paths):
        for key, members in _samples(path):
            if samples and members.keys() != found.keys():
                raise BadData(
                    f"{path}: sample {key!r} has {', '.join(members)}, wanted {', '.join(found)} as the first one has"
                )
            for extension, (offset, size) in members.items():
                found.setdefault(extension, []).append((number, offset, size))
            samples += 1
    if not samples:
        raise BadData(f"{paths[0]}: no member has a key and an extension, as in 000017.npy")
    return found


def _samples(path: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Of each sample its key, and of its members offset and length by extension."""
    key, members = "", dict[str, tuple[int, int]]()
    for header in _headers(path):
        named = _NAME.fullmatch(header.name)
        if named is None or not header.isreg() or _SKIPPED.match(header.name):
            continue
        if members and named[1] != key:
            yield key, members
            members = {}
        key, extension = named[1], named[2].lower()
        if extension in members:
            raise BadData(f"{path}: sample {key!r} has two members .{extension}")
        members[extension] = header.offset_data, header.size
    if members:
        yield key, members


def _headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """Raises BadData: it is damaged, compressed, or something else; NotFound, NotPermitted: it cannot be opened."""
    try:
        with tarfile.open(path, "r:") as archive:
            while (header := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # which grow with the file
                yield header
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror}") from error
    except (tarfile.TarError, OSError) as error:
        raise BadData(f"{path} cannot be read as a plain tar file: {error}") from error


def _described(paths: Sequence[Path], places: Places) -> tuple[list[Members], list[str]]:
    """The arrays, by what the first sample holds; and what is left out, each with its reason."""
    members, left_out = [], []
    for extension, of_samples in places.items():
        number, offset, size = of_samples[0]
        descriptor = _opened(paths[number])
        try:
            arrays = arrays_of(extension, _read(descriptor, paths[number], offset, size))
        except ValueError as error:
            left_out.append(f".{extension}: {error}")
            continue
        finally:
            os.close(descriptor)
        lying = np.array(of_samples, np.int64)
        members += [
            Members(extension, entry, lying, values.shape, values.dtype.newbyteorder("="))
            for entry, values in arrays.items()
        ]
    return members, left_out


def _array(members: Members) -> StackedArray:
    samples = len(members.places)
    return StackedArray(
        name=members.name,
        variables=(members.name,),
        dimensions=(
            SAMPLE,
            f"{members.name}_{VARIABLE}",
            *(f"{members.name}_{axis}" for axis in range(len(members.shape))),
        ),
        shape=(samples, 1, *members.shape),
        dtype=members.dtype,
        chunk=(1, 1),
        rows_per_shard=samples,
        codec=Codec("none"),
    )


def _digest(members: Sequence[Members]) -> str:
    """Of what there is and where it lies: another one when files were written again otherwise."""
    found = b"".join(
        f"{each.name} {each.shape} {each.dtype}".encode() + each.places.tobytes() for each in members
    )
    return f"crc32c:{crc32c(found):08x}"


@dataclass(frozen=True)
class _Readers:
    """`files` and their bytes."""

    files: Mapping[Path, int]
    members: Mapping[str, Members]

    def open(self, array: str) -> Reader:
        for path, nbytes in self.files.items():
            if path.is_file() and path.stat().st_size != nbytes:
                raise BadData(
                    f"{path} has {path.stat().st_size} bytes, and had {nbytes} when it was looked at"
                )
        return _Reader([*self.files], self.members[array])

    def nbytes(self, array: str, rows: int) -> int:
        """A member as it is stored, and its values."""
        members = self.members[array]
        return int(members.places[:, 2].max()) + int(np.prod(members.shape)) * members.dtype.itemsize


class _Reader:
    """Reads the members of one array, from files that stay open."""

    def __init__(self, paths: Sequence[Path], members: Members) -> None:
        allow_open_files(len(paths))
        self._paths = paths
        self._members = members
        self._descriptors = [_opened(path) for path in paths]
        weakref.finalize(self, _close, self._descriptors)

    def __call__(self, rows: range, variable: int, out: Array) -> None:
        members = self._members
        for row, into in zip(rows, out, strict=True):
            number, offset, size = members.places[row].tolist()
            path = self._paths[number]
            content = _read(self._descriptors[number], path, offset, size)
            try:
                values = arrays_of(members.extension, content).get(members.entry)
            except ValueError as error:
                raise BadData(
                    f"{path}: .{members.extension} of sample {row}, at byte {offset}: {error}"
                ) from error
            if not members.fits(values):
                found = "nothing" if values is None else f"{values.dtype} {values.shape}"
                raise BadData(
                    f"{path}: {members.name!r} of sample {row}, at byte {offset}, is {found}, wanted "
                    f"{members.dtype} {members.shape} as in the first sample"
                )
            into[0] = values


def _read(descriptor: int, path: Path, offset: int, size: int) -> memoryview:
    """In memory of the calling thread, until it reads again. Raises BadData: the file ends before, or cannot be read."""
    content = left = _scratch.take(size)
    try:
        while left and (got := os.preadv(descriptor, [left], offset + size - len(left))):
            left = left[got:]
    except OSError as error:
        raise BadData(
            f"{path}: bytes {offset} to {offset + size} cannot be read: {error.strerror}"
        ) from error
    if left:
        raise BadData(f"{path} ends {len(left)} bytes before byte {offset + size}")
    return content


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise BadData(f"{path} can no longer be opened: {error.strerror}") from error


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
