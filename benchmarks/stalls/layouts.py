"""The data of a workload in every layout: written where they are not there yet, and opened as batches of equal tensors."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from maelio.benchmarks.peers.task import Size, make
from maelio.benchmarks.stalls.loop import Batch, count
from maelio.benchmarks.stalls.workloads import CONVERTED, Layout, Scale, Workload
from maelio.codecs import CodecName
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.loaders.order import Shuffle
from maelio.loaders.stream import Stream, stream

_ROWS = 12  # rows of a chunk or a tar file, as archives have them
_COLUMNS = 2048
_NPY = ".npy"
_MAPS = "fields"  # the array of a store that holds maps


@dataclass(frozen=True, slots=True)
class Reading:
    """How a stream is asked for its batches; the same of all layouts, so that these deliver the same."""

    batch_size: int
    seed: int = 0
    shuffle: Shuffle = "global"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A workload of some size in its folder; `codec` is that of converted layouts."""

    workload: Workload
    size: Size
    folder: Path
    codec: CodecName = "lz4"

    @property
    def scale(self) -> Scale:
        return self.workload.scales[self.size]

    def path(self, layout: Layout) -> Path:
        """A folder, or the store itself."""
        named = f"{layout}-{self.codec}" if layout in CONVERTED else layout
        return self.folder / ("origin" if layout == self.workload.origin else named)

    def files(self, layout: Layout) -> list[Path]:
        return sorted(
            path for path in self.path(layout).rglob("*") if path.is_file() and path.name != "what.txt"
        )

    def stored_bytes(self, layout: Layout) -> int:
        return sum(path.stat().st_size for path in self.files(layout))

    def open(self, layout: Layout, reading: Reading) -> Stream:
        """A new stream, with nothing read ahead or kept."""
        workload, crop = self.workload, dict(self.scale.crop)
        given: dict[str, Any] = {"samples": workload.samples, "variables": workload.variables}
        source: Any = [str(path) for path in self.files(layout)]
        if layout in CONVERTED:
            source, given["samples"] = self.path(layout), None
        elif layout == "zarr":
            source = str(self.path(layout) / "data.zarr")
        elif layout == "tar":
            # Members are whole samples, and name neither variables nor dimensions
            crop = {f"{_MAPS}{_NPY}_{axis}": crop[name] for axis, name in enumerate(crop, 1)}
            axis = 1 if workload.window == (0,) else 2
            given = {"transform": lambda batch: _of_members(batch, axis)}
        return stream(
            source,
            batch_size=reading.batch_size,
            shuffle=reading.shuffle,
            seed=reading.seed,
            threads=reading.threads,
            window=workload.window,
            crop=crop or None,
            **given,
        )


def prepare(place: Place, layout: Layout) -> None:
    """Write the layout, and what it is made from, where they are not there yet.

    Raises BadRequest: the folder holds another data set.
    """
    workload = place.workload
    sources = make(place.path(workload.origin), place.scale.data)
    if layout == workload.origin:
        return
    if layout in CONVERTED:
        options = Options(samples=workload.samples, format=CONVERTED[layout], codec=place.codec)
        _whole(place.path(layout), lambda part: convert(sources, part, options))
        return
    prepare(place, "converted-zarr")
    _whole(place.path(layout), lambda part: _NATIVE[layout](place, part))


def _whole(target: Path, write: Callable[[Path], object]) -> None:
    """`target` is there as a whole or not at all."""
    part = target.with_name(f"{target.name}.writing")
    if not target.exists():
        shutil.rmtree(part, ignore_errors=True)
        write(part)
        part.rename(target)


def _restored(place: Place) -> xr.Dataset:
    """What the origin holds, as maelio gives it back."""
    return xr.open_dataset(place.path("converted-zarr"), engine="maelio", decode_times=False, cache=False)


def _rows(place: Place) -> int:
    return _COLUMNS if place.workload.samples == "column" else _ROWS


def _parts(place: Place, found: xr.Dataset) -> Iterator[tuple[int, xr.Dataset]]:
    """The rows of each source file."""
    dimension = place.workload.samples
    files = len(place.scale.data.paths(place.folder))
    rows = found.sizes[dimension] // files
    for number in range(files):
        yield number, found.isel({dimension: slice(number * rows, (number + 1) * rows)})


def _write_netcdf(place: Place, part: Path) -> None:
    """zlib 4 after shuffle, as archives have it."""
    part.mkdir()
    with _restored(place) as found:
        for number, rows in _parts(place, found):
            encoding = {
                str(name): {
                    "zlib": True,
                    "complevel": 4,
                    "shuffle": True,
                    "chunksizes": (min(_rows(place), len(values)), *values.shape[1:]),
                }
                for name, values in rows.data_vars.items()
            }
            rows.load().to_netcdf(part / f"{number:03d}.nc", encoding=encoding, engine="netcdf4")


def _write_zarr(place: Place, part: Path) -> None:
    """An array a variable, with the codec of zarr-python's choice, as xarray writes it."""
    with _restored(place) as found:
        for values in found.variables.values():
            values.encoding.clear()
        found.chunk({place.workload.samples: _rows(place)}).to_zarr(
            part / "data.zarr", zarr_format=2, consolidated=True
        )


def _write_tar(place: Place, part: Path) -> None:
    """In the way of WebDataset: a member of every array and sample."""
    part.mkdir()
    whole = stream(
        place.path("converted-zarr"), batch_size=64, shuffle=False, variables=place.workload.variables
    )
    files = len(place.scale.data.paths(place.folder))
    rows = -(-whole.samples // files)
    samples = enumerate(_samples(whole))
    for file in range(files):
        with tarfile.open(part / f"{file:03d}.tar", "w") as tar:
            for number, sample in islice(samples, rows):
                for name, values in sample.items():
                    _add(tar, f"{number:08d}.{name}{_NPY}", values)


def _samples(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        for number in range(count(batch)):
            yield {name: values[number] for name, values in batch.items()}


def _add(tar: tarfile.TarFile, name: str, values: Tensor) -> None:
    file = io.BytesIO()
    np.save(file, values.numpy())
    member = tarfile.TarInfo(name)
    member.size = file.tell()
    file.seek(0)
    tar.addfile(member, file)


_NATIVE: Mapping[Layout, Callable[[Place, Path], None]] = {
    "netcdf": _write_netcdf,
    "zarr": _write_zarr,
    "tar": _write_tar,
}


def _of_members(batch: Batch, axis: int) -> Batch:
    """Without the axis of one variable that members have, by the names of a store's arrays."""
    return {name.removesuffix(_NPY): values.squeeze(axis) for name, values in batch.items()}
