"""Names, dimensions, types, units and layout of stand-ins, by readers that share nothing with their writers."""

from pathlib import Path

import climetlab
import eccodes
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from tfrecord import tfrecord_loader

from maelio.plugins.standins import WRITERS, ens10, radiation, radiation_records, yr
from maelio.plugins.standins.columns import PATCH, PATCHES, octahedral
from maelio.plugins.standins.ens5mini import days
from tests.plugins.standins.requests import made

laws = settings(deadline=None, max_examples=60)
few = settings(max_examples=8, deadline=None)

INPUTS = {  # the sizes that do not scale
    **dict.fromkeys(
        ["q", "o3_mmr", "co2_vmr", "n2o_vmr", "ch4_vmr", "o2_vmr", "cfc11_vmr", "cfc12_vmr", "hcfc22_vmr", "ccl4_vmr",
         "cloud_fraction", "q_liquid", "q_ice", "re_liquid", "re_ice"], (137,)
    ),
    "aerosol_mmr": (12, 137),
    **dict.fromkeys(["temperature_hl", "pressure_hl"], (138,)),
    "overlap_param": (136,),
    **dict.fromkeys(["skin_temperature", "cos_solar_zenith_angle", "lat", "lon"], ()),
    **dict.fromkeys(["sw_albedo", "sw_albedo_direct"], (6,)),
    "lw_emissivity": (2,),
}  # fmt: skip
FLUXES = {"flux_dn_sw", "flux_up_sw", "flux_dn_lw", "flux_up_lw"}


@few
@given(scale=st.floats(1e-5, 0.02), inout=st.sampled_from(["rad4NN_inputs", *radiation.SCHEMES]))
def test_radiation_files_are_as_the_originals_at_any_scale(
    tmp_path_factory: pytest.TempPathFactory, scale: float, inout: str
) -> None:
    path = tmp_path_factory.mktemp("radiation") / "a.nc"
    request: dict[str, JsonValue] = {"inout": inout, "date": "20190131", "timestep": 3500, "patch": 15}
    WRITERS["maelstrom-radiation"](path, request, scale=scale)
    columns = max(4, round(16960 * scale))
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF4"
        if inout == "rad4NN_inputs":
            assert file["solar_irradiance"].shape == ()
            shapes = {name: v.shape for name, v in file.variables.items() if name != "solar_irradiance"}
            assert shapes == {name: (columns, *shape) for name, shape in INPUTS.items()}
            assert file["aerosol_mmr"].dimensions == ("column", "aerosol_type", "level")
        else:
            assert file.variables.keys() == FLUXES | {"pressure_hl"}
            assert {v.shape for v in file.variables.values()} == {(columns, 138)}
            assert {file[name].units for name in FLUXES} == {"W m-2"}
        assert {v.dtype for v in file.variables.values()} == {np.dtype("f4")}
        assert {v.chunking() for v in file.variables.values()} == {"contiguous"}
        assert file["pressure_hl"].units == "Pa"


def test_columns_of_an_original_are_16_patches_of_a_whole_grid() -> None:
    """At scale 1, without making it: every point of O256 once."""
    latitude, longitude = octahedral(np.arange(PATCH * PATCHES))
    assert len({*zip(latitude.tolist(), longitude.tolist(), strict=True)}) == 271360
    assert np.unique(latitude).size == 512
    np.testing.assert_allclose(latitude, -latitude[::-1])
    assert longitude.min() == 0
    assert longitude.max() < 360


def test_records_are_read_by_the_tfrecord_package(tmp_path: Path) -> None:
    path = made(tmp_path, "records", scale=0.0004)
    records = [*tfrecord_loader(str(path), None)]
    assert len(records) == round(67840 * 0.0004)
    for record in records:
        assert {name: value.shape for name, value in record.items()} == {
            "sca_inputs": (17,),
            "col_inputs": (137 * 27,),
            "hl_inputs": (138 * 2,),
            "pressure_hl": (138,),
            "inter_inputs": (136,),
            "sw": (138 * 2,),
            "lw": (138 * 2,),
            "hr_sw": (137,),
            "hr_lw": (137,),
        }
        assert {value.dtype for value in record.values()} == {np.dtype("f4")}
    assert path.stat().st_size / len(records) == pytest.approx(5092 * 4, rel=0.02)


