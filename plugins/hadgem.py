"""Yearly North American temperature of two HadGEM scenarios: small real data that needs no network."""

from importlib import import_module
from pathlib import Path

from maelio.errors import BadRequest, Missing
from maelio.plugins.base import Dataset

SCENARIOS = ("A1B", "E1")


class HadGEM(Dataset):
    """`cml.load_dataset("maelio-hadgem", scenario="E1")`: near-surface air temperature of HadGEM2-AO, 1860-2099.

    Variable: `air_temperature` (time, latitude, longitude) = (240, 37, 49), float32, K; one mean a year,
    360-day calendar. Scenarios: `A1B` (no climate policy) and `E1` (emissions are cut). They part in 2000:
    the 140 years before are the same in both files, bit for bit.

    Raises:
        BadRequest: a scenario other than these two.
        Missing: the package that holds the files is not installed.
    """

    name = "maelio-hadgem"
    home_page = "https://github.com/SciTools/iris-sample-data"
    licence = "UK Open Government Licence, https://www.nationalarchives.gov.uk/doc/open-government-licence"
    documentation = (
        "https://scitools-iris.readthedocs.io/en/stable/generated/gallery/meteorology/plot_COP_1d.html"
    )
    citation = (
        "Johns, T. C., et al. (2011): Climate change under aggressive mitigation: the ENSEMBLES multi-model "
        "experiment. Climate Dynamics 37 (9-10), doi:10.1007/s00382-011-1005-5"
    )

    def __init__(self, scenario: str = "A1B") -> None:
        if scenario not in SCENARIOS:
            raise BadRequest(f"dataset {self.name!r}: scenario {scenario!r}, wanted one of {SCENARIOS}")
        super().__init__(scenario=scenario)
        self._file = sample_data() / f"{scenario}_north_america.nc"

    def urls(self) -> tuple[str, ...]:
        return (self._file.absolute().as_uri(),)


def sample_data() -> Path:
    """The folder of the PyPI package `iris-sample-data`. Raises Missing: it is not installed."""
    try:
        package = import_module("iris_sample_data")
    except ModuleNotFoundError:
        raise Missing('the HadGEM files are not installed; run: pip install "maelio[samples]"') from None
    return Path(package.path)
