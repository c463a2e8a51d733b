"""GRIB files become the dataset that their messages make; what misses, doubles or is damaged is refused."""

import random
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.convert import convert, plan_conversion
from maelio.converters.formats import describe
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest, Inconsistent, MaelioError
from tests.converters.grib_files import (
    COLUMNS,
    ROWS,
    cube,
    message,
    several_fields,
    times,
    write_grib,
)


def converted(path: Path, *sources: Path, **options: Any) -> xr.Dataset:
    store = convert(sources, path, Options(**options))
    with xr.open_dataset(store.path, engine="maelio") as found:
        return found.load()


def decoded(encoded: bytes, missing: float = -1e30) -> NDArray[np.float64]:
    """What eccodes gives in float64, NaN where missing, in the order of the message."""
    handle = eccodes.codes_new_from_message(encoded)
    eccodes.codes_set(handle, "missingValue", missing)
    values: NDArray[np.float64] = eccodes.codes_get_double_array(handle, "values")
    eccodes.codes_release(handle)
    return np.where(values == missing, np.nan, values)


@pytest.mark.parametrize("edition", [1, 2])
def test_messages_become_variables_over_time_and_level(tmp_path: Path, edition: int) -> None:
    """Names, order and attributes are cfgrib's; values are what eccodes decodes."""
    messages = cube(edition=edition)
    found = converted(tmp_path / "s.zarr", write_grib(tmp_path / "a.grib", messages))
    assert found.t.dims == ("time", "isobaricInhPa", "latitude", "longitude")
    assert found.isobaricInhPa.values.tolist() == [850, 500]
    assert found.latitude.values.tolist() == [60, 50, 40, 30]
    assert found.longitude.values.tolist() == [0, 10, 20, 30, 40, 50]
    assert found.time.values[1] == np.datetime64("2020-01-01T06:00")
    assert found.valid_time.dims == ("time",)
    assert found.step.values == np.timedelta64(0, "h")
    assert found.t.units == "K"
    assert found.t.standard_name == "air_temperature"
    assert found.u.GRIB_shortName == "u"
    assert found.GRIB_edition == edition
    for number, encoded in enumerate(messages):
        time, name, level = number // 4, "tu"[number // 2 % 2], number % 2
        np.testing.assert_array_equal(
            found[name].values[time, level].ravel(), decoded(encoded).astype(np.float32)
        )


def test_the_order_of_messages_does_not_matter(tmp_path: Path) -> None:
    """Shuffled, with levels and parameters that only some have."""
    messages = [
        *cube(),
        *cube(["t"], [2], typeOfLevel="heightAboveGround"),
        *cube(["q"], [850, 700, 500]),
        *(message(shortName="tp", typeOfLevel="surface", level=0, **time) for time in times(3)),
    ]
    wanted = converted(tmp_path / "s.zarr", write_grib(tmp_path / "a.grib", messages))
    assert {*wanted.data_vars} == {"t2m", "t", "u", "q", "tp"}
    assert wanted.q.dims[1] == "isobaricInhPa"
    assert wanted.t.dims[1] == "isobaricInhPa_2"
    for seed in range(3):
        random.Random(seed).shuffle(messages)
        found = converted(tmp_path / f"{seed}.zarr", write_grib(tmp_path / f"{seed}.grib", messages))
        xr.testing.assert_identical(found, wanted)
        assert [*found.variables] == [*wanted.variables]


def test_one_parameter_on_several_kinds_of_level_has_several_names(tmp_path: Path) -> None:
    """The type of level stands behind the name only where the name alone says too little."""
    messages = [
        *cube(["t"]),
        *cube(["t"], [1], typeOfLevel="hybrid"),
        *cube(["u"], [850]),
        message(shortName="tp", typeOfLevel="surface", level=0, stepRange="0-6"),
    ]
    path = write_grib(tmp_path / "a.grib", messages)
    with pytest.raises(Inconsistent, match="'tp' has 1 of the 3 values of time"):
        describe(path)
    found = converted(tmp_path / "s.zarr", path, variables=("t_hybrid", "t_isobaricInhPa", "u"))
    assert {*found.data_vars} == {"t_hybrid", "t_isobaricInhPa", "u"}
    assert found.isobaricInhPa_2.values == 850
    with pytest.raises(BadRequest, match="no variable 't'; there are t_hybrid, t_isobaricInhPa, tp, u"):
        convert([path], tmp_path / "n.zarr", Options(variables=("t",)))


