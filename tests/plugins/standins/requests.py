"""One request for every kind of stand-in there is."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from maelio.plugins.standins import WRITERS

SMALL = 0.0005

_COLUMNS: Mapping[str, JsonValue] = {"date": "20200101", "timestep": 500, "patch": 7}
_TEMPERATURE: Mapping[str, JsonValue] = {"parameter": "air_temperature", "datestr": "20200301T03Z"}
_FORECAST: Mapping[str, JsonValue] = {"date": "20190101", "hour": "12"}

REQUESTS: Mapping[str, tuple[str, Mapping[str, JsonValue]]] = {
    "yr-5GB": ("maelstrom-yr", {**_TEMPERATURE, "size": "5GB"}),
    "yr-5TB": ("maelstrom-yr", {**_TEMPERATURE, "size": "5TB"}),
    "tweets": ("maelstrom-tweets", {}),
    "precipitation": ("maelstrom-tweets", {"kind": "precipitation"}),
    "inputs": ("maelstrom-radiation", {"inout": "rad4NN_inputs", **_COLUMNS}),
    "mcica": ("maelstrom-radiation", {"inout": "rad4NN_outputs", **_COLUMNS}),
    "3dcorrection": ("maelstrom-radiation", {"inout": "3dcorrection_outputs", **_COLUMNS}),
    "tripleclouds": ("maelstrom-radiation", {"inout": "triplecloud_outputs", **_COLUMNS}),
    "spartacus": ("maelstrom-radiation", {"inout": "spartacus_outputs", **_COLUMNS}),
    "records": (
        "maelstrom-radiation-tf",
        {"kind": "records", "prefix": "records/triplecloud", "timestep": "0", "filenum": 3},
    ),
    "norm": ("maelstrom-radiation-tf", {"kind": "norm", "field": "col_inputs"}),
    "nogwd": ("maelstrom-nogwd", {"date": "2015-01-01"}),
    "ens10-sfc": ("maelstrom-ens10", {"dtype": "sfc", "month": "01", "day": "04"}),
    "ens10-pl": ("maelstrom-ens10", {"dtype": "pl", "month": "01", "day": "04"}),
    "ens5mini": ("maelstrom-ens5mini", {"month": "01"}),
    "tier1": ("maelstrom-downscaling-tier1", {"month": "2016-04"}),
    "tier1-augmented": ("maelstrom-downscaling-tier1", {"augmented": "val"}),
    "tier2": ("maelstrom-downscaling-tier2", {"month": "2016-12"}),
    "constants": ("maelstrom-constants-a-b", {}),
    "production": ("maelstrom-power-production", {"wind_turbine_id": 1}),
    "ml": ("maelstrom-weather-model-level", _FORECAST),
    "pl": ("maelstrom-weather-pressure-level", _FORECAST),
    "sfc": ("maelstrom-weather-surface-level", _FORECAST),
}


def made(folder: Path, kind: str, *, scale: float = SMALL, seed: int = 0) -> Path:
    """A stand-in of that kind. ENS-10 files have no extension."""
    name, request = REQUESTS[kind]
    ending = {"records": ".tfrecord", "ens10-sfc": "", "ens10-pl": ""}.get(kind, ".nc")
    path = folder / f"{kind}{ending}"
    WRITERS[name](path, request, scale=scale, seed=seed)
    return path