def test_every_column_of_a_year_is_in_one_record() -> None:
    every = 13 * 271360
    assert np.gcd(radiation_records._MULTIPLIER, every) == 1
    assert np.gcd(radiation_records._MULTIPLIER, 29 * 271360) == 1
    assert every == 52 * radiation_records.RECORDS
    assert 116 * radiation_records.RECORDS == 29 * 271360


def test_a_norm_has_the_shape_of_its_field(tmp_path: Path) -> None:
    for field in ("col_inputs", "hr_lw"):
        shape = radiation_records.FIELDS[field]
        path = tmp_path / f"{field}.nc"
        WRITERS["maelstrom-radiation-tf"](path, {"kind": "norm", "field": field}, scale=0.001)
        with xr.open_dataset(path) as file:
            assert file[f"{field}_mean"].shape == file[f"{field}_std"].shape == shape
            assert np.isfinite(file[f"{field}_mean"]).all()
            assert (file[f"{field}_std"] > 0).all()


def test_a_yr_file_is_as_the_real_one(tmp_path: Path, shared_data: Path) -> None:
    """Variables, dimensions, types, attributes, layout; and the place of the north-western corner of the real cut-out."""
    real = shared_data / "metno+maelstrom-yr/tests/files/air_temperature/5GB/20200301T03Z.nc"
    path = made(tmp_path, "yr-5GB", scale=1.0)
    with netCDF4.Dataset(real) as wanted, netCDF4.Dataset(path) as found:
        assert found.variables.keys() == wanted.variables.keys()
        for name, variable in wanted.variables.items():
            mine = found[name]
            assert (mine.dimensions, mine.dtype, mine.chunking()) == (
                variable.dimensions,
                variable.dtype,
                variable.chunking(),
            )
            assert {key: str(mine.getncattr(key)) for key in mine.ncattrs()} == {
                key: str(variable.getncattr(key)) for key in variable.ncattrs()
            }
        for name in ("predictor", "predictor_units", "static_predictor", "static_predictor_units", "time"):
            np.testing.assert_array_equal(found[name][...], wanted[name][...])
        for name in ("x", "y", "latitude", "longitude"):
            part = tuple(slice(0, size) for size in wanted[name].shape)
            np.testing.assert_allclose(found[name][part], wanted[name][...], atol=2e-5)
        assert found["leadtime"][:5].tolist() == wanted["leadtime"][...].tolist()


@few
@given(scale=st.floats(1e-6, 0.001), size=st.sampled_from(["5GB", "5TB"]))
def test_yr_files_keep_all_lead_times(
    tmp_path_factory: pytest.TempPathFactory, scale: float, size: str
) -> None:
    path = tmp_path_factory.mktemp("yr") / "a.nc"
    request = {"parameter": "air_temperature", "size": size, "datestr": "20210702T09Z"}
    WRITERS["maelstrom-yr"](path, request, scale=scale)
    domain = yr.SIZES[size]
    with netCDF4.Dataset(path) as file:
        rows, columns = (max(4, round(full * scale**0.5)) for full in (domain.rows, domain.columns))
        assert file["predictors"].shape == ({"5GB": 10, "5TB": 59}[size], rows, columns, 8)
        assert file["static_predictors"].shape == (rows, columns, 6)
        assert np.abs(file["latitude"][...] - 59.9).max() < 1
        np.testing.assert_allclose(np.diff(file["x"][...]), 1000, atol=0.1)


