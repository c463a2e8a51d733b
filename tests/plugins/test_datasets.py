"""Every dataset from its server through the cache to xarray and torch; the server is one of the tests."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from maelio.cache.room import prune
from maelio.cache.tier import Tier
from maelio.errors import BadData, BadRequest, Missing, Offline
from maelio.plugins import manifest
from maelio.plugins.base import Described
from maelio.plugins.catalogue import CLASSES
from maelio.plugins.downscaling import Downscaling, DownscalingTier1, DownscalingTier2
from maelio.plugins.ens10 import Ens5mini, Ens10
from maelio.plugins.nogwd import Nogwd
from maelio.plugins.power import Constants, ModelLevel, PressureLevel, Production, SurfaceLevel
from maelio.plugins.radiation import Radiation
from maelio.plugins.radiation_tf import RadiationTF
from maelio.plugins.tweets import Tweets
from maelio.plugins.yr import NORMS, Yr
from maelio.store import open_store
from tests.plugins.originals import SCALE, served

CALLS: Mapping[type[Described], dict[str, Any]] = {
    Yr: {"size": "5GB", "dates": ["2020-03-01", "2020-03-02"], "normalize": True},
    Radiation: {"patch": [0, 10, 2], "gather_fluxes": True, "raw_inputs": False},
    RadiationTF: {"filenum": [0, 5], "norm": True, "minimal_outputs": True},
    Nogwd: {"subset": "validation"},
    Ens5mini: {"date": "02"},
    DownscalingTier1: {"months": ["2016-09", "2017-04"]},
    DownscalingTier2: {"months": "2017-01"},
    Production: {"wind_turbine_id": 3},
    ModelLevel: {"date": ["2020-01-01", "2020-02-01"]},
    PressureLevel: {"date": "2020-01-01"},
    SurfaceLevel: {"date": "2020-01-01"},
}
"""Datasets whose converted copy is what xarray gives."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MAELIO_CACHE", str(cache))
    return cache


def stand_in(kind: Any, /, **arguments: Any) -> Any:
    return kind(**arguments, source="synthetic", scale=SCALE)


