"""Plans are arithmetic: every sample exactly once, and never more memory than allowed."""

from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.converters import layout, planner
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.converters.plan import pieces
from maelio.converters.samples import Samples, boxes
from maelio.converters.times import Joined, Run
from maelio.errors import BadRequest
from tests.converters.memory import traced_peak
from tests.converters.netcdf_files import write_netcdf

files = st.lists(st.integers(1, 20), min_size=1, max_size=8)


widths = st.lists(st.integers(1, 5), max_size=3)  # of the further dimensions of the samples


@given(lengths=files, within=widths, rows_per_shard=st.integers(1, 30))
def test_every_sample_of_every_file_goes_to_exactly_one_place(
    lengths: list[int], within: list[int], rows_per_shard: int
) -> None:
    """Regions and files cut the same samples differently; the pieces cover both without overlap."""
    joined = Joined("time", tuple(Run(file, range(length)) for file, length in enumerate(lengths)))
    names = ("time", *(f"d{axis}" for axis in range(len(within))))
    samples = Samples(names, (joined.count, *within))
    taken: list[tuple[int, ...]] = []
    for first in range(0, samples.count, rows_per_shard):
        numbers = range(first, min(first + rows_per_shard, samples.count))
        into = 0
        for piece in pieces(numbers, joined, samples):
            assert piece.into == into
            into += piece.samples
            taken += [(piece.file, *at) for at in product(piece.rows, *piece.within)]
        assert into == len(numbers)
    rows = [(file, row) for file, length in enumerate(lengths) for row in range(length)]
    assert taken == [(*row, *at) for row in rows for at in product(*map(range, within))]


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), data=st.data())
def test_boxes_are_few_and_in_order(shape: list[int], data: st.DataObject) -> None:
    """A head and a tail for each dimension but the first, and what lies between them."""
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, prod(shape))] * 2)))
    found = list(boxes(shape, range(first, stop)))
    indexes = [at for box in found for at in product(*box)]
    assert indexes == list(product(*map(range, shape)))[first:stop]
    assert len(found) <= 2 * len(shape) - 1


sizes = st.integers(1, 2**33)


@given(row_bytes=sizes, samples=st.integers(1, 10**7), variables=st.integers(1, 300))
def test_chunks_are_neither_tiny_nor_huge(row_bytes: int, samples: int, variables: int) -> None:
    """Small rows are gathered to about 1 MiB, large ones cut into pieces of 1 MiB or more that divide evenly."""
    rows = layout.rows_per_chunk(row_bytes, samples)
    assert 1 <= rows <= samples
    assert rows == 1 or row_bytes < layout.SMALL_ROW
    assert rows in (1, samples) or 0.7 <= rows * row_bytes / layout.CHUNK_BYTES <= 1.5
    width = layout.variables_per_chunk(row_bytes, variables)
    assert variables % width == 0
    assert width == variables or width * row_bytes / variables >= layout.CHUNK_BYTES


@given(row_bytes=st.integers(4, layout.SMALL_ROW - 1), rows=st.integers(1, 1000), width=st.integers(1, 10**6))
def test_chunks_of_a_product_end_with_its_rows(row_bytes: int, rows: int, width: int) -> None:
    """They are some of the samples of one time, or some times; their size stays within a factor of two or so."""
    chunk = layout.rows_per_chunk(row_bytes, rows * width, width)
    even = width % chunk == 0 or chunk % width == 0 or chunk == rows * width
    assert even or chunk == layout.rows_per_chunk(row_bytes, rows * width)
    assert chunk == rows * width or 0.3 <= chunk * row_bytes / layout.CHUNK_BYTES <= 3


@given(
    row_bytes=st.integers(1, 10**8),
    samples=st.integers(1, 10**6),
    shard_bytes=st.integers(1, 10**9),
    source_rows=st.integers(1, 400),
)
def test_shards_hold_whole_chunks_and_fit(
    row_bytes: int, samples: int, shard_bytes: int, source_rows: int
) -> None:
    """A shard is at most the size asked for, unless one chunk alone is larger; and no larger than the data."""
    chunk = layout.rows_per_chunk(row_bytes, samples)
    rows = layout.rows_per_shard(row_bytes, samples, chunk, shard_bytes, source_rows)
    assert rows % chunk == 0
    assert rows == chunk or rows * row_bytes <= shard_bytes
    assert rows - chunk < samples


def test_a_shard_takes_whole_source_chunks_where_it_can() -> None:
    """Each source chunk of 12 steps is then decompressed once."""
    assert layout.rows_per_shard(10**6, 1000, 1, 64 * 10**6, 12) == 60
    assert layout.rows_per_shard(10**6, 1000, 1, 64 * 10**6, 100) == 64


def test_less_memory_means_fewer_threads_then_smaller_shards(tmp_path: Path) -> None:
    """The planned peak never exceeds the limit."""
    field = np.zeros((64, 128, 128), np.float32)
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, zlib=True)
    plans = [
        plan_conversion([source], tmp_path / "s", Options(memory=2**power, shard_bytes=2**20, threads=4))
        for power in (20, 22, 23, 28)
    ]
    assert all(plan.peak_bytes <= plan.options.memory for plan in plans)
    workers = [plan.workers for plan in plans]
    assert workers[:2] == [1, 1]
    assert 1 < workers[2] < workers[3] == 4
    rows = [plan.arrays[0].rows_per_shard for plan in plans]
    assert rows[0] < rows[1] == rows[2] == rows[3]


def test_the_store_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    """A conversion begun on a laptop goes on on a large node, to the same bytes."""
    source = write_netcdf(tmp_path / "a.nc", {"t": np.zeros((64, 128, 128), np.float32)}, zlib=True)
    digests = {
        plan_conversion([source], tmp_path / "s", Options(threads=threads)).digest for threads in (1, 2, 64)
    }
    assert len(digests) == 1


def test_a_chunk_that_no_record_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocol Buffers end at 2 GiB: readers would fail, and only in the middle of a training."""
    source = write_netcdf(tmp_path / "a.nc", {"t": np.zeros((4, 10, 10), "f4")})
    monkeypatch.setattr(planner, "_LARGEST_RECORD", 1599)
    with pytest.raises(BadRequest, match=r"'fields': a chunk of 1.6 KiB does not fit a TFRecord"):
        plan_conversion([source], tmp_path / "s", Options(format="tfrecord"))
    assert plan_conversion([source], tmp_path / "s", Options(format="tar")).arrays


def test_a_conversion_keeps_to_its_memory(tmp_path: Path) -> None:
    """Also for packed values, which pass through a second array on their way."""
    field = np.random.default_rng(0).integers(0, 1000, (128, 128, 128)).astype(np.int16)
    source = write_netcdf(
        tmp_path / "a.nc",
        {"t": field},
        zlib=True,
        shuffle=True,
        attributes={"t": {"scale_factor": np.float32(0.1)}},
    )
    options = Options(memory=6 * 2**20, threads=2)
    convert([source], tmp_path / "warm-up", options)  # loads what memory does not count
    peak = traced_peak(lambda: convert([source], tmp_path / "s.zarr", options))
    assert peak <= options.memory + 2**20  # and the plan itself
