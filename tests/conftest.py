"""What all tests share: programs that may be missing, and sample files beside the repository."""

import os
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is about how fast an example is; where CI runs, the examples of today are those of tomorrow
settings.register_profile(
    "maelio", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("maelio")

ROOT = Path(__file__).parents[1]
_INSTALL = {
    "chromium": "apt-get install chromium",
    "slurmctld": "apt-get install slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge",
}


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """`needs("chromium")` is that program's path.

    Without it the test is skipped and says how to install it; it fails where MAELIO_REQUIRE lists the name.
    """

    def find(program: str) -> str:
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if path is None:
            message = f"{program} is not installed: {_INSTALL[program]}"
            if program in re.split(r"[,\s]+", os.environ.get("MAELIO_REQUIRE", "")):
                pytest.fail(f"{message} (MAELIO_REQUIRE lists it)")
            pytest.skip(message)
        return path

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Sample files that lie beside the repository, in shared/data."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no sample files in ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def hadgem() -> Path:
    """HadGEM2 near-surface air temperature over North America: A1B_north_america.nc, E1_north_america.nc."""
    if find_spec("iris_sample_data") is None:
        pytest.skip('iris-sample-data is not installed: pip install "maelio[samples]"')
    import iris_sample_data

    return Path(iris_sample_data.path)