def test_fields_that_differ_in_a_detail_are_told_apart(tmp_path: Path) -> None:
    """Rain of the last hour and of the last six end at the same step."""
    rain: dict[str, Any] = {"shortName": "tp", "typeOfLevel": "surface", "level": 0}
    path = write_grib(
        tmp_path / "a.grib", [message(stepRange="0-6", **rain), message(stepRange="5-6", **rain)]
    )
    assert {*converted(tmp_path / "s.zarr", path).data_vars} == {"tp_6h", "tp_1h"}


def test_steps_are_the_samples_of_one_forecast(tmp_path: Path) -> None:
    """With one time and several steps; wanted otherwise, both are dimensions."""
    path = write_grib(tmp_path / "a.grib", [message(step=step) for step in (0, 3, 6)])
    found = converted(tmp_path / "s.zarr", path)
    assert found.t.dims == ("step", "latitude", "longitude")
    assert found.valid_time.values[2] == np.datetime64("2020-01-01T06:00")
    found = converted(tmp_path / "t.zarr", path, samples="time")
    assert found.t.dims == ("time", "step", "latitude", "longitude")
    assert found.valid_time.dims == ("time", "step")


@pytest.mark.parametrize("dimension", ["time", "step"])
def test_files_line_up_along_what_they_differ_in(tmp_path: Path, dimension: str) -> None:
    """Given in any order: runs of a forecast, or its steps one file each."""
    if dimension == "time":
        parts = [[message(step=step, **time) for step in (0, 6)] for time in times(3)]
    else:
        parts = [[message(step=step)] for step in (0, 6, 12)]
    files = [write_grib(tmp_path / f"{number}.grib", part) for number, part in enumerate(parts)]
    found = converted(tmp_path / "s.zarr", files[2], files[0], files[1])
    assert found.t.dims[0] == dimension
    assert found.sizes[dimension] == 3
    assert (np.diff(found[dimension].values).astype("m8[h]") == np.timedelta64(6, "h")).all()
    with pytest.raises(Inconsistent, match=r"occurs twice|2 of the 3"):
        convert([*files, files[1]], tmp_path / "n.zarr")


def test_members_are_a_dimension(tmp_path: Path) -> None:
    """The control forecast is member 0."""
    keys: dict[str, Any] = {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 3}
    messages = [message(**keys, number=number, **time) for time in times(2) for number in range(3)]
    found = converted(tmp_path / "s.zarr", write_grib(tmp_path / "a.grib", messages))
    assert found.t.dims == ("time", "number", "latitude", "longitude")
    assert found.number.values.tolist() == [0, 1, 2]


def test_rows_can_be_drawn_along_any_dimension(tmp_path: Path) -> None:
    """Samples along a level, and along a side of the grid."""
    path = write_grib(tmp_path / "a.grib", cube())
    whole = converted(tmp_path / "s.zarr", path)
    for dimension in ("isobaricInhPa", "latitude", "longitude"):
        found = converted(tmp_path / f"{dimension}.zarr", path, samples=dimension, shard_bytes=1)
        for name in ("t", "u"):
            np.testing.assert_array_equal(found[name].values, whole[name].values)


