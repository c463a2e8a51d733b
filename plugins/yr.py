"""maelstrom-yr: forecasts of temperature over the Nordic countries and what was observed, by MET Norway (application 1).

Source of the derived quantities: the plugin climetlab-maelstrom-yr 0.6.3.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maelio.plugins.base import Described
from maelio.plugins.description import OBJECT_STORE, Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Flag, Text, Unheeded, Words
from maelio.plugins.netcdf import open_files

if TYPE_CHECKING:
    import xarray as xr

NORMS: Mapping[str, tuple[float, float]] = {
    "air_temperature_0.1_2m": (4.725014929970105, 7.566987847083937),
    "air_temperature_0.9_2m": (6.112570554018021, 7.521962731122694),
    "air_temperature_2m": (5.388952960570653, 7.4335476655246735),
    "bias_yesterday": (-0.07066702128698428, 0.7485341580688785),
    "cloud_area_fraction": (0.6884219621618589, 0.40055377741854187),
    "precipitation_amount": (0.07837766820254426, 0.36662233737977684),
    "x_wind_10m": (0.4250524006783962, 4.6850994324021595),
    "y_wind_10m": (-0.7272756993770599, 5.11310843905376),
    "altitude": (110.0174789428711, 218.2789258799505),
    "analysis_std": (0.5121386324365934, 0.40215385148028904),
    "bias_recent": (-0.007340590585954487, 0.5344001060184195),
    "land_area_fraction": (0.45299264788627625, 0.49328521353773686),
    "model_altitude": (109.62958717346191, 213.4803743151553),
    "model_laf": (0.43093839287757874, 0.48621477236654775),
}
"""Mean and standard deviation of each predictor, in its own unit."""

GAPS = ("20200522", "20200526", "20200530", "20200805", "20210805", "20220115")
_EVERY = tuple(f"{date(2020, 3, 1) + timedelta(days=number):%Y%m%d}" for number in range(730))
DATES = Dates(tuple(each for each in _EVERY if each not in GAPS), "%Y%m%d", gaps=GAPS)
HOURS = (21, 3, 9, 15)
"""When the forecast of a day starts, by the day of the month modulo 4."""

_FIELD, _MAP = ("leadtime", "y", "x"), ("y", "x")


def datestr(day: str) -> str:
    """`20200301` to `20200301T03Z`: when the one forecast of that day starts."""
    return f"{day}T{HOURS[int(day[-2:]) % 4]:02d}Z"


def _files(arguments: Arguments) -> Iterable[Files]:
    days = DATES.values if arguments["dates"] is None else arguments["dates"]
    fields = {
        "parameter": [arguments["parameter"]],
        "size": [arguments["size"]],
        "datestr": [*map(datestr, days)],
    }
    yield Files(arguments["location"].replace(OBJECT_STORE, "{url}") + arguments["pattern"], fields)


DESCRIPTION = Description(
    id="maelstrom-yr",
    title="Nordic public weather forecasts: temperature of the MEPS ensemble, and analyses with citizens' observations",
    about="One forecast a day on a grid of 1 km, 59 hours ahead: eight predictors that vary with lead time and six that do "
    "not, and mean and standard deviation of the temperature that was analysed. 5TB is all of it, 5GB 128 x 128 points around Oslo.",
    version="0.6",
    arguments=(
        Argument("size", Words(("5GB", "5TB")), required=True),
        Argument("parameter", Words(("air_temperature",)), "air_temperature"),
        Argument("dates", DATES, many=True, about="all unless they are given"),
        Argument("location", Text("a URL or a folder that ends with /", "/"), f"{OBJECT_STORE}/maelstrom-ap1/"),
        Argument("pattern", Text("how files are called there"), "{parameter}/{size}/{datestr}.nc"),
        Argument("x_range", Unheeded()),
        Argument("y_range", Unheeded()),
        Argument("limit_leadtimes", Unheeded()),
        Argument("limit_predictors", Unheeded()),
        Argument("probabilistic_target", Flag(), False, about="the standard deviation is a second target"),
        Argument("normalize", Flag(), False, about="predictors minus their mean, by their standard deviation"),
        Argument("predict_diff", Flag(), False, about="the target is how far it lies above the forecast"),
        Argument("verbose", Flag(), False, about="nothing: what is done is logged"),
    ),
    files=_files,
    sizes={"leadtime": 59, "y": 2321, "x": 1796, "predictor": 8, "static_predictor": 6},
    variables=(
        Variable("predictors", (*_FIELD, "predictor"), "celsius, 1, kg/m^2 or m/s", ", ".join([*NORMS][:8])),
        Variable("static_predictors", (*_MAP, "static_predictor"), "m, celsius or 1", ", ".join([*NORMS][8:])),
        Variable("target_mean", _FIELD, "celsius", "analysed temperature"),
        Variable("target_std", _FIELD, "celsius", "its uncertainty"),
        Variable("altitude", _MAP, "m"),
        Variable("land_area_fraction", _MAP, "1"),
        Variable("latitude", _MAP, "degree_north"),
        Variable("longitude", _MAP, "degree_east"),
        Variable("time", (), "seconds since 1970-01-01 00:00:00 +00:00", "start of the forecast", "float64"),
    ),
    licence="CC BY 4.0, see https://www.met.no/en/free-meteorological-data/Licensing-and-crediting",
    home_page="https://github.com/metno/maelstrom-yr",
    citation="Nipen, T. N., Seierstad, I. A., Lussana, C., Kristiansen, J., & Hov, Ø. (2020): Adopting Citizen Observations in "
    "Operational Weather Prediction. Bulletin of the American Meteorological Society 101 (1), E43-E57",
    terms_of_use="By downloading data from this dataset, you agree to the terms and conditions defined at "
    "https://github.com/metno/maelstrom_yr/LICENSE.",
    minimal={"size": "5GB"},
    samples="time,leadtime",
    chunks={"leadtime": 1},
    whole=False,
)  # fmt: skip


class Yr(Described):
    """`cml.load_dataset("maelstrom-yr", size="5GB", dates=["2020-03-01"])`: see `maelio datasets show maelstrom-yr`."""

    description = DESCRIPTION

    @classmethod
    def get_all_dates(cls) -> list[str]:
        """All days there are files of, as YYYYMMDD."""
        return [*DATES.values]

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        """predictors (time, leadtime, y, x, predictor=14) and targets (time, leadtime, y, x, target), float32."""
        one = partial(
            prepared,
            probabilistic=bool(self.arguments["probabilistic_target"]),
            difference=bool(self.arguments["predict_diff"]),
            normalized=bool(self.arguments["normalize"]),
        )
        return open_files(
            files,
            chunks,
            combine="nested",
            concat_dim="time",
            data_vars="all",
            coords="different",
            compat="no_conflicts",
            join="outer",
            preprocess=one,
        )


def prepared(data: "xr.Dataset", *, probabilistic: bool, difference: bool, normalized: bool) -> "xr.Dataset":
    """Of one file: the static predictors behind the others at every lead time, and the targets along a last axis.

    `difference`: the first target is then how far it lies above `air_temperature_2m`, before that is `normalized`.
    """
    import xarray as xr

    names = np.concatenate((data["predictor"].values, data["static_predictor"].values))
    bare = data[["predictors", "static_predictors", "target_mean", "target_std"]].drop_vars(
        ("predictor", "static_predictor")
    )
    static = bare["static_predictors"].rename(static_predictor="predictor")
    static = static.expand_dims(leadtime=data["leadtime"]).chunk(dict.fromkeys(("leadtime",), 1))
    predictors = xr.concat([bare["predictors"], static], "predictor")
    wanted = ["target_mean", "target_std"] if probabilistic else ["target_mean"]
    targets = [bare[name] for name in wanted]
    if difference:
        targets[0] = targets[0] - predictors.isel(predictor=[*names].index("air_temperature_2m"))
    if normalized:
        mean, std = (
            np.array(each, np.float32) for each in zip(*(NORMS[name] for name in names), strict=True)
        )
        predictors = (predictors - xr.DataArray(mean, dims="predictor")) / xr.DataArray(std, dims="predictor")
    coordinates = {
        name: data.variables[name] for name in ("time", "x", "y", "leadtime", "latitude", "longitude")
    }
    return xr.Dataset(
        {
            "predictors": (
                predictors.dims,
                predictors.data,
            ),  # attributes that hold for one do not hold for all
            "targets": ((*_FIELD, "target"), xr.concat(targets, "target").transpose(*_FIELD, "target").data),
        },
        {
            **coordinates,
            "predictor": names,
            "target": np.array(["mean", "std"][: len(targets)], object),
        },
    )
