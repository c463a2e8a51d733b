"""insitubatch: an `InSituDataset` over a Zarr store; with `cached`, its pool holds all of it once an epoch is over."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[Any]]:
    from insitubatch import InSituDataset, obstore_store, open_geometries, split_by_chunk

    store = obstore_store(folder.absolute().as_uri())
    geometries = open_geometries(store, variables=["samples"])
    manifest = split_by_chunk(geometries["samples"], fractions=(1.0, 0.0, 0.0))
    budget = int(1.5 * given["samples"] * given["row_bytes"]) + 2**30 if given["cached"] else None
    dataset = InSituDataset(
        store, manifest, geometries=geometries, batch_size=given["batch_size"], cache_budget_bytes=budget
    )

    def epoch(number: int) -> Iterator[Any]:
        dataset.set_epoch(number)
        for batch in dataset.train:
            yield batch.arrays["samples"]

    return epoch
