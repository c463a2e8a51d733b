"""Convert files to a store: prepare, regions in threads, publish."""

import errno
import logging
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from maelio.allocator import keep_freed_memory
from maelio.converters.journal import Journal, open_journal
from maelio.converters.options import Options
from maelio.converters.plan import Plan, Region
from maelio.converters.prepare import prepare
from maelio.converters.publish import publish
from maelio.converters.region import Done, Memory, convert_region
from maelio.converters.remote import discard, staging
from maelio.converters.source import extent
from maelio.converters.sweep import sweep
from maelio.errors import BadData, MaelioError, NotPermitted
from maelio.store import Store, open_store, unfinished

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
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Restructure NetCDF files, GRIB files, Zarr groups or whatever else xarray opens into a store at `target`.

    `sources`: a path, a pattern, a URL, what CliMetLab loaded, or several of those: see `locate.named`. What is
    behind URLs is fetched into `target.sources` first, which is removed when the store is there.

    The store appears under its name when it is whole. Interrupted or killed before, the same call goes on
    where the last one stopped; what it had written lies in `target.part`.

    Raises: as `plan_conversion`; NotPermitted: the target cannot be written.
    """
    keep_freed_memory()
    target = Path(target).absolute()
    work = prepare(sources, target, options)
    tell_accepted(work.plan)
    folder = unfinished(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_journal(folder, work.plan) as journal:
            done = _run(work.plan, journal, folder, progress or (lambda _: None))
            check_unchanged(work.plan)
            publish(work.plan, work.carried, done, folder, target)
        discard(staging(target))
    except MaelioError:
        raise
    except OSError as error:
        raise cannot_write(target, error) from error
    return open_store(target)


def tell_accepted(plan: Plan) -> None:
    for note in plan.accepted:
        log.warning("%s", note)


def _run(plan: Plan, journal: Journal, folder: Path, progress: Callable[[Progress], None]) -> list[Done]:
    for name, reason in plan.slow().items():
        log.warning("%s is read through its own library: %s", name, reason)
    if plan.series:
        slabs = sum(len(each.slabs) for each in plan.series.values())
        return sweep(
            plan,
            journal,
            folder,
            lambda done, nbytes, resumed: progress(Progress(done, slabs, nbytes, plan.bytes, resumed)),
        )
    return _regions(plan, journal, folder, progress)


def _regions(plan: Plan, journal: Journal, folder: Path, progress: Callable[[Progress], None]) -> list[Done]:
    todo = [region for region in plan.regions if (region.array.name, region.shard) not in journal.done]
    done = list(journal.done.values())
    total = sum(region.bytes for region in plan.regions)
    finished = total - sum(region.bytes for region in todo)

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


def check_unchanged(plan: Plan) -> None:
    """Raises BadData: a source is not what it was when the plan was made."""
    for source in plan.sources:
        if extent(source.path) != (source.bytes, source.modified_ns):
            raise BadData(f"{source.path} changed while it was converted; nothing was published")


def cannot_write(target: Path, error: OSError) -> MaelioError:
    """What to raise in place of `error`."""
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    kind = NotPermitted if forbidden else MaelioError  # such as a full disk
    return kind(f"{target} cannot be written: {error.strerror} ({error.filename})")
