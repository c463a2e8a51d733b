"""Values on their way into a batch: standardised, masked, filled, transformed."""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadRequest
from maelio.ledger import measure
from maelio.loaders.device import Batch
from maelio.loaders.stream import stream
from maelio.store import CONTAINERS, Container, Statistics
from tests.loaders.handwritten import Array, Layout, field, write_store
from tests.loaders.test_items import PRESSURES, whole
from tests.loaders.test_shards import layouts


def statistics_of(values: Array, by_level: bool) -> dict[str, Statistics]:
    """Of v0, v1, ... of an array (sample, variable, level, *rest), as a conversion stores them."""
    found = {}
    for number in range(values.shape[1]):
        of_one = np.moveaxis(values[:, number], 1, 0)
        flat = of_one.reshape(len(of_one) if by_level else 1, -1).astype("f8")
        found[f"v{number}"] = Statistics(
            count=tuple(np.isfinite(flat).sum(1).tolist()),
            missing=tuple(np.isnan(flat).sum(1).tolist()),
            min=tuple(np.nanmin(flat, 1).tolist()),
            max=tuple(np.nanmax(flat, 1).tolist()),
            mean=tuple(np.nanmean(flat, 1).tolist()),
            std=tuple(np.nanstd(flat, 1).tolist()),
        )
    return found


def weather(samples: int, dtype: str, gaps: bool = False) -> Array:
    """Four variables of different size and spread on five levels; the last never varies."""
    random = np.random.default_rng(4)
    values = random.normal(size=(samples, 4, 5, 3)) + np.arange(5)[:, None]
    values = values * np.array([15, 6, 1200, 0])[:, None, None] + np.array([280, 0, 1e5, 7])[:, None, None]
    if gaps:
        values[random.random(values.shape) < 0.2] = np.nan
    typed: Array = values.astype(dtype)
    return typed


@settings(deadline=None, max_examples=40)
@given(
    layout=layouts,
    by_level=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    names=st.sampled_from([True, ["v2"], ["v0", "v1"]]),
    asked=st.sampled_from(
        [{}, {"levels": [100.0, 850.0]}, {"crop": {"d1": 2}}, {"variables": ["v3", "v2", "v0", "v1"]}]
    ),
    missing=st.sampled_from(["keep", "mask", -9.0]),
    window=st.sampled_from([(0,), (0, 1)]),
)
def test_values_are_standardised_then_filled(
    layout: Layout, by_level: bool, dtype: str, names: Any, asked: Any, missing: Any, window: Any
) -> None:
    """As with what comes plain from the same stream, by the statistics of each variable and level."""
    values = weather(12, dtype, gaps=True)
    found = statistics_of(values, by_level)
    with TemporaryDirectory() as folder:
        write_store(Path(folder), {"fields": values}, layout, statistics=found, levels={"d0": PRESSURES})
        order: Any = {"batch_size": 5, "shuffle": False, "threads": 2, "window": window, **asked}
        plain = whole(stream(folder, **order), "fields")
        batches = stream(folder, standardise=names, missing=missing, **order)
        kept = list(batches)
    got = np.concatenate([np.asarray(batch["fields"]) for batch in kept])
    levels = [4, 1] if "levels" in asked else range(5)
    wanted = plain.astype("f8")
    for number, name in enumerate(batches.variables["fields"]):
        if names is not True and name not in names:
            continue
        mean, std = (
            np.array(part)[levels if by_level else [0]] for part in (found[name].mean, found[name].std)
        )
        std[std == 0] = 1
        wanted[..., number, :, :] = (wanted[..., number, :, :] - mean[:, None]) / std[:, None]
    gaps = np.isnan(plain)
    assert got.dtype == dtype
    np.testing.assert_allclose(got[~gaps], wanted[~gaps], rtol=1e-5, atol=1e-4)
    if missing == "keep":
        assert np.isnan(got[gaps]).all()
    else:
        assert (got[gaps] == (0 if missing == "mask" else missing)).all()
    assert all(("fields.missing" in batch) == (missing == "mask") for batch in kept)
    if missing == "mask":
        marks = np.concatenate([np.asarray(batch["fields.missing"]) for batch in kept])
        assert marks.dtype == bool
        np.testing.assert_array_equal(marks, gaps)
    back = np.concatenate([np.asarray(batches.destandardise(batch["fields"])) for batch in kept])
    np.testing.assert_allclose(back[~gaps], plain[~gaps], rtol=1e-5, atol=1e-2)


def test_large_rows_are_standardised_as_small_ones(tmp_path: Path) -> None:
    """Rows above the size of one pass go variable by variable."""
    values = np.random.default_rng(1).normal(5, 3, (3, 3, 300, 400)).astype("f4")
    values[0, 1, 7, :9] = np.nan
    write_store(tmp_path, {"fields": values}, statistics=statistics_of(values, by_level=False))
    (batch,) = stream(tmp_path, batch_size=3, shuffle=False, standardise=["v0", "v2"], missing="mask")
    found = np.asarray(batch["fields"])
    for number in (0, 2):
        np.testing.assert_allclose(found[:, number].mean(), 0, atol=1e-3)
        np.testing.assert_allclose(found[:, number].std(), 1, atol=1e-3)
    np.testing.assert_array_equal(found[:, 1], np.nan_to_num(values[:, 1]))
    np.testing.assert_array_equal(np.asarray(batch["fields.missing"]), np.isnan(values))


