"""`cml.load_dataset("maelio-hadgem")`: the data of the quick start."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import climetlab
import numpy as np
import pytest
import xarray as xr

from maelio.errors import BadRequest, Missing, NotFound
from maelio.plugins.base import name_of_store, states
from maelio.plugins.hadgem import SCENARIOS, HadGEM
from maelio.store import open_store


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hadgem: Path) -> Path:
    """Converted copies go into a cache of this test's own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MAELIO_CACHE", str(cache))
    return cache


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_dataset_is_the_file(scenario: str, hadgem: Path) -> None:
    dataset = climetlab.load_dataset("maelio-hadgem", scenario=scenario)
    assert dataset.files() == (hadgem / f"{scenario}_north_america.nc",)
    with xr.open_dataset(*dataset.files()) as file, dataset.to_xarray() as found:
        xr.testing.assert_identical(found, file)


def test_the_scenario_is_a1b_unless_it_is_named() -> None:
    assert HadGEM().files() == HadGEM("A1B").files() != HadGEM("E1").files()


def test_it_says_where_it_is_from() -> None:
    for entry in ("home_page", "licence", "documentation", "citation"):
        assert len(getattr(HadGEM, entry)) > 10


def test_a_scenario_that_is_not_there_is_one_line() -> None:
    with pytest.raises(BadRequest) as caught:
        climetlab.load_dataset("maelio-hadgem", scenario="a1b")
    assert str(caught.value) == "dataset 'maelio-hadgem': scenario 'a1b', wanted one of ('A1B', 'E1')"


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iris_sample_data", None)  # importing it now raises ModuleNotFoundError
    with pytest.raises(Missing, match=r'pip install "maelio\[samples\]"'):
        HadGEM()


def test_to_torch_streams_the_numbers_of_the_file() -> None:
    dataset = HadGEM("E1")
    batches = list(dataset.to_torch(batch_size=50, shuffle=False))
    found = np.concatenate([batch["fields"][:, 0].numpy() for batch in batches])
    with xr.open_dataset(*dataset.files()) as file:
        np.testing.assert_array_equal(found, file["air_temperature"].values)


def test_to_torch_takes_what_stream_takes() -> None:
    stream = HadGEM().to_torch(batch_size=16, window=(-2, -1, 0, 1), tail="drop", threads=1)
    assert next(iter(stream))["fields"].shape == (16, 4, 1, 37, 49)
    assert len(stream) == 237 // 16


def test_the_second_use_converts_nothing(own_cache: Path) -> None:
    store = HadGEM().to_store()
    before = (store / "zarr.json").stat().st_mtime_ns
    assert HadGEM().to_store() == store
    assert (store / "zarr.json").stat().st_mtime_ns == before
    assert [path.suffix for path in (own_cache / "stores").glob("*.zarr*")] == [".zarr"]


def test_a_file_that_changed_has_another_store(tmp_path: Path) -> None:
    file = tmp_path / "data.nc"
    file.write_bytes(b"one")
    first = states("some/id", (file,))
    names = [name_of_store("some/id", {}, first), name_of_store("some/id", {"scenario": "E1"}, first)]
    os.utime(file, ns=(0, 0))
    names.append(name_of_store("some/id", {}, states("some/id", (file,))))
    file.write_bytes(b"three")
    names.append(name_of_store("some/id", {}, states("some/id", (file,))))
    assert len(set(names)) == 4
    assert all(name.startswith("some_id-") for name in names)
    with pytest.raises(NotFound, match="a file of dataset 'some/id' is gone"):
        states("some/id", (tmp_path / "gone.nc",))


def store_of(scenario: str) -> str:
    return str(HadGEM(scenario).to_store())


def test_eight_threads_at_once_make_one_store(own_cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = set(pool.map(store_of, ["E1"] * 8))
    assert len(stores) == 1
    assert open_store(stores.pop()).samples == 240
    assert len(list((own_cache / "stores").glob("*.zarr*"))) == 1


def test_two_processes_at_once_make_one_store(own_cache: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        stores = set(pool.map(store_of, ["E1"] * 2))
    assert len(stores) == 1
    assert open_store(stores.pop()).samples == 240
    assert len(list((own_cache / "stores").glob("*.zarr*"))) == 1
