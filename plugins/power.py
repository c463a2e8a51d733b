"""Weather over Europe, what four wind turbines made of it, and the coefficients of model levels (application 6).

Source: the plugin climetlab-maelstrom-power-production 0.2.2.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Steps
from maelio.plugins.netcdf import open_files

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

DATES = Dates(
    tuple(f"{date(2017, 1, 1) + timedelta(days=number):%Y-%m-%d}" for number in range(1461)), "%Y-%m-%d"
)
HOURS_OF_A_RUN = 12
"""Of 48: then the next run is there, which knows more."""

_HOME = "https://github.com/4castRenewables/climetlab-plugin-a6"
_TERMS = f"By downloading data from this dataset, you agree to the terms and conditions defined at {_HOME}/LICENSE."
_LEVELS, _MAP = ("time", "level", "latitude", "longitude"), ("time", "latitude", "longitude")


def _constants(_: Arguments) -> Iterable[Files]:
    yield Files("{url}/maelstrom-ap6/ECMWF_AB137.nc", {})


def _turbines(arguments: Arguments) -> Iterable[Files]:
    pattern = "{url}/maelstrom-ap6/production_data/wind_turbine_{wind_turbine_id}.nc"
    yield Files(pattern, {"wind_turbine_id": [arguments["wind_turbine_id"]]})


def _weather(kind: str, arguments: Arguments) -> Iterable[Files]:
    days = DATES.values if arguments["date"] is None else arguments["date"]
    fields = {"type": [kind], "date": [day.replace("-", "") for day in days], "hour": ["00", "12"]}
    yield Files("{url}/maelstrom-ap6/{type}_{date}_{hour}.nc", fields)


CONSTANTS = Description(
    id="maelstrom-constants-a-b",
    title="Coefficients A and B of the 137 model levels of the IFS",
    about="The pressure of half level k is A[k] + B[k] times surface pressure.",
    version="0.2",
    arguments=(),
    files=_constants,
    sizes={"dim0": 1, "dim0_0": 137, "dim0_1": 138},
    variables=(
        Variable("hyam", ("dim0", "dim0_0"), "Pa", "A of full levels", "float64"),
        Variable("hybm", ("dim0", "dim0_0"), "1", "B of full levels", "float64"),
        Variable("hyai", ("dim0", "dim0_1"), "Pa", "A of half levels", "float64"),
        Variable("hybi", ("dim0", "dim0_1"), "1", "B of half levels", "float64"),
    ),
    licence="Apache Licence Version 2.0",
    home_page=_HOME,
    citation="IFS Documentation Cy47r1 (2020), Part III: Dynamics and Numerical Procedures, p. 6, Eq. 2.11",
    terms_of_use=_TERMS,
)

PRODUCTION = Description(
    id="maelstrom-power-production",
    title="What four wind turbines produce, every ten minutes",
    about="Power, wind, speed of the rotor and state of a turbine. Power may be below 0: then the turbine takes some.",
    version="0.2",
    arguments=(Argument("wind_turbine_id", Steps(1, 4), required=True),),
    files=_turbines,
    sizes={"time": None, "level": 1, "latitude": 1, "longitude": 1},
    variables=(
        Variable("production", _LEVELS, "kW", "electric power", "float64"),
        Variable("wind_speed", _LEVELS, "m s**-1", "at the hub", "float64"),
        Variable("rotor_speed", _LEVELS, "rpm", "", "float64"),
        Variable("status", _LEVELS, "1", "", "float64"),
        Variable("curtailment", _LEVELS, "1", "whether the grid had it throttled", "float64"),
    ),
    licence="Apache Licence Version 2.0",
    home_page=_HOME,
    terms_of_use=_TERMS,
    minimal={"wind_turbine_id": 1},
    samples="time",
)


def _described(kind: str, where: str, variables: tuple[Variable, ...]) -> Description:
    return Description(
        id=f"maelstrom-weather-{where}-level",
        title=f"Weather over Europe on {where} levels, every hour" if kind != "sfc" else "Weather over Europe at the surface, every hour",
        about="Forecasts of ECMWF that start at 00 and 12 UTC and reach 48 hours: the first 12 of each, one behind the other. Grid and "
        "levels are not known from a file.",
        version="0.2",
        arguments=(Argument("date", DATES, many=True, about="all unless they are given"),),
        files=partial(_weather, kind),
        sizes={"time": None, "level": None, "latitude": None, "longitude": None},
        variables=variables,
        licence="Apache Licence Version 2.0",
        home_page=_HOME,
        terms_of_use=_TERMS,
        samples="time",
        whole=False,
    )  # fmt: skip


_AT_SURFACE = {"sp": "Pa", "t2m": "K", "u10": "m s**-1", "v10": "m s**-1"}
_ON_LEVELS = {"t": "K", "q": "kg kg**-1", "u": "m s**-1", "v": "m s**-1"}
MODEL_LEVEL = _described(
    "ml", "model", tuple(Variable(name, _LEVELS, unit) for name, unit in _ON_LEVELS.items())
)
PRESSURE_LEVEL = _described(
    "pl",
    "pressure",
    tuple(Variable(name, _LEVELS, unit) for name, unit in {"z": "m**2 s**-2", **_ON_LEVELS}.items()),
)
SURFACE_LEVEL = _described(
    "sfc", "surface", tuple(Variable(name, _MAP, unit) for name, unit in _AT_SURFACE.items())
)


class _Tabled(Described, abstract=True):
    """What is also a table of pandas, a row for each point of its coordinates."""

    def to_dataframe(self) -> "pd.DataFrame":
        return self.to_xarray().to_dataframe()

    def to_pandas(self, **kwargs: Any) -> "pd.DataFrame":
        return self.to_dataframe()


class Constants(_Tabled):
    """`cml.load_dataset("maelstrom-constants-a-b")`: see `maelio datasets show maelstrom-constants-a-b`."""

    description = CONSTANTS


class Production(_Tabled):
    """`cml.load_dataset("maelstrom-power-production", wind_turbine_id=1)`: see `maelio datasets show`."""

    description = PRODUCTION


class _Weather(_Tabled, abstract=True):
    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        return open_files(
            files,
            chunks,
            combine="nested",
            concat_dim="time",
            coords="minimal",
            data_vars="minimal",
            compat="override",
            join="outer",
            preprocess=first_hours,
        )


class ModelLevel(_Weather):
    """`cml.load_dataset("maelstrom-weather-model-level", date="2020-01-01")`: see `maelio datasets show`."""

    description = MODEL_LEVEL


class PressureLevel(_Weather):
    """`cml.load_dataset("maelstrom-weather-pressure-level", date="2020-01-01")`: see `maelio datasets show`."""

    description = PRESSURE_LEVEL


class SurfaceLevel(_Weather):
    """`cml.load_dataset("maelstrom-weather-surface-level", date="2020-01-01")`: see `maelio datasets show`."""

    description = SURFACE_LEVEL


def first_hours(data: "xr.Dataset") -> "xr.Dataset":
    return data.isel(time=slice(None, HOURS_OF_A_RUN))