def test_a_part_is_what_xarray_selects(tmp_path: Path) -> None:
    """Of the levels only the wanted messages are read; of the grid the rest is thrown away."""
    path = write_grib(tmp_path / "a.grib", cube(levels=[1000, 850, 500]))
    whole = converted(tmp_path / "s.zarr", path)
    select = {"isobaricInhPa": "1000,500", "latitude": "50:40", "longitude": "10:30"}
    found = converted(tmp_path / "p.zarr", path, select=select)
    wanted = whole.sel(isobaricInhPa=[1000, 500], latitude=slice(50, 40), longitude=slice(10, 30))
    xr.testing.assert_identical(found, wanted)


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("missing", [9999.0, 250.0])
def test_missing_values_are_nan_and_all_others_stay(tmp_path: Path, edition: int, missing: float) -> None:
    """Also those equal to what eccodes writes for a missing value by default."""
    values = np.arange(ROWS * COLUMNS) + missing - 5
    values[[3, 11]] = np.nan
    path = write_grib(tmp_path / "a.grib", [message(values, edition=edition)])
    found = converted(tmp_path / "s.zarr", path).t.values.ravel()
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 11]
    assert missing in found
    np.testing.assert_array_equal(found, decoded(path.read_bytes()).astype(np.float32))


PACKINGS = [  # PNG is read from real files
    (1, "grid_simple"), (1, "grid_second_order"), (1, "grid_ieee"),
    (2, "grid_simple"), (2, "grid_complex"), (2, "grid_complex_spatial_differencing"), (2, "grid_second_order"),
    (2, "grid_ccsds"), (2, "grid_jpeg"), (2, "grid_ieee"),
]  # fmt: skip


@pytest.mark.parametrize(("edition", "packing"), PACKINGS)
@pytest.mark.parametrize("holes", [False, True])
def test_every_packing_gives_the_float64_values_rounded(
    tmp_path: Path, edition: int, packing: str, holes: bool
) -> None:
    """What eccodes gives in float64, rounded once."""
    values = np.random.default_rng(0).normal(280, 20, ROWS * COLUMNS)
    values[:2] = np.nan if holes else 1.0
    encoded = message(values, edition=edition, packingType=packing, bitsPerValue=16)
    path = write_grib(tmp_path / "a.grib", [encoded])
    wanted = decoded(encoded).astype(np.float32)
    np.testing.assert_array_equal(converted(tmp_path / "s.zarr", path).t.values.ravel(), wanted)


def test_several_fields_of_one_message_are_several_fields(tmp_path: Path) -> None:
    """eccodes alone shows the first; the second and third share its bitmap."""
    values = np.arange(ROWS * COLUMNS) * 1.0
    values[5] = np.nan
    messages = [message(values + 100 * n, shortName=name) for n, name in enumerate("tuv")]
    one = several_fields(messages)
    assert len(one) < sum(map(len, messages))
    wanted = converted(tmp_path / "w.zarr", write_grib(tmp_path / "w.grib", messages))
    found = converted(tmp_path / "s.zarr", write_grib(tmp_path / "a.grib", [one]))
    xr.testing.assert_identical(found, wanted)
    assert np.isnan(found.v.values).sum() == 1


@pytest.mark.parametrize("along_rows", [1, -1])
@pytest.mark.parametrize("upward", [0, 1])
@pytest.mark.parametrize("by_columns", [0, 1])
@pytest.mark.parametrize("alternating", [0, 1])
def test_a_value_lies_at_its_place_however_the_grid_is_scanned(
    tmp_path: Path, along_rows: int, upward: int, by_columns: int, alternating: int
) -> None:
    """The field is 100 latitudes and a longitude, so that every value says where it belongs."""
    latitudes = np.array([30.0, 40, 50, 60] if upward else [60.0, 50, 40, 30])
    longitudes = np.array([0.0, 10, 20, 30, 40, 50])[::along_rows]
    field = 100 * latitudes[:, None] + longitudes
    scanned = field.T.copy() if by_columns else field.copy()
    if alternating:
        scanned[1::2] = scanned[1::2, ::-1]
    encoded = message(
        scanned,
        iScansNegatively=int(along_rows < 0),
        jScansPositively=upward,
        jPointsAreConsecutive=by_columns,
        alternativeRowScanning=alternating,
        latitudeOfFirstGridPointInDegrees=latitudes[0],
        latitudeOfLastGridPointInDegrees=latitudes[-1],
        longitudeOfFirstGridPointInDegrees=longitudes[0],
        longitudeOfLastGridPointInDegrees=longitudes[-1],
    )
    found = converted(tmp_path / "s.zarr", write_grib(tmp_path / "a.grib", [encoded]))
    assert found.t.shape == (1, ROWS, COLUMNS)
    np.testing.assert_allclose(found.t.values[0], (100 * found.latitude + found.longitude).values, atol=1e-3)


