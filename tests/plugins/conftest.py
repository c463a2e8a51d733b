"""A server of stand-ins under the name of the host that the datasets name, for all tests of plugins."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from maelio.plugins import synthetic
from maelio.plugins.power import Constants, Production, SurfaceLevel
from maelio.plugins.radiation import Radiation
from maelio.plugins.yr import Yr
from tests.plugins import published
from tests.plugins.published import ARGUMENTS, HOST, Site

OURS = {
    "radiation": Radiation,
    "yr": Yr,
    "constants": Constants,
    "production": Production,
    "surface": SurfaceLevel,
}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of all that `ARGUMENTS` mean, as CliMetLab's mirrors have files."""
    cache = tmp_path_factory.mktemp("standins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAELIO_CACHE", str(cache))
        for name in ("radiation", "yr"):
            OURS[name](**ARGUMENTS[name], source="synthetic", scale=0.002).files()
    (folder,) = (cache / "synthetic").iterdir()
    for name in ("constants", "production", "surface"):
        for number, address in enumerate(OURS[name](**ARGUMENTS[name]).urls()):
            path = synthetic.place_of(folder, address)
            path.parent.mkdir(parents=True, exist_ok=True)
            hours = np.arange(48.0) + 12 * number
            xr.Dataset({"t2m": ("time", hours + 270)}, {"time": hours}).to_netcdf(path)
    return folder


@pytest.fixture(scope="session")
def _site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with published.site(tree / "url" / "https" / HOST, tmp_path_factory.mktemp("tls")) as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Site:
    _site.web.reset()
    return _site
