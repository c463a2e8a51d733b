"""Where the values of a NetCDF4 file lie: HDF5's chunk tables, read once, so that no worker calls HDF5."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maelio.converters.storage import Chunks, Filter, Rows, Slow, Storage

log = logging.getLogger(__name__)

_FILTERS: dict[int, Filter] = {h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_DEFLATE: "deflate"}


def tables(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[np.dtype[Any], Storage]]:
    """The stored dtype and the place of each variable in the root group, `Slow` with the reason where unknown.

    `shapes` are the variables' shapes as the NetCDF library tells them.
    """
    with h5py.File(path, "r") as file:
        if groups := [name for name, member in file.items() if isinstance(member, h5py.Group)]:
            log.warning("%s: groups are not read: %s", path, ", ".join(groups))
        datasets = {name: file.get(f"_nc4_non_coord_{name}", file[name]) for name in shapes}
        return {name: (dataset.dtype, _storage(dataset, shapes[name])) for name, dataset in datasets.items()}


def _storage(dataset: h5py.Dataset, shape: tuple[int, ...]) -> Storage:
    if dataset.dtype.kind not in "fiu":
        return Slow(f"dtype {dataset.dtype}")
    if dataset.shape != shape:
        return Slow("shorter than its unlimited dimension")
    if dataset.is_virtual or dataset.external:
        return Slow("values in other files")
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    numbers = [number for number, _, _, _ in filters]
    for number, _, _, name in filters:
        if number not in _FILTERS:
            return Slow(f"HDF5 filter {number}", (number, name.decode(errors="replace")))
    if dataset.chunks is None:
        return _contiguous(dataset)
    return _chunks(dataset, tuple(_FILTERS[number] for number in numbers))


def _contiguous(dataset: h5py.Dataset) -> Storage:
    offset = dataset.id.get_offset()
    if offset is None or not dataset.shape:
        return Slow("never written, or stored within the header")
    return Rows(offset, dataset.nbytes // dataset.shape[0] if dataset.shape[0] else 0)


def _chunks(dataset: h5py.Dataset, filters: tuple[Filter, ...]) -> Chunks:
    found: list[tuple[tuple[int, ...], int, int, int]] = []
    dataset.id.chunk_iter(
        lambda chunk: found.append((chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
    )
    starts = [start for start, _, _, _ in found]
    table = np.array([row[1:] for row in found], np.int64).reshape(-1, 3)
    return Chunks(
        shape=dataset.chunks,
        starts=np.array(starts, np.int64).reshape(-1, len(dataset.chunks)),
        offsets=table[:, 0],
        sizes=table[:, 1],
        skipped=table[:, 2],
        filters=filters,
        fill=dataset.fillvalue,
    )