def test_a_hole_is_named(tmp_path: Path) -> None:
    """Which variable, how many messages, and the place of the first that misses."""
    messages = cube()
    del messages[6]  # u at 850 hPa, 06 h
    path = write_grib(tmp_path / "a.grib", messages)
    with pytest.raises(Inconsistent) as caught:
        convert([path], tmp_path / "s.zarr")
    assert str(path) in str(caught.value)
    assert "'u' has 5 messages, wanted 6 (3 time x 2 level)" in str(caught.value)
    assert "none for time 2020-01-01T06:00:00, step 0 h, isobaricInhPa 850" in str(caught.value)
    assert [*converted(tmp_path / "s.zarr", path, variables=("t",)).data_vars] == ["t"]


def test_a_message_that_occurs_twice_is_named(tmp_path: Path) -> None:
    """Both of them; nobody can say which is right."""
    messages = cube()
    path = write_grib(tmp_path / "a.grib", [*messages, messages[2]])
    with pytest.raises(
        Inconsistent, match="variable 'u' has messages 3 and 13 for the same time 2020-01-01T00"
    ):
        describe(path)


def test_a_variable_that_ends_early_is_a_hole(tmp_path: Path) -> None:
    """Not another time axis."""
    path = write_grib(tmp_path / "a.grib", cube()[:-2])
    with pytest.raises(
        Inconsistent,
        match="'u' has 2 of the 3 values of time that 't' has, wanted all, there is none for time 2020-01-01T12",
    ):
        describe(path)


def test_two_grids_are_named(tmp_path: Path) -> None:
    """And the variables that lie on one."""
    path = write_grib(tmp_path / "a.grib", [message(), message(shortName="u", Ni=3)])
    with pytest.raises(
        Inconsistent, match=r"'u' lies on the grid regular_ll 4 x 3 .message 2.*--variables t"
    ):
        describe(path)
    two = write_grib(tmp_path / "b.grib", [message(), message(Ni=3)])
    with pytest.raises(
        Inconsistent, match=r"'t_regular_ll_4x6' lies on the grid regular_ll 4 x 6 .message 1"
    ):
        describe(two)


@pytest.mark.parametrize("edition", [1, 2])
def test_a_file_cut_anywhere_is_refused_or_has_whole_messages(tmp_path: Path, edition: int) -> None:
    """Cut between two messages of a hypercube it is a hole; behind a whole time nothing can be told."""
    messages = cube(["t"], [850, 500], 2, edition=edition)
    whole = b"".join(messages)
    ends = np.cumsum([len(encoded) for encoded in messages])
    path = tmp_path / "a.grib"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size == ends[0]:
            assert describe(path).sizes["time"] == 1  # a file of one message, and a whole one
        elif size == ends[1]:
            assert describe(path).sizes["isobaricInhPa"] == 2
        else:
            with pytest.raises(MaelioError) as caught:
                describe(path)
            assert isinstance(caught.value, Inconsistent if size in ends else BadData), size
            assert str(path) in str(caught.value)


@pytest.mark.parametrize("edition", [1, 2])
def test_an_overwritten_end_names_the_message_and_the_byte(tmp_path: Path, edition: int) -> None:
    """cfgrib would leave the message out."""
    messages = cube(["t"], [850, 500], 2, edition=edition)
    at = len(messages[0]) + len(messages[1])
    content = bytearray(b"".join(messages))
    content[at - 4 : at] = b"7787"
    path = tmp_path / "a.grib"
    path.write_bytes(content)
    with pytest.raises(
        BadData, match=f"message 2 at byte {len(messages[0])}: has b'7787' at its end, byte {at - 4}"
    ):
        describe(path)
    content[at - 4 : at] = b"7777"
    content[at : at + 4] = b"GRIX"
    path.write_bytes(content)
    with pytest.raises(BadData, match=f"behind message 2, from byte {at} on.*its start is damaged"):
        describe(path)


