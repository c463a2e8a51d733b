"""maelstrom-radiation: what goes into a radiation scheme and what comes out, column by column, in NetCDF (application 3).

Source of the derived quantities: the plugin climetlab-maelstrom-radiation 0.7.5.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Arguments, Description, Files, Variable
from maelio.plugins.legal import Dates, Flag, Steps, Words
from maelio.plugins.netcdf import open_files

if TYPE_CHECKING:
    import xarray as xr

OUTPUTS: Mapping[str, str] = {
    "mcica": "rad4NN_outputs",
    "tripleclouds": "triplecloud_outputs",
    "3dcorrection": "3dcorrection_outputs",
    "spartacus": "spartacus_outputs",
}
"""What files of outputs are called, by the scheme that made them."""

DATES_2020 = tuple(f"{datetime(2020, 1, 1) + timedelta(days=30 * number):%Y%m%d}" for number in range(13))
DATES_2019 = ("20190131", "20190531", "20190829", "20191028")
TIMESTEPS = Steps(0, 3500, 125)
EVEN_PATCHES: list[Any] = [*range(0, 16, 2)]

GRAVITY, HEAT_CAPACITY = 9.80665, 1004.0  # m s-2, J kg-1 K-1
SECONDS: Mapping[str, int] = {"K s-1": 1, "K d-1": 86400}

COLUMN_INPUTS = (
    "q", "o3_mmr", "co2_vmr", "n2o_vmr", "ch4_vmr", "o2_vmr", "cfc11_vmr", "cfc12_vmr", "hcfc22_vmr", "ccl4_vmr",
    "cloud_fraction", "aerosol_mmr", "q_liquid", "q_ice", "re_liquid", "re_ice",
)  # fmt: skip
SCALAR_INPUTS = (
    "skin_temperature", "cos_solar_zenith_angle", "sw_albedo", "sw_albedo_direct", "lw_emissivity", "solar_irradiance",
)  # fmt: skip

_LEVEL, _HALF, _COLUMN = ("column", "level"), ("column", "half_level"), ("column",)


def _files(arguments: Arguments) -> Iterable[Files]:
    for inout in ("rad4NN_inputs", OUTPUTS[arguments["dataset"]]):
        fields = {name: arguments[name] for name in ("date", "timestep", "patch")}
        yield Files(
            "{url}/maelstrom-ap3/{inout}_{date}00_{timestep}c{patch}.nc", {"inout": [inout], **fields}
        )


def _rule(arguments: Arguments) -> str | None:
    if arguments["minimal_outputs"] and arguments["gather_fluxes"]:
        return "minimal_outputs and gather_fluxes exclude each other"
    if arguments["minimal_outputs"] and not arguments["heating_rate"]:
        return "minimal_outputs needs heating_rate"
    return None


DESCRIPTION = Description(
    id="maelstrom-radiation",
    title="Emulation of radiation: columns of the IFS and the fluxes of four configurations of ecRad",
    about="Profiles, clouds, gases and surface of 271 360 columns at 29 times of every 30th day of 2020, and the short-wave and "
    "long-wave fluxes that a configuration of ecRad gives for them. A sample is a column.",
    version="0.7",
    arguments=(
        Argument("dataset", Words(tuple(OUTPUTS)), "tripleclouds", about="what the outputs were made with"),
        Argument("date", Dates(tuple(sorted((*DATES_2020, *DATES_2019))), "%Y%m%d"), "20200101", many=True),
        Argument("timestep", TIMESTEPS, 0, many=True, about="of 12 minutes since the date"),
        Argument("subset", Words(("tier-1", "2020")), about="in place of date, timestep and patch"),
        Argument("raw_inputs", Flag(), True, about="variables as in the files; without, stacked by their dimensions"),
        Argument("minimal_outputs", Flag(), False, about="fluxes_sw, fluxes_lw (column, 3): up at the top, down and up at the surface"),
        Argument("all_outputs", Flag(), False, about="also what else is in the files of outputs"),
        Argument("patch", Steps(0, 15), EVEN_PATCHES, many=True, about="a sixteenth of the grid, 16 960 columns"),
        Argument("heating_rate", Flag(), True, about="hr_sw, hr_lw (column, level)"),
        Argument("hr_units", Words(tuple(SECONDS)), "K d-1"),
        Argument("topnetflux", Flag(), False, about="of minimal_outputs the first is then down minus up at the top"),
        Argument("gather_fluxes", Flag(), False, about="sw, lw (column, half_level, 2): down and up in one"),
    ),
    files=_files,
    sizes={"column": None, "level": 137, "half_level": 138, "level_interface": 136, "aerosol_type": 12, "sw_albedo_band": 6,
           "lw_emiss_band": 2},
    variables=(
        Variable("q", _LEVEL, "kg kg-1", "specific humidity"),
        Variable("o3_mmr", _LEVEL, "kg kg-1", "ozone"),
        *(Variable(name, _LEVEL, "1", "volume mixing ratio") for name in COLUMN_INPUTS[2:10]),
        Variable("cloud_fraction", _LEVEL, "1"),
        Variable("aerosol_mmr", ("column", "aerosol_type", "level"), "kg kg-1"),
        Variable("q_liquid", _LEVEL, "kg kg-1", "cloud water"),
        Variable("q_ice", _LEVEL, "kg kg-1", "cloud ice"),
        Variable("re_liquid", _LEVEL, "m", "effective radius of droplets"),
        Variable("re_ice", _LEVEL, "m", "effective radius of crystals"),
        Variable("temperature_hl", _HALF, "K"),
        Variable("pressure_hl", _HALF, "Pa"),
        Variable("overlap_param", ("column", "level_interface"), "1", "overlap of clouds"),
        Variable("skin_temperature", _COLUMN, "K"),
        Variable("cos_solar_zenith_angle", _COLUMN, "1"),
        Variable("sw_albedo", ("column", "sw_albedo_band"), "1"),
        Variable("sw_albedo_direct", ("column", "sw_albedo_band"), "1"),
        Variable("lw_emissivity", ("column", "lw_emiss_band"), "1"),
        Variable("solar_irradiance", (), "W m-2"),
        Variable("lat", _COLUMN, "degrees_north"),
        Variable("lon", _COLUMN, "degrees_east"),
        *(Variable(f"flux_{way}_{band}", _HALF, "W m-2") for band in ("sw", "lw") for way in ("dn", "up")),
    ),
    licence="CC BY 4.0, see https://apps.ecmwf.int/datasets/licences/general/",
    home_page="https://git.ecmwf.int/projects/MLFET/repos/maelstrom-radiation",
    terms_of_use="By downloading data from this dataset, you agree to the terms and conditions defined at "
    "https://apps.ecmwf.int/datasets/licences/general/",
    subsets={
        "tier-1": {"date": ["20200101"], "timestep": [0], "patch": EVEN_PATCHES},
        "2020": {"date": [*DATES_2020], "timestep": [*TIMESTEPS.values], "patch": [*range(16)]},
    },
    rule=_rule,
    samples="column",
    whole=False,
)  # fmt: skip


class Radiation(Described):
    """`cml.load_dataset("maelstrom-radiation", subset="tier-1")`: see `maelio datasets show maelstrom-radiation`."""

    description = DESCRIPTION
    valid_subset = tuple(DESCRIPTION.subsets)
    valid_date = (*DATES_2020, *DATES_2019)
    valid_timestep = TIMESTEPS.values
    valid_patch = tuple(range(16))

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        import xarray as xr

        half = len(files) // 2
        inputs, outputs = _opened(files[:half], chunks), _opened(files[half:], chunks)
        chosen = self.arguments
        if not chosen["raw_inputs"]:
            inputs = stacked_inputs(inputs)
        if chosen["heating_rate"]:
            for band in ("sw", "lw"):
                outputs[f"hr_{band}"] = heating_rate(outputs, band, str(chosen["hr_units"]))
        if chosen["minimal_outputs"]:
            for band in ("sw", "lw"):
                outputs[f"fluxes_{band}"] = boundary_fluxes(outputs, band, top_net=bool(chosen["topnetflux"]))
        if chosen["gather_fluxes"] and not (chosen["all_outputs"] and not chosen["minimal_outputs"]):
            for band in ("lw", "sw"):
                outputs[band] = fluxes(outputs, band)
        merged = xr.merge([inputs, self._wanted(outputs)], compat="override", join="exact")
        return merged.assign_attrs(inputs.attrs or outputs.attrs)

    def _wanted(self, outputs: "xr.Dataset") -> "xr.Dataset":
        chosen = self.arguments
        rates = ["hr_sw", "hr_lw"] if chosen["heating_rate"] else []
        if chosen["minimal_outputs"]:
            return outputs[["fluxes_sw", "fluxes_lw", *rates]]
        if chosen["all_outputs"]:
            return outputs
        if chosen["gather_fluxes"]:
            return outputs[["lw", "sw", *rates]]
        return outputs[["flux_dn_sw", "flux_up_sw", "flux_dn_lw", "flux_up_lw", *rates]]


def _opened(files: Sequence[Path], chunks: Any) -> "xr.Dataset":
    """Columns of one file behind those of another; the solar irradiance of a file is that of each of its columns."""
    return open_files(
        files,
        chunks,
        combine="nested",
        concat_dim="column",
        coords="minimal",
        data_vars="minimal",
        compat="override",
        join="override",
        preprocess=_with_irradiance,
    )


def _with_irradiance(data: "xr.Dataset") -> "xr.Dataset":
    if "solar_irradiance" not in data:
        return data
    every = data["solar_irradiance"].broadcast_like(data["lat"])
    return data.assign(solar_irradiance=every)


def fluxes(outputs: "xr.Dataset", band: str) -> "xr.DataArray":
    """Down and up: (column, half_level, variable), W m-2."""
    return _side_by_side(outputs, (f"flux_dn_{band}", f"flux_up_{band}"), "variable")


def heating_rate(outputs: "xr.Dataset", band: str, unit: str) -> "xr.DataArray":
    """How fast the absorbed flux warms a level: -g/cp d(down - up)/dp; (column, level), in `unit`, a key of SECONDS."""
    net = outputs[f"flux_dn_{band}"] - outputs[f"flux_up_{band}"]
    rate = (
        -(GRAVITY / HEAT_CAPACITY * SECONDS[unit])
        * net.diff("half_level")
        / outputs["pressure_hl"].diff("half_level")
    )
    rate.attrs = {"long_name": f"{band} heating rate", "units": unit}
    return rate.rename(half_level="level")


def boundary_fluxes(outputs: "xr.Dataset", band: str, *, top_net: bool) -> "xr.DataArray":
    """Up at the top (with `top_net` down minus up), down and up at the surface: (column, boundaries), W m-2."""
    import xarray as xr

    both = fluxes(outputs, band)
    down, up = both.isel(variable=0), both.isel(variable=1)
    top, surface = {"half_level": slice(None, 1)}, {"half_level": slice(-1, None)}
    first = down.isel(top) - up.isel(top) if top_net else up.isel(top)
    parts = [first, down.isel(surface), up.isel(surface)]
    return xr.concat(parts, "half_level").rename(half_level="boundaries")


def stacked_inputs(inputs: "xr.Dataset") -> "xr.Dataset":
    """Inputs by what dimensions they have, the variables of each along a last axis, float32.

    sca_inputs (column, 17), col_inputs (column, level, 27), hl_inputs (column, half_level, 2), pressure_hl
    (column, half_level, 1), inter_inputs (column, level_interface, 1), lat and lon (column).
    """
    import xarray as xr

    scalars = [
        inputs[name].expand_dims("sca_variable", axis=-1)
        if inputs[name].ndim == 1
        else inputs[name].rename({inputs[name].dims[-1]: "sca_variable"})
        for name in SCALAR_INPUTS
    ]
    return xr.Dataset(
        {
            "sca_inputs": xr.concat(scalars, "sca_variable"),
            "col_inputs": _side_by_side(inputs, COLUMN_INPUTS, "col_variable"),
            "hl_inputs": _side_by_side(inputs, ("temperature_hl", "pressure_hl"), "hl_variable"),
            "pressure_hl": _side_by_side(inputs, ("pressure_hl",), "p_variable"),
            "inter_inputs": _side_by_side(inputs, ("overlap_param",), "inter_variable"),
            "lat": inputs["lat"],
            "lon": inputs["lon"],
        }
    )


def _side_by_side(data: "xr.Dataset", names: Sequence[str], dimension: str) -> "xr.DataArray":
    """Along a new last axis; the types of aerosol are variables of their own there."""
    import xarray as xr

    parts = [
        data[name].transpose("column", "level", "aerosol_type").rename(aerosol_type=dimension)
        if name == "aerosol_mmr"
        else data[name].expand_dims(dimension, axis=-1)
        for name in names
    ]
    return xr.concat(parts, dimension)
