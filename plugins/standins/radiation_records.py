"""Stand-ins of maelstrom-radiation-tf: columns with their fluxes and heating rates as TFRecords, and their norms."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import prod
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.converters.tfrecord import delimited, masked
from maelio.errors import BadRequest
from maelio.files import replacing
from maelio.plugins.standins.atmosphere import GRAVITY, HEAT_CAPACITY, moment
from maelio.plugins.standins.columns import (
    GASES,
    LEVELS,
    PATCH,
    PATCHES,
    Columns,
    columns,
    places,
    solar_irradiance,
)
from maelio.plugins.standins.fields import scaled
from maelio.plugins.standins.netcdf import new_netcdf, put
from maelio.plugins.standins.radiation import fluxes
from maelio.plugins.standins.twostream import heating_rate

SCHEMES = {"triplecloud": "tripleclouds", "3dcorrection": "3dcorrection", "TripCloud": "mcica",
           "spartacus": "spartacus"}  # fmt: skip
"""What a file of records was made with, by the name that its number follows."""

FIELDS: Mapping[str, tuple[int, ...]] = {
    "sca_inputs": (17,),
    "col_inputs": (LEVELS, 27),
    "hl_inputs": (LEVELS + 1, 2),
    "pressure_hl": (LEVELS + 1, 1),
    "inter_inputs": (LEVELS - 1, 1),
    "sw": (LEVELS + 1, 2),
    "lw": (LEVELS + 1, 2),
    "hr_sw": (LEVELS, 1),
    "hr_lw": (LEVELS, 1),
}
"""What a record holds, float32, in this order."""

RECORDS = 67840  # of one file
COLUMN_INPUTS = (
    "q",
    "o3_mmr",
    *GASES,
    "cloud_fraction",
    "aerosol_mmr",
    "q_liquid",
    "q_ice",
    "re_liquid",
    "re_ice",
)

_GRID = PATCH * PATCHES
_DATES = tuple(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=30 * number) for number in range(13))
_TIMESTEPS = range(0, 3501, 125)
_MULTIPLIER = 1_640_531_527  # prime, so that its multiples meet every column of a set once
_BLOCK = 512
_NORM_COLUMNS = 2048


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-radiation-tf.

    `request` of records, `{prefix}{timestep}.{filenum}.tfrecord`: `kind` "records"; `prefix`, of which the part
    behind the last slash is a key of SCHEMES; `timestep`, one of 2020's 13 dates' (0, 125, ... 3500), or a date of
    2019 as YYYYMMDD00, then for all timesteps; `filenum`, 0 to 51 in 2020, to 115 in 2019. Over all of its numbers
    every column occurs once, in a mixed order. `scale` keeps that share of the 67840 records, at least 8.
    A record is one column: FIELDS as lists of floats, `hr_*` in K s-1, of which `TripCloud` leaves out g/cp.

    `request` of norms, `{field}.nc`: `kind` "norm", `field` one of FIELDS: `{field}_mean` and `{field}_std` over
    columns of 2020 (`scale` times 2048, at least 64); the deviation of what never varies is 1.

    Raises BadRequest: another request.
    """
    if request["kind"] == "norm":
        _write_norm(path, str(request["field"]), scaled(_NORM_COLUMNS, scale, least=64), seed)
        return
    name = str(request["prefix"]).rpartition("/")[2]
    if name not in SCHEMES:
        raise BadRequest(f"stand-in of maelstrom-radiation-tf: prefix {name!r}, wanted one of {[*SCHEMES]}")
    first = int(str(request["filenum"])) * RECORDS
    with replacing(path) as part, open(part, "wb") as file:
        for numbers in _blocks(scaled(RECORDS, scale, least=8), RECORDS):
            fields = _fields(str(request["timestep"]), first + numbers, name, seed)
            file.writelines(_encoded(fields))


