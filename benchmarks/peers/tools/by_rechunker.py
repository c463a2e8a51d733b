"""rechunker, within its `max_mem` a worker: half of the cap for each of two threads. Runs where zarr is version 2."""

import json
import sys
from typing import Any

import dask
import zarr
from numcodecs import Blosc


def main(target: str, arguments: str, source: str) -> None:
    from rechunker import rechunk  # in its own environment alone

    given = json.loads(arguments)
    fields: Any = zarr.open_group(source, mode="r")[given["variable"]]
    compressed = {"compressor": Blosc("lz4", 5, Blosc.SHUFFLE)}
    plan = rechunk(
        fields,
        target_chunks=(fields.shape[0], *given["tile"]),
        max_mem=given["memory"] // given["threads"],
        target_store=target,
        target_options=compressed,
        temp_store=f"{target}.temporary",
        temp_options=compressed,
    )
    with dask.config.set(scheduler="threads", num_workers=given["threads"]):
        plan.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
