"""`xr.open_dataset(store, engine="maelio")`: the source's variables, names and attributes, out of a store."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.core.indexing import LazilyIndexedArray

from maelio.attributes import restore
from maelio.lazy import Stacked, Unstacked
from maelio.store import Store, open_store


class MaelioBackend(BackendEntrypoint):
    """Opens lazily, decodes times and coordinates as xarray does for the original files."""

    description = "Open stores written by maelio as the datasets they were made from"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | PathLike[str],
        *,
        mask_and_scale: bool = True,
        decode_times: bool = True,
        concat_characters: bool = True,
        decode_coords: bool = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: bool | None = None,
        decode_timedelta: bool | None = None,
    ) -> xr.Dataset:
        store = open_store(Path(filename_or_obj))
        return xr.decode_cf(
            undecoded(store),
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            use_cftime=use_cftime,
            decode_timedelta=decode_timedelta,
        )

    def guess_can_open(self, filename_or_obj: object) -> bool:
        return False  # a store is also plain Zarr; the user says which view is wanted


def undecoded(store: Store) -> xr.Dataset:
    """The source's variables in its order, lazily, with its raw attributes."""
    arrays = xr.open_zarr(store.group, chunks=None, decode_cf=False).variables
    variables: dict[str, xr.Variable] = {}
    for name, source in store.contents.variables.items():
        variable = arrays[source.array] if source.array in arrays else _lazy(store, source.array)
        if source.array in store.arrays:
            stack = store.arrays[source.array]
            position = {stack.dimensions[1]: stack.variables.index(name)}
            variable = _unstacked(store, variable.isel(position)).transpose(*source.dimensions)
        variables[name] = variable.copy(deep=False)
        variables[name].attrs = restore(source.attributes)
        variables[name].encoding = {"preferred_chunks": _preferred(store, source.array, source.dimensions)}
    return xr.Dataset(variables, attrs=restore(store.contents.attributes))


def _lazy(store: Store, array: str) -> xr.Variable:
    return xr.Variable(store.arrays[array].dimensions, LazilyIndexedArray(Stacked(store, array)))


def _unstacked(store: Store, variable: xr.Variable) -> xr.Variable:
    """With the dimensions that samples were drawn from, in place of the one axis that stands for them."""
    sizes = store.contents.samples
    if not sizes:
        return variable
    lazy = LazilyIndexedArray(Unstacked(variable, tuple(sizes.values())))
    return xr.Variable((*sizes, *variable.dims[1:]), lazy)


def _preferred(store: Store, array: str, dimensions: Iterable[str]) -> dict[str, int]:
    if array not in store.arrays:
        return {}
    stack = store.arrays[array]
    sizes = dict(zip(stack.dimensions, stack.chunk_shape, strict=True))
    rows = stack.rows_per_chunk
    for dimension, size in reversed(store.sizes.items()):  # rows fill the fastest dimension first
        sizes[dimension] = min(rows, size)
        rows = max(rows // size, 1)
    return {dimension: sizes[dimension] for dimension in dimensions}
