"""Regions in threads of this process."""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from maelio.converters.plan import Plan, Region
from maelio.converters.region import Done, Memory, convert_region


def in_threads(plan: Plan, regions: Sequence[Region], folder: Path) -> Generator[Done]:
    """What became of each region, in the order in which they end.

    Closed early, or after an error, it waits for the regions in flight to stop and starts no other.

    Raises BadData: naming the file and the variable.
    """
    stop = threading.Event()
    memory = Memory(plan.workers, max((region.bytes for region in regions), default=0))
    with ThreadPoolExecutor(plan.workers, "maelio-convert") as pool:
        running: set[Future[Done]] = {
            pool.submit(
                convert_region, region, plan.sources, plan.levels[region.array.name], folder, memory, stop
            )
            for region in regions
        }
        try:
            while running:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        finally:
            stop.set()
            for future in running:
                future.cancel()
