"""A small source that most tests start from."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.converters.netcdf_files import write_netcdf


@pytest.fixture
def field() -> NDArray[np.float32]:
    """24 steps of 5 x 7 temperatures, no two values equal. Shape: (time, latitude, longitude); K."""
    return (np.random.default_rng(0).permutation(24 * 5 * 7).reshape(24, 5, 7) / 10 + 240).astype(np.float32)


@pytest.fixture
def netcdf(tmp_path: Path, field: NDArray[np.float32]) -> Path:
    return write_netcdf(tmp_path / "source.nc", {"t2m": field}, zlib=True, shuffle=True, chunksizes=(5, 2, 3))
