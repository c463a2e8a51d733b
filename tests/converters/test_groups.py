"""Groups: one is read by choice, with what describes its variables in the groups around it."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from maelio.cli import main
from maelio.converters.compare import compare
from maelio.converters.convert import convert
from maelio.converters.groups import Level, path_of, visible
from maelio.converters.netcdf import describe
from maelio.converters.options import Options
from maelio.converters.storage import Chunks
from maelio.errors import BadRequest
from maelio.store import open_store


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Times at the root, a grid of its own in `model`, two resolutions below that; one has times of its own."""
    rng = np.random.default_rng(0)
    with netCDF4.Dataset(tmp_path / "nested.nc", "w") as root:
        root.title = "root"
        root.createDimension("time", None)
        root.createDimension("bnds", 2)
        time = root.createVariable("time", "f8", ("time",))
        time.units, time.bounds, time[:] = "hours since 2000-01-01", "time_bnds", np.arange(12.0)
        root.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = time[:][:, None] + [0, 1]
        root.createVariable("unrelated", "f4", ("time",))[:] = 1
        model = root.createGroup("model")
        model.createDimension("x", 5)
        model.createVariable("x", "f4", ("x",))[:] = np.arange(5)
        height = model.createVariable("height", "f8", ())
        height.units, height[...] = "m", 2.0
        fine = model.createGroup("fine")
        fine.title = "fine"
        for group, name, dims in ((model, "t", ("time", "x")), (fine, "u", ("time", "x"))):
            variable = group.createVariable(name, "f4", dims, zlib=True, shuffle=True, chunksizes=(4, 5))
            variable.coordinates, variable[:] = "height", rng.random((12, 5))
        own = root.createGroup("own")
        own.createDimension("time", 3)
        times = own.createVariable("time", "f8", ("time",))
        times.units, times[:] = "days since 1990-01-01", [0, 1, 2]
        own.createVariable("v", "f4", ("time",))[:] = [1, 2, 3]
        bare = root.createGroup("bare")
        bare.createDimension("time", 12)
        bare.createVariable("w", "f4", ("time",))[:] = np.arange(12)
    return tmp_path / "nested.nc"


@pytest.mark.parametrize(
    ("group", "variables"),
    [
        ("model", {"t", "x", "height", "time", "time_bnds"}),
        ("/model/fine/", {"u", "x", "height", "time", "time_bnds"}),
        ("own", {"v", "time"}),
        ("bare", {"w"}),
    ],
)
def test_a_group_converts_with_what_describes_it(
    nested: Path, tmp_path: Path, group: str, variables: set[str]
) -> None:
    """The nearest coordinates of its dimensions and what those name; a dimension defined again hides the one outside."""
    options = Options(group=group, samples="time", on={"gap": "allow"})
    store = convert(nested, tmp_path / "s.zarr", options)
    assert {*store.contents.variables} == variables
    assert store.contents.options["group"] == group
    assert compare(nested, store.path, group=group) == []
    with (
        xr.open_dataset(store.path, engine="maelio", decode_times=False) as found,
        netCDF4.Dataset(nested) as file,
    ):
        for name in variables:
            np.testing.assert_array_equal(found[name], nearest(file[group], name)[:])
        assert found.attrs == file[group].__dict__


def nearest(group: Any, name: str) -> Any:
    """A variable of the group, or of the nearest around it that has one."""
    return group.variables[name] if name in group.variables else nearest(group.parent, name)


def test_chunks_of_a_group_are_read_here(nested: Path) -> None:
    """The byte tables know groups: no library is in the way."""
    variable = describe(nested, "netcdf4", "model/fine").variables["u"]
    assert isinstance(variable.storage, Chunks)
    assert variable.group == "model/fine"


def test_a_slow_variable_of_a_group_is_read_from_there(tmp_path: Path) -> None:
    """One of the same name at the root is another."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for place, shift in (("/", 0.0), ("/inner", 100.0)):
            group = file.require_group(place)
            group["time"] = np.arange(6.0)
            group["time"].make_scale("time")
            group["time"].attrs["units"] = "hours since 2000-01-01"
            group.create_dataset("t", data=np.arange(6.0) + shift, chunks=(2,), compression="lzf")
            group["t"].dims[0].attach_scale(group["time"])
    store = convert(tmp_path / "a.h5", tmp_path / "s.zarr", Options(group="inner"))
    with xr.open_dataset(store.path, engine="maelio") as found:
        np.testing.assert_array_equal(found["t"], np.arange(6.0) + 100)


def test_groups_that_are_not_read_are_named(
    nested: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the flag that reads one."""
    with caplog.at_level(logging.WARNING):
        convert(nested, tmp_path / "s.zarr", Options(variables=("unrelated",)))
    assert "nested.nc: groups are not read, --group takes one: bare, model, model/fine, own" in caplog.text