def test_padding_is_skipped_and_other_bytes_are_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Archives fill messages up with zeros; weather centres put a heading before them."""
    messages = cube()
    wanted = converted(tmp_path / "w.zarr", write_grib(tmp_path / "w.grib", messages))
    padded = write_grib(tmp_path / "a.grib", [encoded + bytes(5000) for encoded in messages])
    xr.testing.assert_identical(converted(tmp_path / "a.zarr", padded), wanted)
    assert not caplog.records
    headed = write_grib(tmp_path / "b.grib", [b"\1\r\r\n001\r\r\nHTXX50 ECMF\r\r\n" + m for m in messages])
    xr.testing.assert_identical(converted(tmp_path / "b.zarr", headed), wanted)
    assert "bytes between messages belong to none" in caplog.text


def test_values_that_cannot_be_decoded_name_file_variable_and_message(tmp_path: Path) -> None:
    """GRIB has no checksum; what its packing notices is an error."""
    encoded = bytearray(message(packingType="grid_jpeg", bitsPerValue=16))
    start = encoded.index(b"\xff\x4f\xff\x51")  # of the JPEG 2000 stream
    encoded[start:-4] = bytes(len(encoded) - 4 - start)
    path = write_grib(tmp_path / "a.grib", [bytes(encoded)])
    with pytest.raises(BadData, match=r"a\.grib: variable 't': message 1 cannot be decoded"):
        convert([path], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_a_message_of_edition_1_longer_than_24_bits_can_say(tmp_path: Path) -> None:
    """Its length is counted in units of 120 bytes; the next message lies where that ends."""
    values = np.arange(1500 * 2000) * 1.0
    keys: dict[str, Any] = {"Ni": 2000, "Nj": 1500, "edition": 1}
    messages = [message(values, **keys), message(values[::-1], **keys, dataTime=600)]
    assert len(messages[0]) > 2**23
    path = write_grib(tmp_path / "a.grib", messages)
    with pytest.raises(BadRequest, match="the limit is 8 B"):
        plan_conversion([path], tmp_path / "s.zarr", Options(memory=8))
    found = converted(tmp_path / "s.zarr", path)
    for number, encoded in enumerate(messages):
        np.testing.assert_array_equal(found.t.values[number].ravel(), decoded(encoded).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadData, match="message 2 at byte"):
        describe(path)


def test_a_grid_section_shorter_than_its_kind_is_refused(tmp_path: Path) -> None:
    """eccodes alone takes the bytes behind the message for it, and crashes where there are none."""
    encoded = bytearray(message(edition=1))
    grid = 8 + int.from_bytes(encoded[8:11], "big")
    encoded[grid + 5] = 90  # a space view needs more
    path = write_grib(tmp_path / "a.grib", [bytes(encoded)])
    with pytest.raises(MaelioError, match=r"a\.grib"):
        convert([path], tmp_path / "s.zarr")


def test_an_edition_that_nobody_knows_is_named(tmp_path: Path) -> None:
    """Byte 8 of a message."""
    path = write_grib(tmp_path / "a.grib", [b"GRIB\0\0\0\3" + bytes(100)])
    with pytest.raises(BadData, match="message 1 at byte 0: is of GRIB edition 3, wanted 1 or 2"):
        describe(path)


def test_memory_is_known_before(tmp_path: Path) -> None:
    """Messages count: what eccodes holds while it decodes one."""
    path = write_grib(tmp_path / "a.grib", cube())
    with pytest.raises(BadRequest, match="the limit is 1"):
        plan_conversion([path], tmp_path / "s.zarr", Options(memory=1000))
