"""Every layout of every workload delivers the same tensors, whoever wrote it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.benchmarks.stalls.delivered import Checked, Memory, check, checksums, require_equal
from maelio.benchmarks.stalls.figures import COMPARABLE_STEPS
from maelio.benchmarks.stalls.layouts import Place, Reading, prepare
from maelio.benchmarks.stalls.workloads import LAYOUTS, WORKLOADS, Workload, chosen
from maelio.errors import BadRequest, InvalidMeasurement


def times_of(place: Place) -> dict[Path, int]:
    """When every file was changed last."""
    files = (path for layout in place.workload.layouts for path in place.files(layout))
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize("name", WORKLOADS)
def test_all_layouts_deliver_the_same_samples_in_the_same_order(name: str, tmp_path: Path) -> None:
    """Names, shapes, dtypes and bits; a second reading finds what the first one wrote."""
    workload = WORKLOADS[name]
    place = Place(workload, "tiny", tmp_path)
    reading = Reading(batch_size=place.scale.batch_size, seed=7, threads=2)
    found = {}
    for layout in workload.layouts:
        prepare(place, layout)
        found[layout] = check(place.open(layout, reading))
    assert len(set(found[workload.origin].samples)) == len(found[workload.origin].samples) > 0
    require_equal(found, in_order=True)
    other = check(place.open(workload.origin, replace(reading, seed=8)))
    assert other.samples != found[workload.origin].samples
    written = times_of(place)
    for layout in workload.layouts:
        prepare(place, layout)
    assert times_of(place) == written


@pytest.mark.parametrize("workload", WORKLOADS.values())
def test_the_full_size_has_as_many_steps_as_are_compared_elsewhere(workload: Workload) -> None:
    scale: Any = workload.scales["full"]
    rows = scale.data.files * getattr(scale.data, "steps" if workload.samples == "time" else "columns")
    samples = rows - (max(workload.window) - min(workload.window))
    assert -(-samples // scale.batch_size) >= COMPARABLE_STEPS


def test_orders_of_windows_are_compared_as_sets(tmp_path: Path) -> None:
    """They depend on how many rows a chunk has; the samples do not."""
    place = Place(WORKLOADS["column"], "tiny", tmp_path)
    found = {}
    for layout in chosen(place.workload, ["netcdf", "converted-zarr"]):
        prepare(place, layout)
        found[layout] = check(place.open(layout, Reading(32, shuffle="window")))
    require_equal(found, in_order=False)
    with pytest.raises(InvalidMeasurement, match="converted-zarr delivers another sample 0 than netcdf"):
        require_equal(
            {"netcdf": Checked((1, 2), Memory((), ())), "converted-zarr": Checked((2, 1), Memory((), ()))},
            in_order=True,
        )
    with pytest.raises(InvalidMeasurement, match="zarr delivers 1 samples, netcdf 2"):
        require_equal(
            {"netcdf": Checked((1, 2), Memory((), ())), "zarr": Checked((1,), Memory((), ()))}, in_order=False
        )


def test_layouts_keep_their_order_and_unknown_ones_are_refused() -> None:
    assert chosen(WORKLOADS["field"], ["converted-zarr", "grib"]) == ("grib", "converted-zarr")
    assert chosen(WORKLOADS["field"], None) == LAYOUTS
    with pytest.raises(BadRequest, match="layout='grib': wanted netcdf, zarr, tar, converted-zarr"):
        chosen(WORKLOADS["column"], ["grib"])


@settings(deadline=None)
@given(st.integers(0, 23), st.integers(0, 7))
def test_one_bit_makes_another_sample(place: int, bit: int) -> None:
    values = torch.arange(12, dtype=torch.int16).reshape(2, 6)
    batch = {"fields": values, "scalars": torch.zeros(2)}
    changed = values.clone()
    changed.numpy().view("u1").reshape(-1)[place] ^= 1 << bit
    before, after = checksums(batch), checksums({**batch, "fields": changed})
    assert [a != b for a, b in zip(before, after, strict=True)] == [place < 12, place >= 12]


def test_equal_bits_of_another_shape_or_dtype_are_another_sample() -> None:
    values = torch.zeros(1, 4, 2)
    found = {
        checksums(batch)[0]
        for batch in (
            {"a": values},
            {"b": values},
            {"a": values.reshape(1, 2, 4)},
            {"a": values.view(torch.int32)},
        )
    }
    assert len(found) == 4


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12))
def test_memory_gives_batches_of_the_sizes_that_were_read(samples: int, size: int) -> None:
    """The last one is short; what is held is whole."""
    values = [torch.arange(first, min(first + size, samples)) for first in range(0, samples, size)]
    found = check({"a": one[:, None]} for one in values)
    batches = list(found.memory)
    assert [len(batch["a"]) for batch in batches] == [len(one) for one in values]
    assert torch.equal(batches[0]["a"][:, 0], values[0])
    assert len(found.samples) == samples