def test_an_ens10_surface_file_is_the_hypercube_that_cfgrib_makes(tmp_path: Path) -> None:
    """Also through CliMetLab, which sees by the first bytes that it is GRIB: the name has no extension."""
    path = made(tmp_path, "ens10-sfc")
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as file:
        assert dict(file.sizes) == {"number": 10, "time": 2, "step": 3, "latitude": 9, "longitude": 16}
        assert {*file.data_vars} == {
            "sst",
            "tcw",
            "tcwv",
            "cp",
            "msl",
            "tcc",
            "u10",
            "v10",
            "t2m",
            "tp",
            "skt",
        }
        assert {name for name in file.data_vars if file[name].isnull().any()} == {"sst"}
        assert file.number.values.tolist() == [*range(1, 11)]
        assert file.step.values.astype("m8[h]").astype(int).tolist() == [0, 24, 48]
        assert file.time.values.astype("M8[D]").astype(str).tolist() == ["1998-01-04", "1999-01-04"]
        assert file.latitude.values[[0, -1]].tolist() == [90, -90]
    assert len(climetlab.load_source("file", str(path))) == 11 * 10 * 2 * 3


def test_an_ens10_pressure_level_file_has_eleven_levels(tmp_path: Path) -> None:
    """Its first variable alone: cfgrib takes long for all."""
    path = made(tmp_path, "ens10-pl")
    size, rest = divmod(path.stat().st_size, 7 * 10 * 2 * 3 * 11)
    assert rest == 0  # messages without a bitmap are of one size
    path.write_bytes(path.read_bytes()[: 660 * size])
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as file:
        assert {*file.data_vars} == {"z"}
        assert file.z.dims == ("number", "time", "step", "isobaricInhPa", "latitude", "longitude")
        assert file.isobaricInhPa.values.tolist() == [1000, 925, 850, 700, 500, 400, 300, 200, 100, 50, 10]
        assert (np.diff(file.z.mean(("number", "time", "step", "latitude", "longitude"))) > 0).all()


def test_ens10_messages_are_of_edition_1_packed_in_16_bits_variable_by_variable(tmp_path: Path) -> None:
    """All of the first variable and some of the second."""
    wanted = {"edition": 1, "packingType": "grid_simple", "bitsPerValue": 16, "stream": "enfh", "type": "pf"}
    names, places = [], []
    with open(made(tmp_path, "ens10-pl"), "rb") as file:
        for _ in range(700):
            handle = eccodes.codes_grib_new_from_file(file)
            names.append(eccodes.codes_get(handle, "shortName"))
            assert {
                key: eccodes.codes_get(handle, key, type(value)) for key, value in wanted.items()
            } == wanted
            number, date, step, level = (
                eccodes.codes_get(handle, key, int) for key in ("number", "dataDate", "endStep", "level")
            )
            places.append((number, date, step, -level))
            eccodes.codes_release(handle)
    assert names == ["z"] * 660 + ["t"] * 40
    assert places[:660] == sorted(places[:660])


@laws
@given(scale=st.floats(1e-6, 1))
def test_ens10_grids_are_whole_thousandths_of_a_degree(scale: float) -> None:
    """What GRIB edition 1 can say; at full scale half a degree, and 20 years."""
    about = ens10.hindcasts({"dtype": "pl", "month": "12", "day": "31"}, scale=scale)
    assert 180_000 % about.intervals == 0
    assert 6 <= about.intervals <= max(6, round(360 * scale**0.5))
    assert 2 <= len(about.years) == max(2, round(20 * scale))


def test_an_ens10_original_has_6600_or_46200_messages_of_half_a_degree() -> None:
    for dtype, messages in (("sfc", 6600), ("pl", 46200)):
        about = ens10.hindcasts({"dtype": dtype, "month": "12", "day": "31"})
        assert (len(about.latitude), len(about.longitude)) == (361, 720)
        levels = len(ens10.LEVELS) if dtype == "pl" else 1
        assert (
            len(ens10.PARAMETERS[dtype]) * levels * len(about.years) * len(ens10.STEPS) * ens10.MEMBERS
            == messages
        )


def test_ens5mini_files_have_five_members_two_steps_and_eleven_levels(tmp_path: Path) -> None:
    with netCDF4.Dataset(made(tmp_path, "ens5mini")) as file:
        dimensions = ("number", "time", "step", "isobaricInhPa", "latitude", "longitude")
        for name in "ztqwduv":
            assert file[name].dimensions == dimensions
            assert file[name].shape == (5, 2, 2, 11, 4, 4)
            assert (file[name].dtype, file[name].chunking()) == (np.dtype("f4"), "contiguous")
    assert sum(len(days(month)) for month in range(1, 13)) == 105
    assert len(days(1)) == 9


