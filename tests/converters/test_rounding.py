"""What is lost was asked for: no value is farther off than its bound, whatever the value and the bound."""

from fractions import Fraction
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numcodecs import BitRound
from numpy.typing import NDArray

from maelio.cli import main
from maelio.codecs import CODECS
from maelio.converters import rounding
from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.converters.rounding import round_within, step_exponent
from maelio.errors import BadData, BadRequest
from maelio.store import open_store
from tests.converters.memory import traced_peak
from tests.converters.netcdf_files import write_netcdf

Floats = NDArray[np.floating[Any]]

shapes = array_shapes(min_dims=1, max_dims=3, max_side=5)
fields = st.one_of(
    arrays(np.float32, shapes, elements=st.floats(width=32)),
    arrays(np.float64, shapes, elements=st.floats()),
    arrays(np.float32, shapes, elements=st.floats(-1000, 1000, width=32)),
)
bounds = st.one_of(
    st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False),
    st.floats(1e-6, 100),
    st.integers(-160, 130).map(lambda power: 2.0**power),
)


def exact(value: Any) -> Fraction:
    return Fraction(float(value))


def assert_within(found: Floats, wanted: Floats, bound: float) -> None:
    """By exact arithmetic; what is not finite is the same."""
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite])
    for one, other in zip(found[finite].tolist(), wanted[finite].tolist(), strict=True):
        assert abs(exact(one) - exact(other)) <= Fraction(bound)


@given(field=fields, bound=bounds)
@example(field=np.array([3.4028235e38, -3.4028235e38], np.float32), bound=1e38)
@example(field=np.array([3.4028235e38, 1e-45, 0.0], np.float32), bound=1e-44)
@example(field=np.array([1.7976931348623157e308, 5e-324, -0.0]), bound=1.7e308)
def test_no_value_is_farther_off_than_the_bound(field: Floats, bound: float) -> None:
    """Subnormal, huge, negative, zero, missing and infinite values alike; twice is as good as once."""
    rounded = np.empty_like(field)
    round_within(field, bound, rounded)
    assert_within(rounded, field, bound)
    assert not rounded[field == 0].any()
    again = rounded.copy()
    round_within(again, bound, again)
    np.testing.assert_array_equal(again, rounded)


@given(field=fields, bound=bounds)
def test_each_mantissa_is_rounded_to_the_bits_that_it_needs(field: Floats, bound: float) -> None:
    """As numcodecs' BitRound does it, with the number of bits chosen for each value's exponent."""
    rounded = np.empty_like(field)
    round_within(field, bound, rounded)
    limits = np.finfo(field.dtype)
    exponent = step_exponent(bound, field.dtype)
    for value, found in zip(field.ravel(), rounded.ravel(), strict=True):
        bits = frexp(value)[1] - 1 - exponent
        if not np.isfinite(value) or abs(value) < limits.tiny or bits < 1:
            continue
        kept = BitRound(min(bits, limits.nmant)).encode(np.array([value])).view(field.dtype)[0]
        assert found == kept or not np.isfinite(kept)


@given(bound=bounds, dtype=st.sampled_from([np.float32, np.float64]))
def test_no_larger_step_would_do(bound: float, dtype: type) -> None:
    """Half of it is within the bound, and the whole is not, unless the dtype ends before."""
    exponent = step_exponent(bound, np.dtype(dtype))
    assert Fraction(2) ** (exponent - 1) <= Fraction(bound)
    assert Fraction(2) ** exponent > Fraction(bound) or exponent == np.finfo(dtype).maxexp - 2


@given(field=arrays(np.float64, shapes, elements=st.floats()), bound=bounds)
def test_a_narrower_float_keeps_the_bound_or_is_refused(field: Floats, bound: float) -> None:
    """The bound is on the whole way from float64 to what is stored."""
    stored = np.full(field.shape, np.nan, np.float32)
    try:
        round_within(field, bound, stored)
    except BadData as error:
        assert "in float32, wanted at most" in str(error)  # noqa: PT017
    else:
        assert_within(stored.astype(np.float64), field, bound)


@given(
    rows=st.integers(1, 7),
    width=st.integers(1, 300),
    slab=st.integers(1, 400),
    bound=st.floats(1e-3, 1),
)
def test_slabs_do_not_show(rows: int, width: int, slab: int, bound: float) -> None:
    """In place in one variable of a block, cut anywhere, it is what it is alone; neighbours stay."""
    block = np.random.default_rng(0).normal(size=(rows, 3, width)).astype(np.float32)
    before = block.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "_SLAB_VALUES", slab)
        round_within(block[:, 1], bound, block[:, 1])
    alone = np.empty((rows, width), np.float32)
    round_within(before[:, 1], bound, alone)
    np.testing.assert_array_equal(block[:, 1], alone)
    np.testing.assert_array_equal(block[:, ::2], before[:, ::2])