def _blocks(count: int, of: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of `count` out of `of`, evenly spread, some at a time."""
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count)) * of // count


def _fields(
    timestep: str, records: NDArray[np.int64], name: str, seed: int
) -> dict[str, NDArray[np.float32]]:
    """FIELDS of records by their number in the whole set, (record, ...)."""
    if len(timestep) == 10:
        steps, dates = np.array(_TIMESTEPS), [moment(timestep, "%Y%m%d00")]
    else:
        steps, dates = np.array([int(timestep)]), [*_DATES]
    every = len(steps) * len(dates) * _GRID
    if not 0 <= records.min() <= records.max() < every:
        raise BadRequest(
            f"stand-in of maelstrom-radiation-tf: filenum {records[0] // RECORDS}, wanted 0..{every // RECORDS - 1}"
        )
    numbers = (records * _MULTIPLIER + seed % every) % every
    points, which = numbers % _GRID, numbers // _GRID
    dated, stepped = which // len(steps), steps[which % len(steps)]
    found = {field: np.empty((len(records), *shape), np.float32) for field, shape in FIELDS.items()}
    for number, date in enumerate(dates):
        here = np.flatnonzero(dated == number)
        if len(here):
            inputs = columns(places(points[here], date, stepped[here]), seed)
            for field, values in _of_columns(inputs, solar_irradiance(date), name).items():
                found[field][here] = values
    return found


def _of_columns(inputs: Columns, solar: float, name: str) -> dict[str, NDArray[np.float32]]:
    count = len(inputs["q"])
    scalars = [inputs[field].reshape(count, -1) for field in
               ("skin_temperature", "cos_solar_zenith_angle", "sw_albedo", "sw_albedo_direct", "lw_emissivity")]  # fmt: skip
    aerosols = inputs["aerosol_mmr"].transpose(0, 2, 1)
    levels = [aerosols if field == "aerosol_mmr" else inputs[field][:, :, None] for field in COLUMN_INPUTS]
    flux = fluxes(inputs, solar, SCHEMES[name])
    stored = {field: values.astype(np.float32) for field, values in flux.items()}
    pressure = inputs["pressure_hl"].astype(np.float64)
    rates = {}
    for band in ("sw", "lw"):
        down, up = (stored[f"flux_{way}_{band}"].astype(np.float64) for way in ("dn", "up"))
        rate = heating_rate(down, up, pressure)
        rates[f"hr_{band}"] = rate * (HEAT_CAPACITY / GRAVITY) if name == "TripCloud" else rate
    return {
        "sca_inputs": np.concatenate([*scalars, np.full((count, 1), solar, np.float32)], 1),
        "col_inputs": np.concatenate(levels, 2),
        "hl_inputs": np.stack([inputs["temperature_hl"], inputs["pressure_hl"]], 2),
        "pressure_hl": inputs["pressure_hl"][:, :, None],
        "inter_inputs": inputs["overlap_param"][:, :, None],
        "sw": np.stack([stored["flux_dn_sw"], stored["flux_up_sw"]], 2),
        "lw": np.stack([stored["flux_dn_lw"], stored["flux_up_lw"]], 2),
        "hr_sw": rates["hr_sw"].astype(np.float32)[:, :, None],
        "hr_lw": rates["hr_lw"].astype(np.float32)[:, :, None],
    }


def _encoded(fields: Mapping[str, NDArray[np.float32]]) -> Iterator[bytes]:
    """Framed records, each a `tf.train.Example` whose features are packed lists of floats.

    All are of one size: only the numbers and their checksum differ. Source: as `maelio.converters.tfrecord`.
    """
    entries, offsets = b"", {}
    for name, shape in FIELDS.items():
        nbytes = 4 * prod(shape)
        feature = delimited(2, delimited(1, bytes(nbytes)))
        entries += delimited(1, delimited(1, name.encode()) + delimited(2, feature))
        offsets[name] = len(entries) - nbytes, nbytes
    example = delimited(1, entries)
    ahead = len(example) - len(entries)
    count = len(fields["sw"])
    records = np.tile(np.frombuffer(example, np.uint8), (count, 1))
    for name, (offset, nbytes) in offsets.items():
        values = np.ascontiguousarray(fields[name], "<f4").reshape(count, -1)
        records[:, ahead + offset : ahead + offset + nbytes] = values.view(np.uint8)
    length = len(example).to_bytes(8, "little")
    front = length + masked(crc32c(length))
    for record in records:
        content = record.tobytes()
        yield front + content + masked(crc32c(content))


def _write_norm(path: Path, field: str, count: int, seed: int) -> None:
    if field not in FIELDS:
        raise BadRequest(f"stand-in of maelstrom-radiation-tf: field {field!r}, wanted one of {[*FIELDS]}")
    total, squares = np.zeros(FIELDS[field]), np.zeros(FIELDS[field])
    for numbers in _blocks(count, len(_DATES) * _GRID):
        values = _fields("0", numbers, "triplecloud", seed)[field].astype(np.float64)
        total += values.sum(0)
        squares += (values * values).sum(0)
    mean = total / count
    variance = squares / count - mean * mean
    std = np.where(variance > 1e-12 * mean * mean, np.sqrt(np.maximum(variance, 0)), 1.0)
    names = tuple(f"{field}_dim_{number}" for number in range(mean.ndim))
    with new_netcdf(path, dict(zip(names, mean.shape, strict=True))) as file:
        put(file, f"{field}_mean", "f4", names, mean)
        put(file, f"{field}_std", "f4", names, std)
