"""maelstrom-tweets: what people write when it rains, and whether it does (application 2). There are stand-ins only.

Source: the code of 4castRenewables/maelstrom-a2, which names the variables; the texts themselves were never public.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Words

if TYPE_CHECKING:
    import xarray as xr

MONTHS = Dates(
    tuple(f"{year}-{month:02d}" for year in range(2017, 2021) for month in range(1, 13)),
    "%Y-%m",
    also=("%Y-%m-%d", "%Y%m", "%Y%m%d"),
)
_TWEET = ("index",)


def _files(arguments: Arguments) -> Iterable[Files]:
    yield Files("{url}/{kind}_{month}.nc", {"kind": [arguments["kind"]], "month": arguments["months"]})


DESCRIPTION = Description(
    id="maelstrom-tweets",
    title="Tweets about the weather in the United Kingdom, and the rain that fell there",
    about="Texts with place and time, and precipitation of ERA5-Land at the nearest point of 0.1 degrees and half hour; or the field that "
    "it was taken from.",
    version="0.1",
    arguments=(
        Argument("kind", Words(("tweets", "precipitation")), "tweets"),
        Argument("months", MONTHS, "2020-01", many=True),
    ),
    files=_files,
    sizes={"index": None, "time_half": None, "latitude": None, "longitude": None},
    variables=(
        Variable("text", _TWEET, "1", "kind tweets", "str"),
        Variable("created_at", _TWEET, "seconds since 1970-01-01", "kind tweets", "int64"),
        Variable("longitude", _TWEET, "degrees_east", "kind tweets", "float64"),
        Variable("latitude", _TWEET, "degrees_north", "kind tweets", "float64"),
        Variable("tp_h", ("time_half", "latitude", "longitude"), "m", "kind precipitation: of an hour"),
    ),
    licence="the terms of Twitter do not allow to hand the texts on; stand-ins: Apache Licence Version 2.0",
    home_page="https://github.com/4castRenewables/maelstrom-a2",
    server="synthetic://maelstrom-ap2",
    withheld="its texts were never public, the terms of Twitter do not allow it",
)  # fmt: skip


class Tweets(Described):
    """`cml.load_dataset("maelstrom-tweets", source="synthetic")`: see `maelio datasets show maelstrom-tweets`."""

    description = DESCRIPTION

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        import xarray as xr

        along = "index" if self.arguments["kind"] == "tweets" else "time_half"
        return xr.open_mfdataset(
            files, chunks=chunks, engine="netcdf4", combine="nested", concat_dim=along, data_vars="minimal"
        )
