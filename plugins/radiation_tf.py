"""maelstrom-radiation-tf: the columns of maelstrom-radiation in TFRecords, mixed and stacked (application 3).

Source of the derived quantities: the plugin climetlab-maelstrom-radiation 0.7.5. TensorFlow is not needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Flag, Steps, Text, Words
from maelio.plugins.radiation import GRAVITY, HEAT_CAPACITY, OUTPUTS, SECONDS, TIMESTEPS
from maelio.plugins.tfrecords import columns

if TYPE_CHECKING:
    import xarray as xr

PREFIXES: Mapping[str, str] = {
    "mcica": "TFR/TripCloud",
    "tripleclouds": "records/triplecloud",
    "3dcorrection": "records/3dcorrection",
    "spartacus": "TFR/spartacus",
}
"""What files are called, by the scheme that made them."""

DIMS: Mapping[str, tuple[str, ...]] = {
    "sca_inputs": ("sca_variable",),
    "col_inputs": ("level", "col_variable"),
    "hl_inputs": ("half_level", "hl_variable"),
    "inter_inputs": ("level_interface", "inter_variable"),
    "pressure_hl": ("half_level", "p_variable"),
    "sw": ("half_level", "variable"),
    "lw": ("half_level", "variable"),
    "hr_sw": ("level", "hr_variable"),
    "hr_lw": ("level", "hr_variable"),
}
SIZES: Mapping[str, int] = {
    "sca_variable": 17, "level": 137, "col_variable": 27, "half_level": 138, "hl_variable": 2, "level_interface": 136,
    "inter_variable": 1, "p_variable": 1, "variable": 2, "hr_variable": 1,
}  # fmt: skip
INPUTS = ("sca_inputs", "col_inputs", "hl_inputs", "inter_inputs", "pressure_hl")
OUTPUT_FIELDS = ("sw", "lw", "hr_sw", "hr_lw")
_YEAR = TIMESTEPS.values
_DAYS = (2019013100, 2019053100, 2019082900, 2019102800)
_FILES = {2020: 52, 2019: 116}
_ROWS = 4096  # records that are read at once unless it is told

_EVERY_FIFTH = [*range(0, 52, 5)]
_PARTS: dict[str, tuple[list[int], list[int]]] = {
    "tier-1": ([0], [0]),
    "tier-1-val": ([2019013100], [0]),
    "tier-1-test": ([2019053100], [0]),
    "2020": ([*_YEAR], [*range(52)]),
    **{str(day): ([day], [*range(116)]) for day in _DAYS},
    "tier-2": ([*_YEAR], _EVERY_FIFTH),
    "tier-2-val": ([2019013100, 2019082900], [0, 25, 50]),
    "tier-2-test": ([2019053100, 2019102800], [0, 25, 50]),
    "tier-3": ([0, 1000, 2000, 3000], _EVERY_FIFTH),
    "tier-3-val": ([2019013100, 2019082900], [0, 25, 50]),
    "tier-3-test": ([2019053100, 2019102800], [0, 25, 50]),
}


def _files(arguments: Arguments) -> Iterable[Files]:
    prefix = PREFIXES[arguments["dataset"]]
    folder = "{url}/maelstrom-ap3"
    if arguments["path"] is not None:
        folder, prefix = arguments["path"].rstrip("/"), prefix.rpartition("/")[2]
    fields = {"timestep": arguments["timestep"], "filenum": arguments["filenum"]}
    yield Files(
        folder + "/{prefix}{timestep}.{filenum}.tfrecord", {"kind": ["records"], "prefix": [prefix], **fields}
    )
    if arguments["norm"]:
        yield Files("{url}/maelstrom-ap3/{field}.nc", {"kind": ["norm"], "field": arguments["input_fields"]})


def _rule(arguments: Arguments) -> str | None:
    if arguments["minimal_outputs"] and arguments["netflux"]:
        return "minimal_outputs and netflux exclude each other"
    if arguments["subset"] is None:
        most = min(_FILES[2019 if step > max(_YEAR) else 2020] for step in arguments["timestep"]) - 1
        wrong = [number for number in arguments["filenum"] if number > most]
        if wrong:
            return f"filenum {wrong[0]}: must be 0..{most} at timestep {arguments['timestep'][0]}, nearest {most}"
    return None


DESCRIPTION = Description(
    id="maelstrom-radiation-tf",
    title="Emulation of radiation in TFRecords: columns that were mixed when they were written",
    about="What maelstrom-radiation has, stacked by dimensions, in files of 67 840 columns of all dates (of 2020) or of one day (of 2019). "
    "A sample is a column.",
    version="0.7",
    arguments=(
        Argument("dataset", Words(tuple(OUTPUTS)), "tripleclouds", about="what the outputs were made with"),
        Argument("subset", Words(tuple(_PARTS)), about="in place of timestep and filenum"),
        Argument("timestep", Steps(0, 3500, 125, _DAYS), [0], many=True),
        Argument("filenum", Steps(0, 115), [0], many=True, about="0..51 of 2020, 0..115 of a day of 2019"),
        Argument("input_fields", Words(INPUTS), [*INPUTS], many=True),
        Argument("output_fields", Words(OUTPUT_FIELDS), [*OUTPUT_FIELDS], many=True),
        Argument("minimal_outputs", Flag(), False, about="of sw and lw (column, 3): up at the top, down and up at the surface"),
        Argument("topnetflux", Flag(), False, about="of minimal_outputs the first is then down minus up at the top"),
        Argument("netflux", Flag(), False, about="of sw and lw (column, half_level): down minus up"),
        Argument("norm", Flag(), about="inputs minus their mean, by their standard deviation"),
        Argument("path", Text("a folder that holds the files"), about="in place of the server"),
        Argument("nonormsolar", Flag(), False, about="norm leaves out the angle and the irradiance of the sun"),
        Argument("hr_units", Words(tuple(SECONDS)), "K d-1"),
        Argument("shuffle_files", Flag(), True, about="not heeded: files have one order, streams mix"),
    ),
    files=_files,
    sizes={"column": None, **SIZES},
    variables=tuple(Variable(name, ("column", *dims), "as maelstrom-radiation") for name, dims in DIMS.items()),
    licence="CC BY 4.0, see https://apps.ecmwf.int/datasets/licences/general/",
    home_page="https://git.ecmwf.int/projects/MLFET/repos/maelstrom-radiation",
    terms_of_use="By downloading data from this dataset, you agree to the terms and conditions defined at "
    "https://apps.ecmwf.int/datasets/licences/general/",
    subsets={name: {"timestep": [*steps], "filenum": [*numbers]} for name, (steps, numbers) in _PARTS.items()},
    rule=_rule,
    samples="column",
    whole=False,
)  # fmt: skip


class RadiationTF(Described):
    """`cml.load_dataset("maelstrom-radiation-tf", subset="tier-1")`: see `maelio datasets show maelstrom-radiation-tf`."""

    description = DESCRIPTION
    valid_subset = tuple(_PARTS)
    valid_timestep = (*_YEAR, *_DAYS)
    valid_filenum = tuple(range(52))

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        import xarray as xr

        asked = self.arguments
        kinds = [request.fields["kind"] for request in self.requests]
        records = [file for file, kind in zip(files, kinds, strict=True) if kind == "records"]
        norms = [file for file, kind in zip(files, kinds, strict=True) if kind == "norm"]
        wanted = {name: tuple(SIZES[dim] for dim in DIMS[name]) for name in (*INPUTS, *OUTPUT_FIELDS)
                  if name in [*_list(asked["input_fields"]), *_list(asked["output_fields"])]}  # fmt: skip
        parts = [
            xr.Dataset(
                {
                    name: (("column", *DIMS[name]), values)
                    for name, values in columns(file, wanted, _ROWS).items()
                }
            )
            for file in records
        ]
        data = xr.concat(
            parts, "column", data_vars="minimal", coords="minimal", compat="override", join="override"
        )
        for name in ("hr_sw", "hr_lw"):
            if name in data:
                data[name] = data[name] * np.float32(self._factor())
        for name in ("sw", "lw"):
            if name in data and asked["minimal_outputs"]:
                data[name] = _boundaries(data[name], top_net=bool(asked["topnetflux"]))
            elif name in data and asked["netflux"]:
                data[name] = data[name].isel(variable=0) - data[name].isel(variable=1)
        if norms:
            data = _normalized(data, norms, with_sun=not asked["nonormsolar"])
        return data if chunks in ({}, None) else data.chunk(chunks)

    def _factor(self) -> float:
        """Of what the files have as heating rates, K s-1, to what is asked for; those of mcica lack g/cp."""
        seconds = SECONDS[str(self.arguments["hr_units"])]
        return seconds * (GRAVITY / HEAT_CAPACITY if self.arguments["dataset"] == "mcica" else 1)


def _list(value: Any) -> list[str]:
    return [*value]


def _boundaries(flux: "xr.DataArray", *, top_net: bool) -> "xr.DataArray":
    """Up at the top (with `top_net` down minus up), down and up at the surface: (column, boundaries), W m-2."""
    import xarray as xr

    down, up = flux.isel(variable=0), flux.isel(variable=1)
    top, surface = {"half_level": 0}, {"half_level": -1}
    first = down.isel(top) - up.isel(top) if top_net else up.isel(top)
    return xr.concat([first, down.isel(surface), up.isel(surface)], "boundaries").transpose(
        "column", "boundaries"
    )


def _normalized(data: "xr.Dataset", norms: Sequence[Path], *, with_sun: bool) -> "xr.Dataset":
    """Each input minus its mean, by its standard deviation, as files `{field}.nc` have them."""
    import xarray as xr

    for path in norms:
        with xr.open_dataset(path, engine="netcdf4") as file:
            name = next(str(each).removesuffix("_mean") for each in file if str(each).endswith("_mean"))
            mean, std = file[f"{name}_mean"].values.copy(), file[f"{name}_std"].values.copy()
        if name == "sca_inputs" and not with_sun:
            mean[[1, -1]], std[[1, -1]] = 0, 1
        shape, dims = [SIZES[dim] for dim in DIMS[name]], DIMS[name]
        centred = data[name] - xr.DataArray(mean.reshape(shape), dims=dims)
        data[name] = centred / xr.DataArray(std.reshape(shape), dims=dims)
    return data
