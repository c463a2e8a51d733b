"""Convert files to a store: prepare, regions in threads or by dask, publish."""

import errno
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from maelio.allocator import keep_freed_memory
from maelio.converters.hdf5 import hdf5
from maelio.converters.journal import Journal, committed, open_journal
from maelio.converters.options import Options
from maelio.converters.plan import Plan, Region
from maelio.converters.prepare import prepare
from maelio.converters.publish import publish
from maelio.converters.region import Done
from maelio.converters.remote import discard, staging
from maelio.converters.replace import recover, replace
from maelio.converters.share import Share
from maelio.converters.source import extent
from maelio.converters.sweep import sweep
from maelio.converters.threads import in_threads
from maelio.errors import BadData, BadRequest, MaelioError, NotPermitted
from maelio.store import Store, open_store, unfinished

log = logging.getLogger(__name__)

DEFAULTS = Options()
_IN_ONE_PASS = "series are made by one process, in one pass over all files: leave it out"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a conversion is. `bytes` are decoded ones; `resumed` were done by an earlier run, and count as done."""

    regions_done: int
    regions: int
    bytes_done: int
    bytes: int
    resumed_regions: int
    resumed_bytes: int


@dataclass(frozen=True, slots=True)
class PartDone:
    """A part of `regions` has ended; of the whole, `regions_done` of `regions_wanted` are done by now."""

    share: Share
    regions: int
    regions_done: int
    regions_wanted: int


Report = Callable[[Progress], None]
Runner = Callable[[Plan, Sequence[Region], Path], Generator[Done]]


def plan_conversion(sources: object, target: str | Path, options: Options = DEFAULTS) -> Plan:
    """What `convert` would do. Reads headers and coordinates, writes nothing; but URLs are fetched for it.

    Raises:
        BadRequest: the target exists, or the request does not fit the files.
        NotFound, NotPermitted, BadData, Inconsistent: see `maelio.errors`; the message names the file.
    """
    return prepare(sources, Path(target), options).plan


def convert(
    sources: object,
    target: str | Path,
    options: Options = DEFAULTS,
    *,
    progress: Report | None = None,
) -> Store:
    """Restructure NetCDF files, GRIB files, Zarr groups or whatever else xarray opens into a store at `target`.

    `sources`: a path, a pattern, a URL, what CliMetLab loaded, or several of those: see `locate.named`. What is
    behind URLs is fetched into the cache first.

    The store appears under its name when it is whole. Interrupted or killed before, the same call goes on
    where the last one stopped, and where parts have ended; what was written lies in `target.part`.

    Raises: as `plan_conversion`; NotPermitted: the target cannot be written.
    """
    keep_freed_memory(options.kept_bytes)
    target = Path(target).absolute()
    with writing(target):
        recover(target)
    work = prepare(sources, target, options)
    plan, folder = work.plan, unfinished(target)
    tell_accepted(plan)
    with closing(hdf5), writing(target), open_journal(folder, plan) as journal:
        done = _run(plan, plan.regions, journal, folder, progress)
        check_unchanged(plan)
        publish(plan, work.carried, done, folder)
        replace(folder, target, journal)
    discard(staging(target))
    return open_store(target)


def tell_accepted(plan: Plan) -> None:
    for note in plan.accepted:
        log.warning("%s", note)


def convert_part(
    sources: object,
    target: str | Path,
    share: Share,
    options: Options = DEFAULTS,
    *,
    progress: Report | None = None,
) -> PartDone:
    """Do one of several parts of `convert`, beside other processes and machines that do the others.

    All see one file system. `convert` then does what is missing and publishes. `options.overwrite` discards an
    unfinished conversion of other sources or options, never other parts of this one.

    Raises: as `convert`; BadRequest: this part, or the whole, is being converted by another process.
    """
    keep_freed_memory(options.kept_bytes)
    target = Path(target).absolute()
    with writing(target):
        recover(target)
    plan, folder = prepare(sources, target, options).plan, unfinished(target)
    tell_accepted(plan)
    if plan.series:
        raise BadRequest(f"part {share}: {_IN_ONE_PASS}")
    regions = share.take(plan.regions)
    with closing(hdf5), writing(target), open_journal(folder, plan, share) as journal:
        _run(plan, regions, journal, folder, progress)
        check_unchanged(plan)
        return PartDone(share, len(regions), len(committed(folder)), len(plan.regions))


def _run(
    plan: Plan, regions: Sequence[Region], journal: Journal, folder: Path, progress: Report | None
) -> list[Done]:
    """Do those of `regions` that are not done, by whatever runs them; commit each. All that are done."""
    for name, reason in plan.slow().items():
        log.warning("%s is read through its own library: %s", name, reason)
    if plan.series:
        if plan.options.dask is not None:
            raise BadRequest(f"dask {plan.options.dask!r}: {_IN_ONE_PASS}")
        return _swept(plan, journal, folder, progress)
    left = {
        (region.array.name, region.shard): region
        for region in regions
        if (region.array.name, region.shard) not in journal.done
    }
    done = list(journal.done.values())
    total = sum(region.bytes for region in regions)
    resumed = finished = total - sum(region.bytes for region in left.values())

    def report() -> None:
        if progress:
            progress(Progress(len(done), len(regions), finished, total, len(journal.done), resumed))

    report()
    if not left:
        return done
    with closing(_runner(plan.options)(plan, [*left.values()], folder)) as results:
        for one in results:
            journal.commit(one)
            done.append(one)
            finished += left[one.array, one.shard].bytes
            report()
    return done


def _swept(plan: Plan, journal: Journal, folder: Path, progress: Report | None) -> list[Done]:
    slabs = sum(len(each.slabs) for each in plan.series.values())
    resumed_bytes: int | None = None

    def report(done: int, nbytes: int, resumed: int) -> None:
        nonlocal resumed_bytes
        resumed_bytes = nbytes if resumed_bytes is None else resumed_bytes
        if progress:
            progress(Progress(done, slabs, nbytes, plan.bytes, resumed, resumed_bytes))

    return sweep(plan, journal, folder, report)


def _runner(options: Options) -> Runner:
    if options.dask is None:
        return in_threads
    from maelio.converters.tasks import in_tasks  # dask takes a second to load

    return in_tasks


def check_unchanged(plan: Plan) -> None:
    """Raises BadData: a source is not what it was when the plan was made."""
    for source in plan.sources:
        if extent(source.path) != (source.bytes, source.modified_ns):
            raise BadData(f"{source.path} changed while it was converted; nothing was published")


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Raises NotPermitted, MaelioError: instead of an OSError."""
    try:
        yield
    except MaelioError:
        raise
    except OSError as error:
        forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        kind = NotPermitted if forbidden else MaelioError  # such as a full disk
        raise kind(f"{target} cannot be written: {error.strerror} ({error.filename})") from error