def test_integers_have_no_missing_values(tmp_path: Path) -> None:
    """Their mask says so, and they are left as they are."""
    marks = field(6, 2, dtype="int16")
    values = field(6, 1, 3)
    write_store(
        tmp_path, {"fields": values, "marks": marks}, statistics=statistics_of(values, by_level=False)
    )
    (batch,) = stream(tmp_path, batch_size=6, shuffle=False, standardise=True, missing="mask")
    np.testing.assert_array_equal(batch["marks"], marks)
    assert not batch["marks.missing"].any()


@pytest.mark.parametrize("container", CONTAINERS)
def test_levels_of_a_converted_dataset_are_known(tmp_path: Path, container: Container) -> None:
    """By the vertical coordinate that came from the source, in every container."""
    values = weather(30, "float32")[:, 0]
    source = xr.Dataset(
        {"t": (("time", "plev", "latitude"), values, {"units": "K"})},
        {"time": np.arange(30.0), "plev": ("plev", PRESSURES, {"units": "hPa", "positive": "down"})},
    )
    source["time"].attrs["units"] = "days since 2000-01-01"
    source.to_netcdf(tmp_path / "a.nc")
    convert([tmp_path / "a.nc"], tmp_path / "store", Options(format=container))
    asked: Any = {"batch_size": 30, "shuffle": False, "levels": [500, 1000], "standardise": True}
    (batch,) = stream(tmp_path / "store", **asked)
    found = np.asarray(next(iter(batch.values())))[:, 0]
    wanted = values[:, [2, 0]]
    wanted = (wanted - wanted.mean((0, 2), keepdims=True)) / wanted.std((0, 2), keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_predictions_come_back_in_units(tmp_path: Path) -> None:
    """Those of the targets, also with a gradient and with more axes in front."""
    values = weather(8, "float32")
    write_store(tmp_path, {"fields": values}, statistics=statistics_of(values, by_level=False))
    batches = stream(tmp_path, batch_size=4, inputs=["v0"], targets=["v2", "v1"], standardise=True)
    guess = torch.ones(7, 4, 2, 5, 3, requires_grad=True)
    told = batches.destandardise(guess)
    told.sum().backward()  # type: ignore[no-untyped-call]
    one = statistics_of(values, by_level=False)
    for number, name in enumerate(("v2", "v1")):
        wanted = one[name].mean[0] + one[name].std[0]
        np.testing.assert_allclose(told[:, :, number].detach(), wanted, rtol=1e-5)
    assert guess.grad is not None
    assert batches.destandardise(torch.zeros(1, 1, 5, 3), "inputs").mean() == pytest.approx(one["v0"].mean[0])
    with pytest.raises(BadRequest, match="name='fields'; a batch has inputs, targets"):
        batches.destandardise(guess, "fields")


def test_a_transform_gets_whole_batches_in_order(tmp_path: Path) -> None:
    """In the thread of the loop, and its time is its own region and not waiting."""
    write_store(tmp_path, {"fields": field(20, 2, 3)})

    def double(batch: Batch) -> Batch:
        assert threading.current_thread() is threading.main_thread()
        time.sleep(0.05)
        return {"twice": 2 * batch["fields"]}

    plain = whole(stream(tmp_path, batch_size=6, seed=1), "fields")
    batches = stream(tmp_path, batch_size=6, seed=1, transform=double)
    with measure() as ledger:
        kept = [batch["twice"] for batch in ledger.batches(batches)]
    np.testing.assert_array_equal(torch.cat(kept), 2 * plain)
    assert ledger.times.regions_s["transform"] >= 0.2
    assert ledger.times.regions_s["wait"] < 0.2


def test_the_work_of_threads_on_values_is_told(tmp_path: Path) -> None:
    """Apart from fetching and decoding."""
    values = weather(12, "float32")
    for number, rows in enumerate((1, 4)):
        path = write_store(
            tmp_path / str(number),
            {"fields": values},
            Layout(rows=rows),
            statistics=statistics_of(values, False),
        )
        batches = stream(path, batch_size=4, standardise=True)
        assert len(list(batches)) == 3
        assert batches.work.transform_s > 0
    plain = stream(path, batch_size=4)
    assert len(list(plain)) == 3
    assert plain.work.transform_s == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"standardise": ["w"]}, "'w' is no float variable of the batch; there are v0, v1"),
        ({"standardise": ["v1"], "variables": ["v0"]}, "'v1' is no float variable"),
        ({"standardise": "v0"}, "wanted True or a sequence"),
        ({"standardise": ["v1"]}, "has no statistics of 'v1'"),
        ({"standardise": ["v0"], "crop": {"d0": 2}}, "a window is drawn along 'd0'"),
        ({"missing": "drop"}, "missing='drop'; wanted 'keep', 'mask' or a number"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, asked: dict[str, Any], says: str) -> None:
    """At once."""
    values = weather(4, "float32")[:, :2]
    found = statistics_of(values, by_level=True)
    del found["v1"]
    write_store(tmp_path, {"fields": values}, statistics=found, levels={"d0": PRESSURES})
    with pytest.raises(BadRequest, match=says):
        stream(tmp_path, **{"batch_size": 2, **asked})


def test_levels_that_nothing_names_are_refused(tmp_path: Path) -> None:
    """Statistics by level are useless without knowing which axis they follow."""
    values = weather(4, "float32")
    write_store(tmp_path, {"fields": values}, statistics=statistics_of(values, by_level=True))
    with pytest.raises(BadRequest, match="no coordinate of 'fields' tells its 5 levels"):
        stream(tmp_path, batch_size=2, standardise=True)
