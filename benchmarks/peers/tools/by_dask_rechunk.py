"""dask's `rechunk` from Zarr to Zarr, on threads."""

import json
import sys

import dask
import dask.array as da
import zarr
from zarr.codecs import BloscCodec

if __name__ == "__main__":
    target, arguments, source = sys.argv[1:]
    given = json.loads(arguments)
    fields = da.from_zarr(f"{source}/{given['variable']}")
    chunks = (fields.shape[0], *given["tile"])
    store = zarr.create_array(
        target,
        shape=fields.shape,
        dtype="f4",
        chunks=chunks,
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)],
    )
    dask.config.set(scheduler="threads", num_workers=given["threads"])
    da.store(fields.rechunk(chunks), store, lock=False)  # type: ignore[arg-type]
