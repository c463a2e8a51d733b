"""xarray's `to_zarr` on dask's threads: one array a variable, one step a chunk, a source file a shard.

With `engine` "cfgrib" the sources are GRIB; no index files are kept, since a conversion reads once.
"""

import json
import sys

import dask
import xarray as xr
from zarr.codecs import BloscCodec

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    dask.config.set(scheduler="threads", num_workers=given["threads"])
    with xr.open_mfdataset(
        sources,
        engine=given["engine"],
        combine="nested",
        concat_dim="time",
        chunks=given["chunks"],
        backend_kwargs={"indexpath": ""} if given["engine"] == "cfgrib" else None,
        data_vars="minimal",
        coords="minimal",
        compat="override",
    ) as dataset:
        encoding = {}
        for name, variable in dataset.data_vars.items():
            variable.encoding.clear()
            encoding[name] = {
                "chunks": (1, *variable.shape[1:]),
                "shards": (given["shard"], *variable.shape[1:]),
                "compressors": [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)],
            }
        if given["shard"] != dataset.chunks["time"][0]:
            dataset = dataset.chunk(time=given["shard"])
        dataset.to_zarr(target, zarr_format=3, encoding=encoding, consolidated=False)
