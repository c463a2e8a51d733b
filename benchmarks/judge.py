"""Convert one file, and have what came of it judged by readers that share no code with the conversion."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import dask.array  # noqa: F401  (xarray loads it later)
import xarray as xr

from maelio.benchmarks.grib_fields import compare_with_cfgrib, compare_with_eccodes
from maelio.converters.compare import compare
from maelio.converters.convert import convert
from maelio.converters.formats import describe
from maelio.converters.options import Options
from maelio.converters.signature import identify
from maelio.errors import BadRequest, MaelioError
from maelio.store import open_store

xr.backends.list_engines()  # loads them all, once for the processes that are forked off this one;
os.environ.pop("ECCODES_ECKIT_GEO", None)  # one of them set it: with it eccodes gives other latitudes

_OPTIONS = Options(on={"gap": "allow", "non-finite": "allow"}, shard_bytes=2**18)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was compared, and in which the store differs from its source, a line each."""

    variables: int
    values: int
    differences: tuple[str, ...] = ()


def format_of(path: Path) -> str:
    """ "other" where it is of none that is converted."""
    try:
        return identify(path)
    except MaelioError:
        return "other"


def convert_one(path: Path, target: Path) -> None:
    """With samples along time; where there is none, along the longest dimension.

    Raises MaelioError: the file is refused.
    """
    try:
        convert([path], target, _OPTIONS)
    except BadRequest:
        sizes = describe(path).sizes
        if not sizes:
            raise
        longest = max(sorted(sizes), key=lambda name: sizes[name])
        convert([path], target, replace(_OPTIONS, samples=longest))


def judge(path: Path, target: Path, *, cfgrib: bool = True) -> Verdict:
    """The store at `target` against the file: every value, and for NetCDF and Zarr every name and attribute.

    Of GRIB, eccodes judges the values, and cfgrib what belongs to a variable and where it lies.
    """
    return (
        _judge_grib(path, target, cfgrib=cfgrib) if identify(path) == "grib" else _judge_netcdf(path, target)
    )


def _judge_netcdf(path: Path, target: Path) -> Verdict:
    found = tuple(map(str, compare(path, target)))
    with xr.open_dataset(target, engine="maelio", decode_cf=False) as store:
        return Verdict(len(store.variables), sum(each.size for each in store.variables.values()), found)


def _judge_grib(path: Path, target: Path, *, cfgrib: bool) -> Verdict:
    with xr.open_dataset(open_store(target).path, engine="maelio") as found:
        found.load()
    _, values, wrong = compare_with_eccodes(found, path)
    _, also = compare_with_cfgrib(found, path) if cfgrib else (0, [])
    return Verdict(len(found.data_vars), values, (*wrong, *also))
