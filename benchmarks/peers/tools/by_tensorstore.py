"""tensorstore: copied band by band of latitude, as many rows as fit half of the cap."""

import json
import sys

import tensorstore

if __name__ == "__main__":
    target, arguments, source = sys.argv[1:]
    given = json.loads(arguments)
    context = tensorstore.Context({"data_copy_concurrency": {"limit": given["threads"]}})
    path = f"{source}/{given['variable']}"
    fields = tensorstore.open(
        {"driver": "zarr", "kvstore": {"driver": "file", "path": path}}, context=context, open=True
    ).result()
    steps, rows, columns = fields.shape
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4}
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": target}},
        context=context,
        create=True,
        dtype=tensorstore.float32,
        shape=fields.shape,
        chunk_layout=tensorstore.ChunkLayout(chunk_shape=(steps, *given["tile"])),
        codec=tensorstore.CodecSpec(
            {"driver": "zarr3", "codecs": [{"name": "blosc", "configuration": blosc}]}
        ),
    ).result()
    tile = given["tile"][0]
    band = max(1, given["memory"] // 2 // (steps * columns * 4) // tile) * tile
    for first in range(0, rows, band):
        part = (slice(None), slice(first, min(first + band, rows)))
        store[part].write(fields[part]).result()
