"""maelstrom-nogwd: drag of gravity waves that do not come from mountains, column by column (application 3).

Source of what is merged: the plugin climetlab-maelstrom-nogwd 0.2.0.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Words
from maelio.plugins.netcdf import open_files

if TYPE_CHECKING:
    import xarray as xr

SUBSETS = {
    "tier-1": ("2015-01-01",),
    "training": tuple(f"{date(2015, 1, 1) + timedelta(days=30 * number):%Y-%m-%d}" for number in range(12)),
    "validation": ("2016-02-25", "2016-06-24", "2016-12-21"),
    "testing": ("2017-02-19", "2017-07-19", "2017-11-16"),
}
DATES = Dates((*SUBSETS["training"], *SUBSETS["validation"], *SUBSETS["testing"]), "%Y-%m-%d")


def _files(arguments: Arguments) -> Iterable[Files]:
    yield Files("{url}/NOGWD_L91_PUBLIC/nc/{date}.nc", {"date": arguments["date"] or [DATES.values[0]]})


DESCRIPTION = Description(
    id="maelstrom-nogwd",
    title="Non-orographic gravity wave drag: columns of 91 levels and the wind increments of the IFS",
    about="Inputs x: profiles of wind and temperature, surface pressure and geopotential. Outputs y: increments of the wind by "
    "the parametrised drag. A file is a forecast, a sample a column.",
    version="0.2",
    arguments=(
        Argument("date", DATES, many=True, about="start of the forecast; the first unless it is given"),
        Argument("subset", Words(tuple(SUBSETS)), about="in place of date"),
    ),
    files=_files,
    sizes={"examples": None, "input_features": 191, "output_features": 126},
    variables=(
        Variable("x", ("examples", "input_features"), "m s-1, K, Pa or m2 s-2", "profiles of u, v and temperature; surface pressure and geopotential"),
        Variable("y", ("examples", "output_features"), "m s-1", "increments of u and v"),
    ),
    licence="CC BY 4.0, see https://apps.ecmwf.int/datasets/licences/general/",
    home_page="https://git.ecmwf.int/projects/MLFET/repos/maelstrom-nogwd",
    citation="Chantry, M., Hatfield, S., Dueben, P., Polichtchouk, I., Palmer, T. (2021): Machine learning emulation of gravity wave drag in "
    "numerical weather forecasting. Journal of Advances in Modeling Earth Systems, e2021MS002477",
    terms_of_use="By downloading data from this dataset, you agree to the terms and conditions defined at "
    "https://apps.ecmwf.int/datasets/licences/general/",
    server="https://storage.ecmwf.europeanweather.cloud",
    subsets={name: {"date": [*dates]} for name, dates in SUBSETS.items()},
    samples="examples",
)  # fmt: skip


class Nogwd(Described):
    """`cml.load_dataset("maelstrom-nogwd", subset="training")`: see `maelio datasets show maelstrom-nogwd`."""

    description = DESCRIPTION
    all_datelist = DATES.values

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        return open_files(files, chunks, combine="nested", concat_dim="examples", data_vars="all")
