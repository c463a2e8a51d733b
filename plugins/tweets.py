"""maelstrom-tweets: what people write when it rains, and whether it does (application 2). There are stand-ins only.

Source: the code of 4castRenewables/maelstrom-a2, which names the variables; the texts themselves were never public.
"""

from collections.abc import Iterable
from dataclasses import replace

from maelio.converters.options import Options
from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Words

_TWEET = ("index",)


def _files(arguments: Arguments) -> Iterable[Files]:
    yield Files("{url}/{kind}.nc", {"kind": [arguments["kind"]]})


DESCRIPTION = Description(
    id="maelstrom-tweets",
    title="Tweets about the weather in the United Kingdom, and the rain that fell there",
    about="Texts with place and time, and precipitation of ERA5-Land at the nearest point of 0.1 degrees and half hour; or the field that "
    "it was taken from.",
    version="0.1",
    arguments=(Argument("kind", Words(("tweets", "precipitation")), "tweets"),),
    files=_files,
    sizes={"index": None, "time_half": None, "latitude": None, "longitude": None},
    variables=(
        Variable("text", _TWEET, "", "kind tweets", "str"),
        Variable("created_at", _TWEET, "seconds since 1970-01-01", "kind tweets", "int64"),
        Variable("longitude", _TWEET, "degrees_east", "kind tweets", "float64"),
        Variable("latitude", _TWEET, "degrees_north", "kind tweets", "float64"),
        Variable("tp", _TWEET, "m", "kind tweets: of an hour", "float64"),
        Variable("raining", _TWEET, "", "kind tweets: whether tp is above a threshold", "int8"),
        Variable("tp_h", ("time_half", "latitude", "longitude"), "m", "kind precipitation: of an hour"),
    ),
    licence="the terms of Twitter do not allow to hand the texts on; stand-ins: Apache Licence Version 2.0",
    home_page="https://github.com/4castRenewables/maelstrom-a2",
    server="synthetic://maelstrom-ap2",
    samples="index",
    withheld="its texts were never public, the terms of Twitter do not allow it",
)  # fmt: skip


class Tweets(Described):
    """`cml.load_dataset("maelstrom-tweets", source="synthetic")`: see `maelio datasets show maelstrom-tweets`."""

    description = DESCRIPTION

    def options(self) -> Options:
        options = super().options()
        return options if self.arguments["kind"] == "tweets" else replace(options, samples="time_half")
