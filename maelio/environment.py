"""What a measurement ran on: enough to judge whether two of them may be compared."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import pynvml
from pydantic import BaseModel, ConfigDict

PACKAGES = (
    "maelio", "climetlab", "xarray", "zarr", "numcodecs", "numpy", "h5py", "netCDF4", "deflate", "crc32c",
    "dask", "torch", "nvidia-ml-py", "prefect",
)  # fmt: skip


class Environment(BaseModel):
    """Null means not known here, never zero."""

    model_config = ConfigDict(frozen=True)

    host: str
    system: str
    python: str
    processor: str | None
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    packages: dict[str, str | None]


def installed(package: str) -> str | None:
    """The version of a distribution, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str | None:
    """The processor's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def gpus() -> tuple[str, ...]:
    """The names of the NVIDIA devices that NVML shows; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        count = pynvml.nvmlDeviceGetCount()
        return tuple(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count))
    finally:
        pynvml.nvmlShutdown()


def environment() -> Environment:
    return Environment(
        host=platform.node(),
        system=platform.platform(),
        python=platform.python_version(),
        processor=processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus(),
        packages={package: installed(package) for package in PACKAGES},
    )
