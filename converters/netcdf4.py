"""Where the values of a NetCDF4 file lie: HDF5's chunk tables, read once, so that no worker calls HDF5."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from maelio.converters.storage import Chunks, Rows, Slow, Storage, Unreadable
from maelio.errors import BadData
from maelio.packed import Compressor, Filter

_FILTERS: dict[int, Filter] = {
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_DEFLATE: "deflate",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    32001: "blosc",
    32015: "zstd",
}
_COMPRESSORS: tuple[Compressor, ...] = ("deflate", "blosc", "zstd")
_NAMES = {
    h5py.h5z.FILTER_SZIP: "szip",
    h5py.h5z.FILTER_NBIT: "n-bit",
    h5py.h5z.FILTER_SCALEOFFSET: "scale-offset",
    307: "bzip2",
    32000: "lzf",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}  # as the HDF Group registered them
_IN_HDF5PLUGIN = (307, 32004, 32008, 32013, 32017, 32018, 32024, 32026, 32028)


def tables(
    path: Path, variables: Mapping[str, tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[np.dtype[Any], Storage]]:
    """The stored dtype and the place of each variable, `Slow` with the reason where that is not known.

    `variables` are the group that each lies in and its shape, as the NetCDF library tells them.

    Raises BadData: values lie in another file, and that is not there.
    """
    with _opened(path) as file:
        datasets = {name: dataset(file, group, name) for name, (group, _) in variables.items()}
        return {
            name: (found.dtype, _storage(path, found, variables[name][1])) for name, found in datasets.items()
        }


def check_types(path: Path, group: str) -> None:
    """The NetCDF library crashes where it reads floats of other sizes than 4 and 8 bytes.

    Raises BadData: there are such in `group`; or the file is no whole HDF5 file.
    """
    with _opened(path) as file:
        for name, member in file[group or "/"].items():
            if (
                isinstance(member, h5py.Dataset)
                and member.dtype.kind == "f"
                and member.dtype.itemsize not in (4, 8)
            ):
                raise BadData(
                    f"{path}: variable {name!r} has dtype {member.dtype}, wanted float32 or float64"
                )


def check_tables(path: Path) -> None:
    """Look at the place of every chunk in the file. Raises BadData: where that is damaged."""

    def look(name: str, member: h5py.Group | h5py.Dataset) -> None:
        if isinstance(member, h5py.Dataset) and member.chunks is not None:
            member.id.chunk_iter(lambda chunk: None)

    with _opened(path) as file:
        file.visititems(look)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Raises BadData: what h5py finds damaged, which it tells by any of these errors."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadData(f"{path} cannot be opened as NetCDF: {error}") from error


def groups(path: Path) -> list[str]:
    """Paths of all groups that hold variables, without the root: `a`, `a/b`. Raises BadData: the file is damaged."""
    found: set[str] = set()

    def look(name: bytes, member: h5py.h5o.ObjInfo) -> None:
        if member.type == h5py.h5o.TYPE_DATASET and b"/" in name:
            found.add(name.decode().rpartition("/")[0])

    with _opened(path) as file:
        h5py.h5o.visit(file.id, look, info=True)  # opens none of them
    return sorted(found)


def dataset(file: h5py.File, group: str, name: str) -> h5py.Dataset:
    """Where the NetCDF library puts a variable: one that is named like a dimension but is none has a prefix."""
    home, prefixed = file[group or "/"], f"_nc4_non_coord_{name}"
    return home[prefixed if prefixed in home else name]


def _storage(path: Path, dataset: h5py.Dataset, shape: tuple[int, ...]) -> Storage:
    if dataset.dtype.kind not in "fiu":
        return Slow(f"dtype {dataset.dtype}")
    _check_other_files(path, dataset)
    properties = dataset.id.get_create_plist()
    numbers = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    if missing := [number for number in numbers if number not in _FILTERS and not _available(number)]:
        return Unreadable(_not_installed(missing[0]))
    if dataset.shape != shape:
        return Slow("shorter than its unlimited dimension")
    if dataset.id.get_type() != h5py.h5t.py_create(dataset.dtype, logical=True):
        return Slow("an HDF5 type that NetCDF does not have", by_h5py=True)
    if dataset.is_virtual or dataset.external:
        return Slow("values in other files", by_h5py=True)
    if unknown := [number for number in numbers if number not in _FILTERS]:
        return Slow(f"HDF5 filter {_named(unknown[0])}", by_h5py=True)
    filters = tuple(_FILTERS[number] for number in numbers)
    if not _simple(filters):
        return Slow(f"HDF5 filters {', '.join(filters)}", by_h5py=True)
    if dataset.chunks is None:
        return _contiguous(path, dataset)
    return _chunks(path, dataset, filters)


def _simple(filters: Sequence[Filter]) -> bool:
    """One compressor at most, and a checksum only over what the others made."""
    return (
        sum(filters.count(name) for name in _COMPRESSORS) <= 1
        and filters.count("shuffle") <= 1
        and "fletcher32" not in filters[:-1]
    )


def _available(number: int) -> bool:
    """Whether h5py can undo the filter, with the plugins of the package hdf5plugin where that is installed."""
    if number in _IN_HDF5PLUGIN and find_spec("hdf5plugin") is not None:
        import_module("hdf5plugin")  # registers its filters with h5py
    return bool(h5py.h5z.filter_avail(number))


def _named(number: int) -> str:
    return f"{number} ({_NAMES[number]})" if number in _NAMES else str(number)


def _not_installed(number: int) -> str:
    remedy = (
        "pip install hdf5plugin"
        if number in _IN_HDF5PLUGIN
        else "install its plugin where HDF5_PLUGIN_PATH points to"
    )
    return f"packed by HDF5 filter {_named(number)}, which is not installed: {remedy}"


def _check_other_files(path: Path, dataset: h5py.Dataset) -> None:
    """HDF5 itself reads values of a file that is missing or short as the fill value."""
    virtual = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    for name in {name for name in virtual if name != "." and "%" not in name}:
        if not (path.parent / name).exists():
            raise BadData(f"{path}: {dataset.name!r} has values in {name}, which is not there")
    for name, offset, size in dataset.external or ():
        other = path.parent / name if (path.parent / name).exists() else Path(name)
        if not other.exists():
            raise BadData(f"{path}: {dataset.name!r} has values in {name}, which is not there")
        wanted = offset + min(size, dataset.nbytes)
        if other.stat().st_size < wanted:
            raise BadData(
                f"{path}: {dataset.name!r} has values in {name}, which has {other.stat().st_size} bytes, wanted {wanted}"
            )


def _contiguous(path: Path, dataset: h5py.Dataset) -> Storage:
    offset = dataset.id.get_offset()
    never_filled = dataset.id.get_create_plist().get_fill_time() == h5py.h5d.FILL_TIME_NEVER
    if never_filled and dataset.size and not dataset.id.get_storage_size():
        raise BadData(
            f"{path}: variable {dataset.name.strip('/')!r} was never written, not even with a fill value: "
            "each read would give other values"
        )
    if offset is None or not dataset.shape:
        return Slow("never written, or stored within the header")
    return Rows(offset, dataset.nbytes // dataset.shape[0] if dataset.shape[0] else 0)


def _chunks(path: Path, dataset: h5py.Dataset, filters: tuple[Filter, ...]) -> Chunks:
    found: list[tuple[tuple[int, ...], int, int, int]] = []
    dataset.id.chunk_iter(
        lambda chunk: found.append((chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
    )
    starts = np.array([start for start, _, _, _ in found], np.int64).reshape(-1, len(dataset.chunks))
    _check_starts(path, dataset, starts)
    table = np.array([row[1:] for row in found], np.int64).reshape(-1, 3)
    return Chunks(
        shape=dataset.chunks,
        starts=starts,
        offsets=table[:, 0],
        sizes=table[:, 1],
        skipped=table[:, 2],
        filters=filters,
        fill=dataset.fillvalue,
    )


def _check_starts(path: Path, dataset: h5py.Dataset, starts: NDArray[np.int64]) -> None:
    """HDF5 itself finds nothing where no chunk starts, and reads the fill value.

    Raises BadData: a chunk is not where chunks are, or is there twice.
    """
    counts = [-(-size // length) for size, length in zip(dataset.shape, dataset.chunks, strict=True)]
    places, rest = np.divmod(starts, dataset.chunks)
    astray = ((rest != 0) | (places < 0) | (places >= counts)).any(axis=1)
    if astray.any():
        found = f"a chunk at {tuple(starts[astray][0].tolist())}"
    elif len(np.unique(np.ravel_multi_index(tuple(places.T), counts))) < len(starts):
        found = "a chunk twice"
    else:
        return
    raise BadData(
        f"{path}: variable {dataset.name.strip('/')!r} has {found}, wanted one each at multiples of {dataset.chunks} "
        f"within {dataset.shape}: its table of chunks is damaged"
    )
