"""One NetCDF4 file of a store or of other sources: the variables, names, dimensions and attributes that went in.

Region after region, so that memory is a conversion's; deflate level 1 behind a shuffle, a chunk one sample (a
block of them where they are small), the sample dimension unlimited. Values that the source held packed are
written as the floats that they mean: packing them again is exact only by luck.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.attributes import restore
from maelio.converters.convert import DEFAULTS, Progress, check_unchanged, tell_accepted, writing
from maelio.converters.dry_run import DryRun, dry_run
from maelio.converters.hdf5 import hdf5
from maelio.converters.options import Options
from maelio.converters.plan import Plan, Region
from maelio.converters.prepare import Prepared, prepare
from maelio.converters.region import Memory, examine, read_region
from maelio.converters.remote import discard, staging
from maelio.converters.source import FILLS, PACKED, PACKING, Source, Variable
from maelio.errors import BadData, BadRequest, MaelioError
from maelio.files import show_bytes
from maelio.store import StackedArray, is_store, open_store, unfinished

_KINDS = "fiuSUOT"


def export(
    sources: object,
    target: str | Path,
    options: Options = DEFAULTS,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Write `target`, and return what it holds. `format`, `codec` and `threads` of the options mean nothing here.

    It is written as `target.part` and appears under its name when it is whole. What an interrupted run
    wrote is thrown away: the next one starts again.

    Raises:
        BadRequest: the target exists, or the request does not fit the sources.
        NotFound, NotPermitted, BadData, Inconsistent: see `maelio.errors`; the message names the file.
    """
    target = Path(target).absolute()
    work = _prepare(sources, target, options)
    tell_accepted(work.plan)
    part = unfinished(target)
    if part.is_dir():
        raise BadRequest(f"{part} is in the way: it is an unfinished conversion, not a file; move it")
    try:
        with closing(hdf5), writing(target):
            _write(work, part, progress or (lambda _: None))
            check_unchanged(work.plan)
            os.replace(part, target)
        discard(staging(target))
    except RuntimeError as error:  # netCDF's: a full disk, or a chunk that is too large for it
        raise MaelioError(f"{target} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return work.plan


def dry_run_export(sources: object, target: str | Path, options: Options = DEFAULTS) -> DryRun:
    """What `export` would read, and every problem of the sources; it is not known how long it would take.

    Raises BadRequest: as `export`.
    """
    _check_target(Path(target), options)
    found = dry_run(sources, None, options, folder=staging(Path(target)), timed=False)
    if found.plan:
        _check_samples(Path(target), found.plan)
    return found


def describe(plan: Plan, target: str | Path) -> str:
    """What `export` would write, in a few lines."""
    lines = [
        f"{len(plan.sources)} file(s), {plan.samples}, {show_bytes(plan.bytes)} decoded: {', '.join(plan.stacked)}"
    ]
    lines += [f"derived: {text}" for text in plan.derived()]
    lines += [f"accepted: {note}" for note in plan.accepted]
    lines += [f"lossy: {text}" for text in plan.options.lossy()]
    lines += [f"slow: {name} through its own library ({reason})" for name, reason in plan.slow().items()]
    memory = f"at most {show_bytes(plan.worker_bytes)} of memory"
    return "\n".join([*lines, f"one NetCDF4 file {target}, deflate 1 behind a shuffle; 1 thread, {memory}"])


def _prepare(sources: object, target: Path, options: Options) -> Prepared:
    _check_target(target, options)
    work = prepare(sources, None, options, staging(target))
    _check_samples(target, work.plan)
    return work


def _check_target(target: Path, options: Options) -> None:
    if target.is_dir():
        raise BadRequest(f"{target} is a folder, wanted the name of a file")
    if target.exists() and not options.overwrite:
        raise BadRequest(f"{target} exists; --overwrite replaces it")


def _check_samples(target: Path, plan: Plan) -> None:
    if len(plan.samples.dimensions) > 1:
        raise BadRequest(
            f"{target}: samples along {plan.options.samples} have no place in a NetCDF file; name one dimension"
        )


def _write(work: Prepared, path: Path, progress: Callable[[Progress], None]) -> None:
    plan = work.plan
    memory = Memory(1, max(region.bytes for region in plan.regions))
    total, done = sum(region.bytes for region in plan.regions), 0
    progress(Progress(0, len(plan.regions), 0, total, 0, 0))
    with netCDF4.Dataset(path, "w") as file:
        file.set_fill_off()
        outputs = _create(file, work)
        for number, region in enumerate(plan.regions):
            with memory.block(region) as block:
                read_region(region, plan.sources, block, threading.Event())
                examine(region, plan.sources, block, plan.levels[region.array.name])
                _write_region(region, block, outputs)
            done += region.bytes
            progress(Progress(number + 1, len(plan.regions), done, total, 0, 0))
    with open(path, "rb") as written:
        os.fsync(written.fileno())


@dataclass(frozen=True, slots=True, eq=False)
class _Output:
    """Where values go to: their `axis` of samples, and what missing ones are stored as (None: as NaN)."""

    variable: "netCDF4.Variable[Any]"
    axis: int
    fills: tuple[Any, ...]

    def write(self, rows: range, values: NDArray[Any]) -> None:
        """`values` (sample, *rest), which may be changed. Raises BadData: a value would be read as missing."""
        for fill in self.fills:
            if (values == fill).any():
                raise BadData(
                    f"variable {self.variable.name!r} has the value {fill}, which stands for missing ones"
                )
        if self.fills:
            values[np.isnan(values)] = self.fills[0]
        place = (slice(None),) * self.axis + (slice(rows.start, rows.stop),)
        self.variable[place] = np.moveaxis(values, 0, self.axis)


def _write_region(region: Region, block: NDArray[Any], outputs: Mapping[str, _Output]) -> None:
    step = region.array.rows_per_chunk
    for number, name in enumerate(region.array.variables):
        for first in range(0, len(block), step):
            values = block[first : first + step, number]
            rows = region.rows[first : first + len(values)]
            outputs[name].write(rows, values.copy())


def _create(file: "netCDF4.Dataset", work: Prepared) -> dict[str, _Output]:
    """Everything but the stacked values: those of the variables that are carried along are written at once."""
    plan = work.plan
    source, samples, held = plan.sources[0], plan.joined.dimension, _held(plan.sources[0])
    arrays = {name: array for array in plan.arrays for name in array.variables}
    _set_attributes(file, source.path, "", source.attributes)
    outputs = {}
    for name, variable in source.variables.items():
        if name in work.carried:
            _create_dimensions(file, work.carried[name].sizes, samples)
            _carry(file, source.path, name, work.carried[name])
        elif name in arrays:
            array = arrays[name]
            sizes = dict(zip(array.dimensions, array.shape, strict=True))
            _create_dimensions(
                file, {dimension: sizes[dimension] for dimension in variable.dimensions}, samples
            )
            outputs[name] = _stacked(file, source.path, variable, array, held[name])
    return outputs


def _create_dimensions(file: "netCDF4.Dataset", sizes: Mapping[Any, int], samples: str) -> None:
    for name, size in sizes.items():
        if name not in file.dimensions:
            file.createDimension(name, None if name == samples else size)


def _carry(file: "netCDF4.Dataset", path: Path, name: str, variable: xr.Variable) -> None:
    values = variable.values
    if values.dtype.kind not in _KINDS:
        raise BadData(f"{path}: variable {name!r} has dtype {values.dtype}, which NetCDF does not have")
    text = values.dtype.kind in "UOT" or (values.dtype.kind == "S" and values.dtype.itemsize > 1)
    attributes = dict(variable.attrs)
    made = file.createVariable(
        name,
        str if text else values.dtype.newbyteorder("="),
        [str(dimension) for dimension in variable.dims],
        fill_value=attributes.pop("_FillValue", None),
    )
    made.set_auto_maskandscale(False)
    made.set_auto_chartostring(False)
    _set_attributes(made, path, f"variable {name!r}: ", attributes)
    made[...] = values.astype(object) if text else values


def _stacked(
    file: "netCDF4.Dataset", path: Path, variable: Variable, array: StackedArray, held: Mapping[str, Any]
) -> _Output:
    """A stacked variable. Missing values are stored as the source `held` them, where its dtype is the same."""
    sample, sizes = array.dimensions[0], dict(zip(array.dimensions, array.shape, strict=True))
    absent = {name: held[name] for name in FILLS if name in held}
    if absent and (held["dtype"] != array.dtype.name or held.keys() & PACKED):
        absent = {"_FillValue": array.dtype.type(np.nan)}
    fills = [value for found in absent.values() for value in np.ravel(found) if not np.isnan(value)]
    made = file.createVariable(
        variable.name,
        array.dtype,
        variable.dimensions,
        zlib=True,
        complevel=1,
        shuffle=True,
        chunksizes=[array.rows_per_chunk if name == sample else sizes[name] for name in variable.dimensions],
        fill_value=absent.pop("_FillValue", None),
    )
    made.set_auto_maskandscale(False)
    made.set_var_chunk_cache(size=array.chunk_bytes)
    kept = {key: value for key, value in variable.attributes.items() if key not in PACKING}
    _set_attributes(made, path, f"variable {variable.name!r}: ", kept | absent)
    return _Output(made, variable.dimensions.index(sample), tuple(fills))


def _held(source: Source) -> dict[str, dict[str, Any]]:
    """Of each variable, the dtype and the packing that it has in the source; of a store, in what that was made of."""
    held = {
        name: {"dtype": variable.stored.name, **variable.attributes}
        for name, variable in source.variables.items()
    }
    if source.format == "zarr" and is_store(source.path):
        of_store = open_store(source.path).contents.variables
        held |= {
            name: restore(variable.encoding)
            for name, variable in of_store.items()
            if name in held and variable.encoding
        }
    return held


def _set_attributes(
    of: "netCDF4.Dataset | netCDF4.Variable[Any]", path: Path, where: str, attributes: Mapping[str, Any]
) -> None:
    for name, value in attributes.items():
        try:
            of.setncattr(name, value)
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise BadData(
                f"{path}: {where}attribute {name!r} has the value {value!r}, which NetCDF cannot hold"
            ) from error