@pytest.mark.parametrize(("kind", "arguments"), CALLS.items(), ids=lambda each: getattr(each, "name", None))
def test_a_dataset_comes_from_its_server_once_and_streams(
    kind: type[Described], arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched once for two users, then offline; noted in the manifest; its converted copy is identical."""
    with served(kind, tmp_path / "server", **arguments) as (near, server):
        data = near(**arguments).to_xarray()
        again = near(**arguments)
        monkeypatch.setenv("MAELIO_OFFLINE", "1")
        xr.testing.assert_identical(again.to_xarray(), data)
        assert set(server.fetched.values()) == {1}
        assert len(server.fetched) == len(again.urls())
        noted = again.manifest()
        assert [each.url for each in noted] == [*again.urls()]
        assert [each.size for each in noted] == [path.stat().st_size for path in again.files()]
        assert manifest.entry(str(again.files()[0]), again.files()[0]).digest == noted[0].digest
        with xr.open_dataset(again.to_store(), engine="maelio") as copy:
            xr.testing.assert_identical(copy.load(), data.load())
        batch = next(iter(again.to_torch(batch_size=2, shuffle=True, seed=0)))
        assert all(len(values) == 2 for values in batch.values())


def test_grib_comes_to_xarray_as_the_original_gives_it_and_streams(tmp_path: Path) -> None:
    """Ten members, the years in which a day was hindcast, three steps."""
    call = {"date": "20180104", "dtype": "sfc"}
    with served(Ens10, tmp_path / "server", **call) as (near, _):
        dataset = near(**call)
        data = dataset.to_xarray()
        assert data["t2m"].dims == ("number", "time", "step", "surface", "latitude", "longitude")
        assert {data.sizes[name] for name in ("number", "step", "surface")} == {10, 3, 1}
        assert set(data) == {each.name for each in Ens10.description.variables if each.about == "dtype sfc"}
        store = open_store(str(dataset.to_store()))
        assert store.samples == data.sizes["time"] * 3
        with xr.open_dataset(dataset.to_store(), engine="maelio") as copy:
            wanted = data["t2m"].squeeze("surface").transpose(*copy["t2m"].dims)
            np.testing.assert_array_equal(copy["t2m"].values, wanted.values)


def test_what_has_no_samples_is_read_but_not_streamed() -> None:
    constants = stand_in(Constants)
    assert constants.to_xarray()["hyam"].shape == (1, 137)
    with pytest.raises(BadRequest, match=r"^dataset 'maelstrom-constants-a-b': has no samples"):
        constants.to_torch(batch_size=1)


@pytest.mark.parametrize(("kind", "samples"), [("tweets", 32), ("precipitation", 4)])
def test_tweets_are_text_and_rain(kind: str, samples: int) -> None:
    tweets = stand_in(Tweets, kind=kind)
    data = tweets.to_xarray()
    assert ("text" in data) == (kind == "tweets")
    assert open_store(str(tweets.to_store())).samples == samples


@pytest.mark.parametrize(
    "kind", [each for each in CLASSES if each is not Downscaling], ids=lambda each: str(each.name)
)
def test_variables_are_in_the_files_as_they_are_described(kind: type[Described]) -> None:
    """Dimensions, sizes of those that do not vary, and units, as far as files say them."""
    about = kind.description
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for extra in ({"kind": "precipitation"}, {"dtype": "sfc"}, {}):
        if not extra.keys() <= {each.name for each in about.arguments} or (extra and kind is Ens5mini):
            continue
        dataset = stand_in(kind, **{**about.minimal, **extra})
        if kind is Ens10 and not extra:
            continue  # the same with more levels, which takes long
        if kind in (Ens10, RadiationTF):
            data = dataset.to_xarray()
            found |= {
                str(name): (tuple(map(str, each.dims)), each.attrs.get("units", ""))
                for name, each in data.items()
            }
            continue
        one_of_each = {request.fields.get("inout"): request for request in dataset.requests}
        dataset.requests = (*one_of_each.values(),)
        for path in dataset.files():
            with netCDF4.Dataset(path) as file:
                for name, variable in file.variables.items():
                    found[name] = variable.dimensions, getattr(variable, "units", "")
    for each in about.variables:
        if each.about == "dtype pl":
            continue
        dims, unit = found[each.name]
        assert dims == each.dims
        assert unit in ("", each.unit)


def test_bytes_that_are_not_those_of_the_first_time_are_refused(tmp_path: Path, own_cache: Path) -> None:
    """In one line that names the file and what to remove where the new ones are meant."""
    call = {"date": ["2015-01-01", "2015-01-31"]}
    with served(Nogwd, tmp_path / "server", **call) as (near, server):
        url = near(**call).urls()[1]
        before = near(**call).manifest()
        near(**call).files()
        path = tmp_path / "server" / url.removeprefix(f"{server.url}/")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        prune(Tier(own_cache), 0)
        with pytest.raises(BadData) as caught:
            near(**call).to_xarray()
        (noted,) = (own_cache / "manifests").glob("*.json")
        assert str(caught.value).startswith(f"{url}: {len(content)} bytes with digest ")
        assert str(caught.value).endswith(
            f"as when it was first fetched; remove {noted} if the new ones are meant"
        )
        assert "\n" not in str(caught.value)
        noted.unlink()
        after = near(**call).manifest()
        assert after[0] == before[0]
        assert after[1].digest != before[1].digest


def test_other_arguments_and_another_version_are_pinned_by_themselves(
    tmp_path: Path, own_cache: Path
) -> None:
    """What only changes what is derived is not: the files are the same."""
    with served(Radiation, tmp_path / "server", patch=[0, 1]) as (near, _):
        calls: list[dict[str, Any]] = [{"patch": 0}, {"patch": 0, "hr_units": "K s-1"}, {"patch": [0, 1]}]
        for arguments in calls:
            near(**arguments).files()
        assert len([*(own_cache / "manifests").glob("*.json")]) == 2

        class Newer(near, abstract=True):  # type: ignore[call-arg, misc, valid-type]
            description = replace(near.description, version="0.8")

        Newer(patch=0).files()
        assert len([*(own_cache / "manifests").glob("*.json")]) == 3


def test_offline_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAELIO_OFFLINE", "1")
    dataset = Radiation(patch=0)
    with pytest.raises(Offline) as caught:
        dataset.to_xarray()
    assert caught.value.missing == dataset.urls()


def test_files_that_xarray_may_open_stay_until_the_dataset_is_closed(tmp_path: Path, own_cache: Path) -> None:
    with served(Nogwd, tmp_path / "server") as (near, _):
        with near() as dataset:
            data = dataset.to_xarray()
            (path,) = dataset.files()
            prune(Tier(own_cache), 0)
            assert path.exists()
            data.load()
            data.close()
        prune(Tier(own_cache), 0)
        assert not path.exists()


def test_the_same_bytes_are_converted_once_however_often_they_are_fetched(
    tmp_path: Path, own_cache: Path
) -> None:
    with served(Nogwd, tmp_path / "server") as (near, server):
        with near() as dataset:
            store = dataset.to_store()
        prune(Tier(own_cache), 0)
        assert near().to_store() == store
        near().files()
        assert near().to_store() == store
        assert server.fetched.total() == 2


def test_a_stand_in_is_made_once_and_depends_on_its_seed(own_cache: Path) -> None:
    first = stand_in(Nogwd).files()
    made = first[0].stat().st_mtime_ns
    assert Nogwd.twin(source="synthetic", scale=SCALE).files() == first
    assert first[0].stat().st_mtime_ns == made
    other = Nogwd(source="synthetic", scale=SCALE, seed=1).files()
    assert other[0].read_bytes() != first[0].read_bytes()
    assert not [*own_cache.rglob(".part-*")]
    assert not (own_cache / "files").exists()


def test_the_setting_makes_stand_ins_of_all_but_those_that_say_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAELIO_SYNTHETIC", "1")
    monkeypatch.setenv("MAELIO_SYNTHETIC_SCALE", str(SCALE))
    monkeypatch.setenv("MAELIO_OFFLINE", "1")
    assert Nogwd().to_xarray().sizes["examples"] == 16
    with pytest.raises(Offline):
        Nogwd(source="original").to_xarray()


def test_what_nobody_writes_a_stand_in_of_says_so() -> None:
    class Other(Nogwd, abstract=True):
        description = replace(Nogwd.description, id="maelstrom-other")

    with pytest.raises(Missing, match=r"^dataset 'maelstrom-other': there is no stand-in of it$"):
        Other(source="synthetic").files()


def test_chunks_are_those_that_are_asked_for() -> None:
    dataset = stand_in(Yr, size="5GB", dates="2020-03-01")
    assert dataset.to_xarray()["predictors"].chunks is not None
    assert set(dataset.to_xarray(chunks={"leadtime": 2})["targets"].chunksizes["leadtime"]) == {2}


def test_heating_rates_are_the_divergence_of_the_fluxes() -> None:
    """-g/cp d(down - up)/dp, in K s-1 and in K d-1; computed here by itself from the files."""
    dataset = stand_in(Radiation, patch=0, hr_units="K s-1")
    with xr.open_dataset(dataset.files()[1]) as raw:
        net = (raw["flux_dn_sw"] - raw["flux_up_sw"]).values.astype(np.float64)
        wanted = -9.80665 / 1004 * np.diff(net) / np.diff(raw["pressure_hl"].values)
    found = dataset.to_xarray()["hr_sw"].values
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-7)  # float32 fluxes, differences of them
    daily = stand_in(Radiation, patch=0).to_xarray()["hr_sw"]
    assert daily.attrs["units"] == "K d-1"
    np.testing.assert_allclose(daily.values, found * 86400, rtol=1e-5)


@pytest.mark.parametrize("top_net", [False, True])
def test_boundary_fluxes_are_those_at_the_top_and_at_the_surface(top_net: bool) -> None:
    with xr.open_dataset(stand_in(Radiation, patch=0).files()[1]) as raw:
        down, up = raw["flux_dn_lw"].values, raw["flux_up_lw"].values
    wanted = np.stack([down[:, 0] - up[:, 0] if top_net else up[:, 0], down[:, -1], up[:, -1]], 1)
    found = stand_in(Radiation, patch=0, minimal_outputs=True, topnetflux=top_net).to_xarray()
    np.testing.assert_array_equal(found["fluxes_lw"].values, wanted)


def test_records_and_netcdf_are_stacked_alike() -> None:
    """Scalars of a column in one order: 17, with the sun's angle second and its irradiance last."""
    netcdf = stand_in(Radiation, patch=0, raw_inputs=False).to_xarray()
    records = stand_in(RadiationTF).to_xarray()
    for name in ("sca_inputs", "col_inputs", "hl_inputs", "inter_inputs", "pressure_hl"):
        assert netcdf[name].dims == records[name].dims
        assert netcdf[name].shape[1:] == records[name].shape[1:]
    for data in (netcdf, records):
        assert (abs(data["sca_inputs"][:, 1]) <= 1).all()
        assert (data["sca_inputs"][:, 16] > 1000).all()


def test_heating_rates_of_records_come_in_the_unit_that_is_asked_for() -> None:
    """mcica's are stored without g/cp."""
    for scheme in ("tripleclouds", "mcica"):
        rates = {
            unit: stand_in(RadiationTF, dataset=scheme, hr_units=unit).to_xarray()
            for unit in ("K s-1", "K d-1")
        }
        seconds, days = (each["hr_lw"].values for each in rates.values())
        np.testing.assert_allclose(days, seconds * 86400, rtol=1e-5)
        flux = rates["K s-1"]["lw"].values.astype(np.float64)
        pressure = rates["K s-1"]["pressure_hl"].values[..., 0]
        wanted = -9.80665 / 1004 * np.diff(flux[..., 0] - flux[..., 1]) / np.diff(pressure)
        np.testing.assert_allclose(seconds[..., 0], wanted, rtol=1e-3, atol=1e-8)


def test_norms_leave_the_sun_as_it_is_where_that_is_asked_for() -> None:
    plain = stand_in(RadiationTF).to_xarray()["sca_inputs"]
    normal = stand_in(RadiationTF, norm=True).to_xarray()["sca_inputs"]
    without = stand_in(RadiationTF, norm=True, nonormsolar=True).to_xarray()["sca_inputs"]
    np.testing.assert_array_equal(without[:, [1, 16]], plain[:, [1, 16]])
    assert not np.allclose(normal[:, 1], plain[:, 1])
    np.testing.assert_array_equal(without[:, 2:16], normal[:, 2:16])


def test_predictors_of_yr_are_dynamic_ones_and_static_ones_behind_them() -> None:
    """At every lead time the same; the difference is to the forecast, the norms are those of the public plugin."""
    call: dict[str, Any] = {"size": "5GB", "dates": "2020-03-01"}
    with xr.open_dataset(stand_in(Yr, **call).files()[0]) as raw:
        dynamic, static, mean = (
            raw[name].values for name in ("predictors", "static_predictors", "target_mean")
        )
        std = raw["target_std"].values
    data = stand_in(Yr, **call, probabilistic_target=True).to_xarray()
    assert [*data["predictor"].values] == [*NORMS]
    np.testing.assert_array_equal(data["predictors"][0, ..., :8], dynamic)
    for leadtime in data["predictors"].values[0]:
        np.testing.assert_array_equal(leadtime[..., 8:], static)
    np.testing.assert_array_equal(data["targets"][0, ..., 0], mean)
    np.testing.assert_array_equal(data["targets"][0, ..., 1], std)
    difference = stand_in(Yr, **call, predict_diff=True, normalize=True).to_xarray()
    np.testing.assert_array_equal(difference["targets"][0, ..., 0], mean - dynamic[..., 2])
    middle, spread = NORMS["air_temperature_2m"]
    np.testing.assert_allclose(
        difference["predictors"][0, ..., 2], (dynamic[..., 2] - middle) / spread, rtol=1e-5, atol=1e-6
    )


def test_real_files_of_yr_come_from_a_folder(shared_data: Path) -> None:
    """The public plugin's own test file, by its argument `location`: the user's files are not pinned."""
    folder = shared_data / "metno+maelstrom-yr" / "tests" / "files"
    data = Yr("5GB", dates="2020-03-01", location=f"{folder}/").to_xarray()
    assert dict(data.sizes) == {"time": 1, "leadtime": 5, "y": 6, "x": 4, "predictor": 14, "target": 1}
    assert str(data["time"].values[0]) == "2020-03-01T03:00:00.000000000"


def test_the_first_twelve_hours_of_each_run_make_a_day() -> None:
    data = stand_in(ModelLevel, date="2020-01-01").to_xarray()
    hours = np.diff(data["time"].values) / np.timedelta64(1, "h")
    assert data.sizes["time"] == 24
    assert set(hours) == {1.0}
    assert len(stand_in(SurfaceLevel, date="2020-01-01").to_dataframe()) == data.sizes["time"] * 9 * 15


def test_augmented_months_are_one_file_and_the_alias_is_the_first_tier(tmp_path: Path) -> None:
    (url,) = Downscaling(dataset="training_aug").urls()
    assert url.endswith("/maelstrom-ap5/tier-1/downscaling_tier1_train_aug.nc")
    assert Downscaling("2016-04").urls() == DownscalingTier1(months=["2016-04"]).urls()
    with pytest.raises(BadRequest, match=r"^dataset 'maelstrom-downscaling-tier2': needs months or dataset$"):
        DownscalingTier2()
    kept = tmp_path / "kept"
    data = stand_in(DownscalingTier1, dataset="testing").to_xarray(persist=True, data_dir=str(kept))
    with xr.open_dataset(kept / "downscaling_tier1_test.nc") as written:
        xr.testing.assert_equal(written, data)


def test_a_manifest_that_cannot_be_written_is_a_warning(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a cache is only read; nobody may write this folder."""
    own_cache.mkdir()
    (own_cache / "manifests").symlink_to("/proc")
    with served(Nogwd, tmp_path / "server") as (near, _), caplog.at_level(logging.WARNING):
        near().files()
    assert "these files are not checked next time" in caplog.text
