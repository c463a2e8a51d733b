"""dask: the variables of every file as lazy arrays, all values of a column concatenated, stored on threads."""

import json
import sys

import dask
import dask.array as da
import h5py
import zarr
from zarr.codecs import BloscCodec

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    files = [h5py.File(source) for source in sources]
    count = len(files[0][given["variables"][0]])
    parts = []
    for file in files:
        fields = [da.from_array(file[name], chunks=file[name].shape) for name in given["variables"]]
        parts.append(
            da.concatenate([field.reshape(count, -1) for field in fields], axis=1).rechunk((count, -1))
        )
    columns = da.concatenate(parts)
    store = zarr.create_array(
        target,
        shape=columns.shape,
        dtype="f4",
        chunks=(given["rows"], columns.shape[1]),
        shards=(count, columns.shape[1]),
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)],
    )
    dask.config.set(scheduler="threads", num_workers=given["threads"])
    da.store(columns, store, lock=False)  # type: ignore[arg-type]
