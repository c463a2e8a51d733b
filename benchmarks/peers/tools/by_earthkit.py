"""earthkit-data: GRIB to xarray on dask's threads, and its `to_zarr`, as float32."""

import json
import sys

import dask
import earthkit.data
from zarr.codecs import BloscCodec

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    dask.config.set(scheduler="threads", num_workers=given["threads"])
    dataset = earthkit.data.from_source("file", sources).to_xarray(
        dtype="float32",
        chunks={"forecast_reference_time": given["shard"]},
        add_earthkit_attrs=False,
    )
    encoding = {
        name: {
            "chunks": (1, *variable.shape[1:]),
            "shards": (given["shard"], *variable.shape[1:]),
            "compressors": [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)],
        }
        for name, variable in dataset.data_vars.items()
    }
    dataset.to_zarr(target, zarr_format=3, encoding=encoding, consolidated=False)
