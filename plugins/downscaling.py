"""maelstrom-downscaling-tier1 and -tier2: temperature at 2 m in more detail than models give it (application 5).

Source: the plugin climetlab-maelstrom-downscaling 0.4.0.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.errors import BadRequest
from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Words
from maelio.plugins.netcdf import open_files

if TYPE_CHECKING:
    import xarray as xr

_SUMMER = range(4, 10)
_PARTS = {"training": "train", "validation": "val", "testing": "test"}


def _months(years: Iterable[int], months: Iterable[int]) -> list[str]:
    return [f"{year}-{month:02d}" for year in years for month in months]


TIER1_MONTHS = {
    "training": _months(range(2016, 2020), _SUMMER),
    "validation": _months([2020], [5, 7, 8]),
    "testing": _months([2020], [4, 6, 9]),
}
TIER2_MONTHS = {
    "training": _months(range(1995, 2017), range(1, 13)),
    "validation": _months([2017], range(1, 13)),
    "testing": _months([2018], range(1, 13)),
}


def _files(tier: int, arguments: Arguments) -> Iterable[Files]:
    """A file a month, or the one of a part that is augmented."""
    pattern = f"{{url}}/maelstrom-ap5/tier-{tier}/downscaling_tier{tier}_"
    if part := arguments.get("augmented"):
        yield Files(pattern + "{augmented}_aug.nc", {"augmented": [part]})
    else:
        yield Files(pattern + "{month}.nc", {"month": arguments["months"]})


def _rule(arguments: Arguments) -> str | None:
    if arguments["months"] is None and arguments["dataset"] is None:
        return "needs months or dataset"
    return None


def _arguments(months: dict[str, list[str]], labels: Iterable[str]) -> tuple[Argument, ...]:
    every = sorted(each for part in months.values() for each in part)
    return (
        Argument(
            "months", Dates(tuple(every), "%Y-%m", also=("%Y-%m-%d", "%Y%m", "%Y%m%d")), many=True,
            about="in place of dataset, which comes first",
        ),
        Argument("dataset", Words(tuple(labels))),
    )  # fmt: skip


_TIER1: dict[str, dict[str, Any]] = {
    **{name: {"months": months} for name, months in TIER1_MONTHS.items()},
    **{f"{name}_aug": {"augmented": part} for name, part in _PARTS.items()},
}
_TIER2 = {name: {"months": months} for name, months in TIER2_MONTHS.items()}
_HOME = "https://git.ecmwf.int/projects/MLFET/repos/maelstrom-downscaling-ap5"
_TERMS = f"By downloading data from this dataset, you agree to the terms and conditions defined at {_HOME}"
_RLAT, _LAT = ("time", "rlat", "rlon"), ("time", "lat", "lon")

TIER1 = Description(
    id="maelstrom-downscaling-tier1",
    title="Downscaling, tier 1: temperature of the IFS from 0.8 to 0.1 degrees over central Europe",
    about="Forecasts of ECMWF's IFS at 00 and 12 UTC, April to September of 2016 to 2020, 128 x 96 points: coarsened, and as they were. "
    "A sample is one time. The names of the variables are not known from a file.",
    version="0.4",
    arguments=_arguments(TIER1_MONTHS, _TIER1),
    files=partial(_files, 1),
    sizes={"time": None, "lat": 96, "lon": 128},
    variables=(
        Variable("t2m_in", _LAT, "K", "coarsened to 0.8 degrees"),
        Variable("z_in", _LAT, "m", "elevation, coarsened"),
        Variable("t2m_tar", _LAT, "K", "what is to be found"),
        Variable("z_tar", _LAT, "m", "elevation"),
    ),
    licence="Apache Licence Version 2.0",
    home_page=_HOME,
    terms_of_use=_TERMS,
    subset_argument="dataset",
    subsets=_TIER1,
    rule=_rule,
    minimal={"dataset": "validation"},
    samples="time",
)  # fmt: skip

TIER2 = Description(
    id="maelstrom-downscaling-tier2",
    title="Downscaling, tier 2: temperature from ERA5 to the regional reanalysis COSMO-REA6",
    about="Every hour of 1995 to 2018, 120 x 96 points of 0.055 degrees on a rotated pole: predictors of ERA5, the temperature of COSMO-REA6. "
    "A sample is one time. The names of the variables are not known from a file.",
    version="0.4",
    arguments=_arguments(TIER2_MONTHS, _TIER2),
    files=partial(_files, 2),
    sizes={"time": None, "rlat": 96, "rlon": 120},
    variables=(
        Variable("2t_in", _RLAT, "K"),
        *(Variable(f"t{level}_in", _RLAT, "K", "on a model level") for level in (137, 135, 131, 127, 122, 115)),
        Variable("sp_in", _RLAT, "Pa", "surface pressure"),
        Variable("slhf_in", _RLAT, "J m**-2", "latent heat flux"),
        Variable("sshf_in", _RLAT, "J m**-2", "sensible heat flux"),
        Variable("10u_in", _RLAT, "m s**-1"),
        Variable("10v_in", _RLAT, "m s**-1"),
        Variable("blh_in", _RLAT, "m", "height of the boundary layer"),
        Variable("z_in", _RLAT, "m", "elevation"),
        Variable("t_2m_tar", _RLAT, "K", "what is to be found"),
        Variable("hsurf_tar", _RLAT, "m", "elevation"),
    ),
    licence="Apache Licence Version 2.0",
    home_page=_HOME,
    terms_of_use=_TERMS,
    subset_argument="dataset",
    subsets=_TIER2,
    rule=_rule,
    minimal={"dataset": "validation"},
    samples="time",
)  # fmt: skip


class DownscalingTier1(Described):
    """`cml.load_dataset("maelstrom-downscaling-tier1", dataset="training")`: see `maelio datasets show`."""

    description = TIER1
    tier = 1

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        return open_files(files, chunks, data_vars="all")

    def to_xarray(
        self, chunks: Any = None, persist: bool = False, data_dir: str | None = None
    ) -> "xr.Dataset":
        """With `persist` it is also written into the folder `data_dir`, as one NetCDF file that is named by the dataset."""
        data = super().to_xarray(chunks)
        if persist:
            if data_dir is None:
                raise BadRequest(f"dataset {self.name!r}: persist needs data_dir")
            folder = Path(data_dir)
            folder.mkdir(parents=True, exist_ok=True)
            label = str(self.arguments["dataset"] or "months").replace("ing", "").replace("idation", "")
            data.to_netcdf(folder / f"downscaling_tier{self.tier}_{label}.nc", engine="netcdf4")
        return data


class DownscalingTier2(DownscalingTier1):
    """`cml.load_dataset("maelstrom-downscaling-tier2", months="2017-01")`: see `maelio datasets show`."""

    description = TIER2
    tier = 2


class Downscaling(DownscalingTier1):
    """The first tier by the name that the documents of MAELSTROM have for it."""

    description = TIER1.named("maelstrom-downscaling")
