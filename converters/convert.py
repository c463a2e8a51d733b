"""Convert files to a store: describe, plan, regions in threads, publish."""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.formats import describe_all, read_whole
from maelio.converters.journal import Journal, open_journal
from maelio.converters.merge import check_alike, merge_carried
from maelio.converters.plan import Options, Plan, Region
from maelio.converters.planner import make_plan
from maelio.converters.publish import publish
from maelio.converters.region import Done, Memory, convert_region
from maelio.converters.selection import is_time, sample_dimension, select
from maelio.converters.source import Source, extent
from maelio.converters.subset import part, runs, subset
from maelio.converters.times import check_times, in_step, line_up
from maelio.errors import BadData, BadRequest, MaelioError, NotPermitted
from maelio.store import Store, may_be_store, open_store, unfinished

log = logging.getLogger(__name__)

DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a conversion is. `bytes` are decoded ones; `resumed_regions` were done by an earlier run."""

    regions_done: int
    regions: int
    bytes_done: int
    bytes: int
    resumed_regions: int


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    plan: Plan
    carried: dict[str, xr.Variable]


def plan_conversion(sources: Sequence[str | Path], target: str | Path, options: Options = DEFAULTS) -> Plan:
    """What `convert` would do. Reads headers and coordinates, writes nothing.

    Raises:
        BadRequest: the target exists, or the request does not fit the files.
        NotFound, NotPermitted, BadData, Inconsistent: see `maelio.errors`; the message names the file.
    """
    return _prepare(sources, Path(target), options).plan


def convert(
    sources: Sequence[str | Path],
    target: str | Path,
    options: Options = DEFAULTS,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Restructure NetCDF or GRIB files into a store at `target`.

    The store appears under its name when it is whole. Interrupted or killed before, the same call goes on
    where the last one stopped; what it had written lies in `target.part`.

    Raises: as `plan_conversion`; NotPermitted: the target cannot be written.
    """
    target = Path(target).absolute()
    work = _prepare(sources, target, options)
    folder = unfinished(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_journal(folder, work.plan) as journal:
            done = _run(work.plan, journal, folder, progress or (lambda _: None))
            _check_unchanged(work.plan)
            publish(work.plan, work.carried, done, folder, target)
    except MaelioError:
        raise
    except OSError as error:
        raise _cannot_write(target, error) from error
    return open_store(target)


def _prepare(sources: Sequence[str | Path], target: Path, options: Options) -> _Work:
    _check_target(target, options)
    if not sources:
        raise BadRequest("no source files")
    described = describe_all([Path(source) for source in sources], options.samples, options.variables)
    first = described[0]
    dimension = sample_dimension(first, options.samples)
    for source in described:
        if not source.sizes.get(dimension):
            raise BadData(f"{source.path}: dimension {dimension!r} has no values")
    stacked, names = select(first, options.variables, dimension)
    check_alike(described, stacked, dimension)
    values = [
        read_whole(source, [name for name in names if name in source.variables]) for source in described
    ]
    times = _times(described, values, dimension)
    order, samples = line_up(described, times, dimension)
    described = [described[file] for file in order]
    values = [values[file] for file in order]
    carried = merge_carried(described, values, names, dimension)
    taken = subset(options.select, {**first.sizes, dimension: samples.count}, carried)
    if dimension in taken:
        samples = samples.take(runs(taken[dimension]))
    if times is not None:
        check_times(
            [described[run.file] for run in samples.runs],
            [times[order[run.file]][run.rows.start : run.rows.stop] for run in samples.runs],
            allow_gaps=options.allow_gaps,
        )
    parts = {name: part(at, first.sizes[name]) for name, at in taken.items() if name != dimension}
    carried = {
        name: variable.isel({key: at for key, at in taken.items() if key in variable.dims})
        for name, variable in carried.items()
    }
    return _Work(make_plan(described, samples, stacked, options, parts), carried)


def _check_target(target: Path, options: Options) -> None:
    if not target.exists():
        return
    if not options.overwrite:
        raise BadRequest(f"{target} exists; --overwrite replaces it")
    if not may_be_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise BadRequest(
            f"{target} is in the way: it is not a store, which --overwrite would replace; move it"
        )


def _times(
    sources: Sequence[Source], values: Sequence[dict[str, NDArray[np.float64]]], dimension: str
) -> list[NDArray[np.float64]] | None:
    if dimension not in values[0]:
        return None
    if sources[0].variables[dimension].attributes.get("standard_name") == "forecast_period":
        return [held[dimension].astype(np.float64) for held in values]
    if not is_time(sources[0], dimension):
        return None
    shifts = in_step(sources, dimension)
    return [held[dimension].astype(np.float64) + shift for held, shift in zip(values, shifts, strict=True)]


def _run(plan: Plan, journal: Journal, folder: Path, progress: Callable[[Progress], None]) -> list[Done]:
    todo = [region for region in plan.regions if (region.array.name, region.shard) not in journal.done]
    done = list(journal.done.values())
    total = sum(region.bytes for region in plan.regions)
    finished = total - sum(region.bytes for region in todo)
    for name, reason in plan.slow().items():
        log.warning("%s is read through its own library: %s", name, reason)

    def report() -> None:
        progress(Progress(len(done), len(plan.regions), finished, total, len(journal.done)))

    report()
    stop = threading.Event()
    memory = Memory(plan.workers, max((region.bytes for region in todo), default=0))
    with ThreadPoolExecutor(plan.workers, "maelio-convert") as pool:
        running: dict[Future[Done], Region] = {
            pool.submit(
                convert_region, region, plan.sources, plan.levels[region.array.name], folder, memory, stop
            ): region
            for region in todo
        }
        try:
            while running:
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    region = running.pop(future)
                    journal.commit(future.result())
                    done.append(future.result())
                    finished += region.bytes
                    report()
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            raise
    return done


def _check_unchanged(plan: Plan) -> None:
    for source in plan.sources:
        if extent(source.path) != (source.bytes, source.modified_ns):
            raise BadData(f"{source.path} changed while it was converted; nothing was published")


def _cannot_write(target: Path, error: OSError) -> MaelioError:
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    kind = NotPermitted if forbidden else MaelioError  # such as a full disk
    return kind(f"{target} cannot be written: {error.strerror} ({error.filename})")
