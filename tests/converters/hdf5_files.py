"""HDF5 files as others than the NetCDF library write them, with any filter that h5py and hdf5plugin have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

hdf5plugin.register(force=True)  # in place of the NetCDF library's, which cannot write all that these can


def field(dtype: str = "<f4") -> NDArray[Any]:
    """24 steps of 5 x 7 values from 0 on, all different. Shape: (time, y, x)."""
    return np.random.default_rng(0).permutation(24 * 5 * 7).reshape(24, 5, 7).astype(dtype)


def write_hdf5(
    path: Path, values: NDArray[Any], make: Callable[[h5py.Group], h5py.Dataset] | None = None, **storage: Any
) -> Path:
    """`t` (time, y, x) with HDF5 dimension scales, as NetCDF4 readers understand them; `make` creates it."""
    with h5py.File(path, "w", track_order=True) as file:
        for name, size in zip(("time", "y", "x"), values.shape, strict=True):
            file[name] = np.arange(float(size))
            file[name].make_scale(name)
        file["time"].attrs["units"] = "hours since 2000-01-01"
        found = (
            make(file) if make else file.create_dataset("t", data=values, **{"chunks": (5, 5, 7)} | storage)
        )
        for axis, name in enumerate(("time", "y", "x")):
            found.dims[axis].attach_scale(file[name])
    return path