def test_the_bound_is_tested_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is too large is found out at the first value, and nothing is written."""
    monkeypatch.setattr(rounding, "step_exponent", lambda bound, dtype: 2)
    field = np.array([[1.0, 4.0, 9.0]], np.float32)
    out = np.zeros_like(field)
    with pytest.raises(BadData, match=r"1\.0 becomes 0\.0 in float32, wanted at most 0\.5 away"):
        round_within(field, 0.5, out)
    assert not out.any()


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    """Smooth temperatures (K) with noise, winds packed as integers, and flags, some of them missing."""
    random = np.random.default_rng(0)
    temperature = (280 + random.normal(size=(24, 40, 60)).cumsum(2)).astype(np.float32)
    temperature[:, :3] = np.nan
    return write_netcdf(
        tmp_path / "weather.nc",
        {
            "t": temperature,
            "p": 1e5 + random.normal(size=(24, 40, 60)) * 1000,
            "u": random.integers(-999, 999, (24, 40, 60)).astype(np.int16),
            "flag": random.integers(0, 9, (24, 40, 60)).astype(np.int32),
        },
        attributes={"u": {"scale_factor": np.float32(0.01), "_FillValue": np.int16(7)}},
        zlib=True,
    )


def stored_bytes(path: Path) -> int:
    return sum(shard.bytes for _, shard in open_store(path).shard_files())


@pytest.mark.parametrize("codec", CODECS)
def test_a_rounded_store_is_smaller_and_within_its_bounds(weather: Path, tmp_path: Path, codec: Any) -> None:
    """Other variables keep every bit; the store says what was done; its statistics are of what it holds."""
    bounds = {"t": 0.05, "p": 10.0, "u": 0.1}
    exact_store = convert([weather], tmp_path / "exact.zarr", Options(codec=codec)).path
    store = convert([weather], tmp_path / "rounded.zarr", Options(codec=codec, max_error=bounds))
    if codec != "none":
        assert stored_bytes(store.path) < 0.75 * stored_bytes(exact_store)
    assert compare(weather, store.path, within=bounds) == []
    assert {found.variable for found in compare(weather, store.path)} == {"t", "p", "u"}
    assert compare(weather, store.path, within={name: bound / 4 for name, bound in bounds.items()})
    assert store.contents.options["max_error"] == bounds
    recorded = {
        name: variable.encoding.get("max_error") for name, variable in store.contents.variables.items()
    }
    assert {name: bound for name, bound in recorded.items() if bound is not None} == bounds
    with xr.open_dataset(store.path, engine="maelio") as found:
        statistics = {
            name: known
            for stack in store.contents.stacks.values()
            for name, known in stack.statistics.items()
        }
        for name in bounds:
            assert statistics[name].min == (float(found[name].min()),)
            assert statistics[name].missing == (int(found[name].isnull().sum()),)


def test_64_bit_floats_are_stored_as_32(weather: Path, tmp_path: Path) -> None:
    """Only those; variables that then have one dtype stand in one array."""
    store = convert([weather], tmp_path / "s.zarr", Options(dtype="float32"))
    assert {array.variables: array.dtype.name for array in store.arrays.values()} == {
        ("t", "p", "u"): "float32",
        ("flag",): "int32",
    }
    assert store.contents.options["dtype"] == "float32"
    assert store.contents.variables["p"].encoding["dtype"] == "float64"
    assert [found.what for found in compare(weather, store.path)] == ["dtype", "values"]
    assert compare(weather, store.path, within={"p": 1e5 * 2**-23}) == []
    with xr.open_dataset(store.path, engine="maelio") as found, xr.open_dataset(weather) as source:
        np.testing.assert_array_equal(found.p, source.p.astype("f4"))
        assert found.latitude.dtype == source.latitude.dtype


def test_both_together_keep_the_bound_from_end_to_end(weather: Path, tmp_path: Path) -> None:
    """One that float32 cannot keep is refused, naming file, variable, found and wanted."""
    store = convert([weather], tmp_path / "s.zarr", Options(dtype="float32", max_error={"p": 0.5})).path
    assert compare(weather, store, within={"p": 0.5}) == []
    with pytest.raises(BadData, match=r"weather\.nc: variable 'p': .* in float32, wanted at most 1e-05 away"):
        convert([weather], tmp_path / "t.zarr", Options(dtype="float32", max_error={"p": 1e-5}))


@pytest.mark.parametrize("storage", [{}, {"zlib": True}], ids=str)
@pytest.mark.parametrize("fill", [None, 1e300])
def test_a_value_beyond_float32_is_refused_unless_it_means_missing(
    tmp_path: Path, storage: dict[str, Any], fill: float | None
) -> None:
    """1e39 would become infinite."""
    field = np.linspace(0, 1, 24).reshape(4, 2, 3)
    field[1, 1, 1], field[2, 0, 0] = np.inf, 1e300
    attributes = {"p": {"_FillValue": fill}} if fill else None
    source = write_netcdf(tmp_path / "a.nc", {"p": field}, attributes=attributes, **storage)
    options = Options(dtype="float32", on={"non-finite": "allow"})
    if fill:
        store = convert([source], tmp_path / "s.zarr", options)
        assert compare(source, store.path, within={"p": 1e-7}) == []
    else:
        with pytest.raises(BadData, match=r"a\.nc: variable 'p' has values that overflow float32"):
            convert([source], tmp_path / "s.zarr", options)


@pytest.mark.parametrize("dimension", ["latitude", "longitude"])
def test_the_sample_dimension_may_be_any(weather: Path, tmp_path: Path, dimension: str) -> None:
    """Rounding goes by rows of the store, not of the file."""
    options = Options(samples=dimension, max_error={"t": 0.05, "p": 10.0}, dtype="float32", shard_bytes=10**4)
    store = convert([weather], tmp_path / "s.zarr", options).path
    assert compare(weather, store, within=options.max_error) == []


REFUSED: dict[str, tuple[dict[str, float], str]] = {
    "unknown": ({"tas": 1}, "no variable 'tas' to keep within 1; there are t, p, u, flag"),
    "coordinate": ({"time": 1}, "no variable 'time' to keep within 1"),
    "integer": ({"flag": 1}, "variable 'flag' has dtype int32; only floats can be rounded"),
    "zero": ({"t": 0}, "'t' within 0: wanted an error above 0"),
    "negative": ({"t": -1}, "wanted an error above 0"),
    "not a number": ({"t": float("nan")}, "wanted an error above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bounds_that_make_no_sense_are_refused(weather: Path, tmp_path: Path, name: str) -> None:
    """Before anything is read."""
    bounds, message = REFUSED[name]
    with pytest.raises(BadRequest, match=message):
        plan_conversion([weather], tmp_path / "s.zarr", Options(max_error=bounds))


def test_another_bound_is_another_conversion(weather: Path, tmp_path: Path) -> None:
    """A conversion that was stopped is not continued with other values."""
    made: tuple[dict[str, Any], ...] = (
        {},
        {"max_error": {"t": 1.0}},
        {"max_error": {"t": 2.0}},
        {"dtype": "float32"},
    )
    plans = [plan_conversion([weather], tmp_path / "s.zarr", Options(**options)) for options in made]
    assert len({plan.digest for plan in plans}) == len(made)
    assert "lossy: t within 1\n" in plans[1].describe()
    assert "lossy: 64-bit floats as float32\n" in plans[3].describe()


def test_rounding_keeps_to_the_planned_memory(tmp_path: Path) -> None:
    """Also where 64-bit values are held beside the 32-bit ones that they become."""
    field = np.random.default_rng(0).normal(size=(64, 128, 128))
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, zlib=True, shuffle=True, chunksizes=(1, 128, 128))
    options = Options(memory=20 * 2**20, threads=2, dtype="float32", max_error={"t": 0.01})
    assert plan_conversion([source], tmp_path / "warm-up", options).peak_bytes <= options.memory
    peak = traced_peak(lambda: convert([source], tmp_path / "s.zarr", options))
    assert peak <= options.memory + 2**20


def test_the_command_takes_bounds_and_shows_them(
    weather: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`inspect` says what was rounded; `compare` agrees."""
    store = str(tmp_path / "s.zarr")
    arguments = ["--max-error", "t=0.05", "--max-error", "p=10", "--dtype", "float32", "--select", "time=0:9"]
    assert main(["convert", str(weather), store, *arguments]) == 2
    assert main(["convert", str(weather), store, *arguments[:-1], "latitude=50:40"]) == 0
    capsys.readouterr()
    assert main(["inspect", store]) == 0
    assert "\nt rounded, by 0.05 K at most\np rounded, by 10 K at most\n" in capsys.readouterr().out
    assert main(["convert", str(weather), store, "--max-error", "t"]) == 2
