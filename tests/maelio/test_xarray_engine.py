"""The engine is lazy and takes xarray's own options."""

from pathlib import Path

import pytest
import xarray as xr

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import NotFound


@pytest.fixture(scope="module")
def store(hadgem: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("store") / "a1b.zarr"
    return convert([hadgem / "A1B_north_america.nc"], target, Options(shard_bytes=2**20)).path


def test_opening_reads_no_field(store: Path) -> None:
    """A dataset larger than memory opens at once; values come when asked for."""
    with xr.open_dataset(store, engine="maelio") as dataset:
        assert not dataset.air_temperature.variable._in_memory
        assert dataset.air_temperature.isel(time=3).values.shape == (37, 49)


def test_chunks_follow_the_store(store: Path) -> None:
    """`chunks={}` gives dask the store's own chunks."""
    with xr.open_dataset(store, engine="maelio", chunks={}) as dataset:
        assert dataset.air_temperature.chunks == ((128, 112), (37,), (49,))


@pytest.mark.parametrize(
    "options", [{"decode_times": False}, {"decode_coords": "all"}, {"drop_variables": ["height"]}], ids=str
)
def test_xarrays_options_mean_the_same(store: Path, hadgem: Path, options: dict[str, object]) -> None:
    """Undecoded times, grid mappings as coordinates, dropped variables."""
    source = xr.open_dataset(hadgem / "A1B_north_america.nc", **options)  # type: ignore[arg-type]
    with source, xr.open_dataset(store, engine="maelio", **options) as found:  # type: ignore[arg-type]
        xr.testing.assert_identical(found.load(), source.load())


def test_a_missing_store_says_so(tmp_path: Path) -> None:
    """Not "no engine found"."""
    with pytest.raises(NotFound, match="no such store"):
        xr.open_dataset(tmp_path / "none.zarr", engine="maelio")
