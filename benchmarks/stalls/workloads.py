"""How trainings of weather and climate read: five kinds of sample, each from the data sets they are cut of.

The data are made up, with the shapes, the values and the storage of an archive's. How long an accelerator takes for a
step is a parameter: the one given here is an assumption, in the range of what such models take, and measured nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from maelio.benchmarks.peers import fields, messages
from maelio.benchmarks.peers.columns import DIMENSIONS, Columns
from maelio.benchmarks.peers.fields import Fields
from maelio.benchmarks.peers.messages import Messages
from maelio.benchmarks.peers.task import Size, Work
from maelio.benchmarks.stalls import ensembles
from maelio.benchmarks.stalls.ensembles import Ensembles
from maelio.errors import BadRequest
from maelio.store import Container

Layout = Literal["netcdf", "grib", "zarr", "tar", "converted-zarr", "converted-tar", "converted-tfrecord"]
"""Native ones are as archives and other tools write them, and read in place; converted ones are maelio's.

Records of a TFRecord file that maelio did not write cannot be found but by reading all before them: they have no random
order, and so no arm that reads the same batches.
"""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
CONVERTED: Mapping[Layout, Container] = {
    "converted-zarr": "zarr",
    "converted-tar": "tar",
    "converted-tfrecord": "tfrecord",
}
_OF_NETCDF: tuple[Layout, ...] = ("netcdf", "zarr", "tar", *CONVERTED)


@dataclass(frozen=True, slots=True)
class Scale:
    """`crop`: by dimension, the size of a part of each row, which lies elsewhere in every sample and epoch."""

    data: Work
    batch_size: int
    crop: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workload:
    """Each sample is a row of the dimension `samples` with all `variables`; `window`: its steps, relative to the row.

    `origin`: the layout that the data are written in; the others are made from it. `step_s`: an accelerator's, by
    assumption. An epoch of size `full` has 500 steps or more.
    """

    what: str
    scales: Mapping[Size, Scale]
    origin: Layout
    samples: str
    variables: tuple[str, ...]
    layouts: tuple[Layout, ...]
    step_s: float
    window: tuple[int, ...] = (0,)


def chosen(workload: Workload, names: Sequence[str] | None) -> tuple[Layout, ...]:
    """The layouts of a workload that are named, in their order; None: all.

    Raises BadRequest: it has no such layout.
    """
    for name in names or ():
        if name not in workload.layouts:
            raise BadRequest(f"layout={name!r}: wanted {', '.join(workload.layouts)}")
    return tuple(layout for layout in workload.layouts if names is None or layout in names)


def _square(side: int) -> dict[str, int]:
    return {"latitude": side, "longitude": side}


WORKLOADS: Mapping[str, Workload] = {
    "column": Workload(
        "columns of the atmosphere, as an emulator of radiation reads them (A3)",
        scales={
            "tiny": Scale(Columns(files=2, columns=96), 32),
            "small": Scale(Columns(files=2, columns=8192), 512),
            "full": Scale(Columns(files=16), 512),
        },
        origin="netcdf",
        samples="column",
        variables=tuple(DIMENSIONS),
        layouts=_OF_NETCDF,
        step_s=0.02,
    ),
    "patch": Workload(
        "random parts of maps, as post-processing of forecasts reads them (A1)",
        scales={
            "tiny": Scale(Fields(files=2, steps=8, latitudes=12, longitudes=16), 4, _square(8)),
            "small": Scale(Fields(files=4, steps=32, latitudes=256, longitudes=512), 8, _square(128)),
            "full": Scale(Fields(files=32, steps=32, latitudes=256, longitudes=512), 2, _square(128)),
        },
        origin="netcdf",
        samples="time",
        variables=tuple(fields.VARIABLES),
        layouts=_OF_NETCDF,
        step_s=0.05,
    ),
    "field": Workload(
        "whole maps on levels, as downscaling and the forecast of power read them (A5, A6)",
        scales={
            "tiny": Scale(Messages("grid_ccsds", files=2, steps=4, latitudes=9, longitudes=12), 2),
            "small": Scale(Messages("grid_ccsds", files=4, steps=12, latitudes=121, longitudes=240), 4),
            "full": Scale(Messages("grid_ccsds", files=32, steps=16, latitudes=181, longitudes=360), 1),
        },
        origin="grib",
        samples="time",
        variables=tuple(messages.VARIABLES),
        layouts=LAYOUTS,
        step_s=0.1,
    ),
    "ensemble": Workload(
        "all members of an ensemble, as their post-processing reads them (A4, ENS-10)",
        scales={
            "tiny": Scale(Ensembles(files=2, steps=4, members=3, latitudes=9, longitudes=12), 2),
            "small": Scale(Ensembles(files=4, steps=12, latitudes=91, longitudes=180), 4),
            "full": Scale(Ensembles(files=32, steps=16), 1),
        },
        origin="grib",
        samples="time",
        variables=ensembles.NAMES,
        layouts=LAYOUTS,
        step_s=0.05,
    ),
    "window": Workload(
        "two steps in and the next one out, as a forecast is trained",
        scales={
            "tiny": Scale(Messages("grid_simple", files=2, steps=4, latitudes=9, longitudes=12), 2),
            "small": Scale(Messages("grid_simple", files=4, steps=12, latitudes=91, longitudes=180), 4),
            "full": Scale(Messages("grid_simple", files=32, steps=16, latitudes=181, longitudes=360), 1),
        },
        origin="grib",
        samples="time",
        variables=tuple(messages.VARIABLES),
        layouts=LAYOUTS,
        step_s=0.1,
        window=(-1, 0, 1),
    ),
}