def test_a_root_without_variables_is_refused_with_its_groups(tmp_path: Path) -> None:
    """At most twelve of them."""
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as root:
        for number in range(14):
            group = root.createGroup(f"g{number:02}")
            group.createDimension("time", 2)
            group.createVariable("t", "f4", ("time",))[:] = 0
    with pytest.raises(
        BadRequest, match=r"its variables are in groups; name one with --group: g00, .*g11 and 2 more"
    ):
        convert(tmp_path / "a.nc", tmp_path / "s.zarr")


def test_a_group_that_is_not_there_is_refused(
    nested: Path, tmp_path: Path, netcdf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With those that are; and classic files have none."""
    assert main(["convert", str(nested), str(tmp_path / "s.zarr"), "--group", "model/coarse"]) == 2
    assert "no group 'model/coarse'; there are bare, model, model/fine, own" in capsys.readouterr().err
    with xr.open_dataset(netcdf) as dataset:
        dataset.to_netcdf(tmp_path / "classic.nc", format="NETCDF3_CLASSIC")
    with pytest.raises(BadRequest, match=r"classic\.nc has no group 'a': only NetCDF4 and Zarr have groups"):
        convert(tmp_path / "classic.nc", tmp_path / "s.zarr", Options(group="a"))


def test_a_zarr_group_in_a_group_is_named_by_path_or_option(tmp_path: Path, netcdf: Path) -> None:
    """Both read the same."""
    with xr.open_dataset(netcdf) as dataset:
        plain = dataset.load().drop_encoding()
    plain.to_zarr(tmp_path / "g.zarr", group="sub/deep", consolidated=False)
    convert(tmp_path / "g.zarr" / "sub" / "deep", tmp_path / "path.zarr")
    convert(tmp_path / "g.zarr", tmp_path / "option.zarr", Options(group="sub/deep"))
    for name in ("path.zarr", "option.zarr"):
        with xr.open_dataset(tmp_path / name, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), plain)
    assert compare(tmp_path / "g.zarr", tmp_path / "option.zarr", group="sub/deep") == []
    with pytest.raises(BadRequest, match=r"g\.zarr/none is no Zarr group"):
        convert(tmp_path / "g.zarr", tmp_path / "s.zarr", Options(group="none"))


def test_an_unfinished_conversion_of_another_group_is_not_taken_up(nested: Path, tmp_path: Path) -> None:
    """The plan's digest knows the group."""
    digests = {
        open_store(
            convert(nested, tmp_path / f"{group}.zarr", Options(group=group, on={"gap": "allow"})).path
        ).digest
        for group in ("own", "model")
    }
    assert len(digests) == 2


names = st.sampled_from("abc")
levels = st.lists(
    st.tuples(st.frozensets(names), st.dictionaries(names, st.lists(names, max_size=2, unique=True))),
    min_size=1,
    max_size=4,
)


def level(number: int, dimensions: frozenset[str], variables: dict[str, list[str]]) -> Level:
    held = {name: xr.Variable(dims, np.zeros((1,) * len(dims))) for name, dims in variables.items()}
    dataset: Any = SimpleNamespace(variables=held)
    return Level(str(number), dimensions, dataset)


@given(levels)
def test_what_a_group_sees(made: list[tuple[frozenset[str], dict[str, list[str]]]]) -> None:
    """All of its own; of others only what lies along dimensions that nothing nearer defines again."""
    chain = [level(number, *each) for number, each in enumerate(made)]
    found = visible(chain)
    assert {name for name, home in found.items() if home is chain[-1]} == {*chain[-1].dataset.variables}
    for name, home in found.items():
        nearer = chain[chain.index(home) + 1 :]
        assert not any(each.dimensions & {*home.dataset.variables[name].dims} for each in nearer)
    assert visible(chain[-1:]).keys() == {*chain[-1].dataset.variables}


@given(st.lists(st.text("ab", min_size=1), max_size=4), st.booleans())
def test_a_path_is_the_groups_down_to_it(parts: list[str], slashes: bool) -> None:
    """With or without slashes around it."""
    path = "/".join(parts)
    groups = path_of(f"/{path}/" if slashes else path)
    assert groups[0] == ""
    assert groups[-1] == path
    assert len(groups) == len(parts) + 1
