"""What a user may name as sources: files, patterns, and what CliMetLab made."""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import climetlab
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cli import main
from maelio.converters.compare import compare
from maelio.converters.convert import convert
from maelio.converters.locate import Url, named, paths_of
from maelio.errors import BadData, BadRequest, NotFound
from tests.converters.netcdf_files import write_netcdf
from tests.web import serve


@pytest.fixture
def two(tmp_path: Path, field: NDArray[np.float32]) -> list[Path]:
    """b.nc before a.nc: names and times are in another order."""
    return [
        write_netcdf(tmp_path / "b.nc", {"t": field}),
        write_netcdf(tmp_path / "a.nc", {"t": field + 1000}, first=24),
    ]


def test_a_quoted_pattern_means_the_files_it_matches(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line and in Python, sorted by name."""
    assert main(["convert", str(tmp_path / "*.nc"), str(tmp_path / "s.zarr"), "--json"]) == 0
    assert compare(two, tmp_path / "s.zarr") == []
    assert main(["compare", str(tmp_path / "*.nc"), str(tmp_path / "s.zarr")]) == 0
    assert named(tmp_path / "*.nc") == [tmp_path / "a.nc", tmp_path / "b.nc"]
    assert named(str(tmp_path / "**/*.nc")) == [tmp_path / "a.nc", tmp_path / "b.nc"]
    assert named([two[0], tmp_path / "a*"]) == two


def test_a_pattern_without_files_and_a_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, which says what would do."""
    assert main(["convert", str(tmp_path / "*.nc"), str(tmp_path / "s.zarr")]) == 3
    assert "*.nc: no file matches" in capsys.readouterr().err
    with pytest.raises(BadData, match=r"is a directory, no Zarr group; name the files in it: '.*/\*'"):
        convert(tmp_path, tmp_path / "s.zarr")
    nothing: object
    for nothing in ([], iter(())):
        with pytest.raises(BadRequest, match="no source files"):
            convert(nothing, tmp_path / "s.zarr")


@given(
    st.text(st.sampled_from("ab*?[]:. "), min_size=1, max_size=12).filter(
        lambda name: name not in (".", "..")
    )
)
def test_a_file_is_taken_by_its_name_before_that_means_anything(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Whatever it is called."""
    path = tmp_path_factory.mktemp("names") / name
    path.touch()
    assert named(str(path)) == [path]


def test_urls_are_told_from_files() -> None:
    """By their protocol; `file://` means a file."""
    urls = ["s3://bucket/a.nc", "https://host/*.nc", "zip://*.nc::a.zip", "filecache::https://host/a.nc"]
    assert named(urls) == [Url(url) for url in urls]
    assert named("file:///no/such.nc") == [Path("/no/such.nc")]


def files(sources: object) -> list[str]:
    return [str(path) for path in named(sources)]


def test_what_climetlab_loaded_is_its_files(two: list[Path], tmp_path: Path) -> None:
    """One file, several by a pattern, several sources, a dataset, and an archive that it unpacked."""
    b, a = map(str, two)
    assert files(climetlab.load_source("file", a)) == [a]
    assert files(climetlab.load_source("file", str(tmp_path / "*.nc"))) == [a, b]
    several = climetlab.load_source(
        "multi", climetlab.load_source("file", b), climetlab.load_source("file", a)
    )
    assert files(several) == [b, a]
    assert compare(two, convert(several, tmp_path / "s.zarr").path) == []
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in two:
            archive.write(path, path.name)
    unpacked = climetlab.load_source("file", str(tmp_path / "all.zip"))
    assert compare(two, convert(unpacked, tmp_path / "zip.zarr").path) == []


def test_what_climetlab_fetched_is_its_file(two: list[Path], tmp_path: Path) -> None:
    """From its own cache."""
    with serve(tmp_path) as web, climetlab.settings.temporary("cache-directory", str(tmp_path / "cache")):
        fetched = climetlab.load_source("url", f"{web.url}/a.nc")
        (path,) = named(fetched)
        assert Path(str(path)).read_bytes() == two[1].read_bytes()
        assert tmp_path / "cache" in Path(str(path)).parents


def test_grib_that_climetlab_loaded_is_its_files(shared_data: Path) -> None:
    """A selection of fields is not: the files hold more."""
    grib = shared_data / "ScaleWeather+eccodes" / "data"
    one = climetlab.load_source("file", str(grib / "iceland.grib"))
    other = climetlab.load_source("file", str(grib / "iceland-levels.grib"))
    assert files(one) == [str(grib / "iceland.grib")]
    assert files(climetlab.load_source("multi", one, other)) == [
        str(grib / "iceland.grib"),
        str(grib / "iceland-levels.grib"),
    ]
    with pytest.raises(BadRequest, match="CliMetLab's GribMaskFieldSet is not made of whole files"):
        named(one.sel(shortName="no such"))
    with pytest.raises(BadRequest, match="GribField cannot be converted"):
        named(one[0])


def test_a_dataset_of_climetlab_converts(hadgem: Path, tmp_path: Path) -> None:
    """As an object, its source, and by name on the command line."""
    dataset = climetlab.load_dataset("maelio-hadgem", scenario="E1")
    wanted = [str(hadgem / "E1_north_america.nc")]
    assert files(dataset) == files(dataset.source) == wanted
    assert files("climetlab:maelio-hadgem?scenario=E1") == wanted
    assert (
        main(["convert", "climetlab:maelio-hadgem?scenario=E1", str(tmp_path / "s.zarr"), "--dry-run"]) == 0
    )


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("no-such-dataset", NotFound, "CliMetLab knows no such dataset"),
        ("maelio-hadgem?scenario=RCP", BadRequest, "climetlab:maelio-hadgem"),
        ("maelio-hadgem?colour=red", BadRequest, "climetlab:maelio-hadgem"),
    ],
)
def test_a_dataset_that_climetlab_does_not_have_is_refused(
    name: str, error: type[Exception], words: str
) -> None:
    """At once: its catalogue in the net, which it would try for hours, is not asked."""
    with pytest.raises(error, match=words):
        named(f"climetlab:{name}")


def test_what_has_no_files_is_refused_by_its_class(tmp_path: Path) -> None:
    """Datasets in memory could not be taken up again after an interruption."""
    dataset = xr.Dataset({"t": ("time", [1.0])})
    for thing, words in (
        (dataset, "an xarray Dataset in memory"),
        (dataset["t"], "an xarray DataArray in memory"),
        (7, r"builtins\.int cannot be converted"),
        (np.ones(3), r"numpy\.ndarray cannot be converted"),
    ):
        with pytest.raises(BadRequest, match=words):
            convert(thing, tmp_path / "s.zarr")


trees = st.recursive(
    st.builds(
        lambda path: SimpleNamespace(path=path),
        st.text("abc", min_size=1) | st.lists(st.text("abc", min_size=1)),
    ),
    lambda inner: (
        st.builds(lambda parts: SimpleNamespace(sources=parts), st.lists(inner, min_size=1))
        | st.builds(lambda parts: SimpleNamespace(indexes=parts, path="<multi>"), st.lists(inner, min_size=1))
        | st.builds(lambda part: SimpleNamespace(source=part), inner)
    ),
    max_leaves=8,
)


def leaves(tree: Any) -> list[str]:
    for name in ("sources", "indexes"):
        if hasattr(tree, name):
            return [leaf for part in getattr(tree, name) for leaf in leaves(part)]
    if hasattr(tree, "source"):
        return leaves(tree.source)
    return [tree.path] if isinstance(tree.path, str) else list(tree.path)


@given(trees)
def test_every_file_of_nested_sources_is_found_once_in_order(tree: Any) -> None:
    assert list(paths_of(tree)) == leaves(tree)