def test_nogwd_files_have_profiles_and_increments(tmp_path: Path) -> None:
    with netCDF4.Dataset(made(tmp_path, "nogwd")) as file:
        assert {*file.variables} == {"x", "y"}
        assert file["x"].dimensions == ("examples", "input_features")
        assert file["x"].shape == (round(2355840 * 0.0005), 191)
        assert file["y"].dimensions == ("examples", "output_features")
        assert file["y"].shape == (round(2355840 * 0.0005), 126)


@pytest.mark.parametrize(("kind", "plane"), [("tier1", ("lat", "lon")), ("tier2", ("rlat", "rlon"))])
def test_downscaling_files_hold_a_step_a_chunk(tmp_path: Path, kind: str, plane: tuple[str, str]) -> None:
    with netCDF4.Dataset(made(tmp_path, kind, scale=0.01)) as file:
        fields = [v for v in file.variables.values() if v.dimensions == ("time", *plane)]
        names = {v.name for v in fields}
        if kind == "tier1":
            assert names == {"t2m_in", "z_in", "t2m_tar", "z_tar"}
        else:
            assert {name for name in names if name.endswith("_tar")} == {"t_2m_tar", "hsurf_tar"}
            assert len(names) == 16
        assert {tuple(v.chunking()) for v in fields} == {(1, *fields[0].shape[1:])}
        assert file.dimensions["time"].isunlimited()


def test_the_constants_are_those_of_137_levels(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "constants")) as file:
        assert file.hyam.shape == file.hybm.shape == (1, 137)
        assert file.hyai.shape == file.hybi.shape == (1, 138)
        pressure = file.hyai + file.hybi * 101325
        assert (np.diff(pressure) > 0).all()
        assert pressure[0, -1] == 101325


@pytest.mark.parametrize(
    ("kind", "names"), [("ml", {*"tquv"}), ("pl", {*"ztquv"}), ("sfc", {"sp", "t2m", "u10", "v10"})]
)
def test_weather_of_turbines_is_packed_hourly_and_two_days_long(
    tmp_path: Path, kind: str, names: set[str]
) -> None:
    path = made(tmp_path, kind)
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF3_64BIT_OFFSET"
        assert {file[name].dtype for name in names} == {np.dtype("i2")}
    with xr.open_dataset(path) as opened:
        assert {*opened.data_vars} == names
        assert opened.time.values[0] == np.datetime64("2019-01-01T12")
        assert np.diff(opened.time).astype("m8[h]").astype(int).tolist() == [1] * 48
        assert (kind == "sfc") or opened.level.size > 3
        assert kind != "ml" or 133 in opened.level
        assert not any(opened[name].isnull().any() for name in names)


def test_production_has_the_place_and_the_rating_of_its_turbine(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "production")) as file:
        assert {"production", "wind_speed", "rotor_speed", "status", "curtailment"} == {*file.data_vars}
        assert file.latitude.shape == file.longitude.shape == (1,)
        assert np.unique(np.diff(file.time)).astype("m8[m]").astype(int).tolist() == [10]
        assert float(file.attrs["power rating [kW]"]) in (2000, 2300, 3050, 3300)


def test_tweets_lie_in_the_united_kingdom(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "tweets", scale=0.01)) as file:
        assert {"text", "source", "id", "author_id", "created_at", "time_half", "longitude", "latitude", "place",
                "longitude_rounded", "latitude_rounded", "bounding_box", "tp", "raining"} == {*file.data_vars}  # fmt: skip
        assert file.sizes == {"index": 1000}
        assert 49.4 < file.latitude.min() < file.latitude.max() < 59.6
        assert np.abs(file.longitude - file.longitude_rounded).max() <= 0.05
        assert (file.time_half.dt.minute == 30).all()
        assert np.abs(file.created_at - file.time_half).max() <= np.timedelta64(30, "m")
        assert all(isinstance(text, str) and text for text in file.text.values)
