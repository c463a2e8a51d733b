"""maelstrom-ens10 and maelstrom-ens5mini: hindcasts of ECMWF's ensemble, to be corrected (application 4).

Source: the plugin climetlab-maelstrom-ens10 0.2.1, whose server is another than that of 0.1.1.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Words

if TYPE_CHECKING:
    import xarray as xr

DATES = tuple(
    """
    0101 0104 0108 0111 0115 0118 0122 0125 0129 0201 0205 0208 0212 0215 0219 0222 0226 0301 0305 0308 0312 0315 0319 0322
    0326 0329 0402 0405 0409 0412 0416 0419 0423 0426 0430 0503 0507 0510 0514 0517 0521 0524 0528 0531 0604 0607 0611 0614
    0618 0621 0625 0628 0702 0705 0709 0712 0716 0719 0723 0726 0730 0802 0806 0809 0813 0816 0820 0823 0827 0830 0903 0906
    0910 0913 0917 0920 0924 0927 1001 1004 1008 1011 1015 1018 1022 1025 1029 1101 1105 1108 1112 1115 1119 1122 1126 1129
    1203 1206 1210 1213 1217 1220 1224 1227 1231
    """.split()  # noqa: SIM905
)
"""Mondays and Thursdays of 2018, month and day."""
MONTHS = tuple(f"{month:02d}" for month in range(1, 13))

_PRESSURE = {
    "z": "m**2 s**-2",
    "t": "K",
    "q": "kg kg**-1",
    "w": "Pa s**-1",
    "d": "s**-1",
    "u": "m s**-1",
    "v": "m s**-1",
}
_SURFACE = {
    "sst": "K", "tcw": "kg m**-2", "tcwv": "kg m**-2", "cp": "m", "msl": "Pa", "tcc": "(0 - 1)", "u10": "m s**-1", "v10": "m s**-1",
    "t2m": "K", "tp": "m", "skt": "K",
}  # fmt: skip
_DIMS = ("number", "time", "step")
_GRID = ("latitude", "longitude")
_LICENCE = "https://github.com/spcl/climetlab-maelstrom-ens10/blob/main/ENS10_LICENCE.txt"
_HOME = "https://github.com/spcl/climetlab-maelstrom-ens10"
_CITATION = (
    "Ashkboos, S., Huang, L., Dryden, N., Ben-Nun, T., Dueben, P., Gianinazzi, L., Kummer, L., Hoefler, T. (2022): ENS-10: A Dataset For "
    "Post-Processing Ensemble Weather Forecasts. Advances in Neural Information Processing Systems 35"
)
_TERMS = f"By downloading data from this dataset, you agree to the terms and conditions defined at {_LICENCE}"


def _hindcasts(arguments: Arguments) -> Iterable[Files]:
    day = arguments["date"]
    fields = {"dtype": [arguments["dtype"]], "month": [day[:2]], "day": [day[2:]]}
    yield Files("{url}/maelstrom-ap4/output.{dtype}.2018{month}{day}", fields)


def _toys(arguments: Arguments) -> Iterable[Files]:
    yield Files("{url}/maelstrom-ap4/toy/ens5mini.{month}.nc", {"month": [arguments["date"]]})


ENS10 = Description(
    id="maelstrom-ens10",
    title="ENS-10: twenty years of hindcasts of ECMWF's ensemble, ten members, twice a week",
    about="Of each of 105 days of the year the forecasts of 1998 to 2017 for 0, 24 and 48 hours, on a global grid of 0.5 degrees, in GRIB 1. "
    "A sample is a forecast with all of its members.",
    version="0.2",
    arguments=(
        Argument("date", Dates(DATES, "%m%d"), required=True, about="mmdd or yyyymmdd, whose year is not heeded"),
        Argument("dtype", Words(("pl", "sfc")), "pl", about="pressure levels or surface"),
    ),
    files=_hindcasts,
    sizes={"number": 10, "time": 20, "step": 3, "isobaricInhPa": 11, "surface": 1, "latitude": 361, "longitude": 720},
    variables=(
        *(Variable(name, (*_DIMS, "isobaricInhPa", *_GRID), unit, "dtype pl") for name, unit in _PRESSURE.items()),
        *(Variable(name, (*_DIMS, "surface", *_GRID), unit, "dtype sfc") for name, unit in _SURFACE.items()),
    ),
    licence=_LICENCE,
    home_page=_HOME,
    citation=_CITATION,
    terms_of_use=_TERMS,
    minimal={"date": "0101"},
    samples="time,step",
    chunks={"time": 1, "step": 1},
)  # fmt: skip

ENS5MINI = Description(
    id="maelstrom-ens5mini",
    title="ENS5-mini: ENS-10 over Europe with five members, ten years and two steps",
    about="Of each month the forecasts of 1998 to 2007 for 0 and 24 hours, between 40 and 60 degrees north, 0 and 40 degrees east, in NetCDF.",
    version="0.2",
    arguments=(
        Argument("date", Dates(MONTHS, "%m", also=("%m%d", "%Y%m%d", "%Y-%m-%d")), required=True, about="mm, mmdd or yyyymmdd: the month"),
        Argument("dtype", Words(("pl",)), "pl"),
    ),
    files=_toys,
    sizes={"number": 5, "time": None, "step": 2, "isobaricInhPa": 11, "latitude": 40, "longitude": 80},
    variables=tuple(Variable(name, (*_DIMS, "isobaricInhPa", *_GRID), unit) for name, unit in _PRESSURE.items()),
    licence=_LICENCE,
    home_page=_HOME,
    citation=_CITATION,
    terms_of_use=_TERMS,
    minimal={"date": "01"},
    samples="time,step",
    chunks={"time": 8},
)  # fmt: skip


class Ens10(Described):
    """`cml.load_dataset("maelstrom-ens10", date="0104", dtype="sfc")`: see `maelio datasets show maelstrom-ens10`."""

    description = ENS10
    all_datelist = DATES

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        import xarray as xr

        (file,) = files
        return xr.open_dataset(
            file, engine="cfgrib", chunks=chunks, backend_kwargs={"indexpath": "", "squeeze": False}
        )


class Ens5mini(Described):
    """`cml.load_dataset("maelstrom-ens5mini", date="01")`: see `maelio datasets show maelstrom-ens5mini`."""

    description = ENS5MINI
    all_datelist = MONTHS
