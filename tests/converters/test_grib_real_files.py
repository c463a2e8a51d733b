"""Real GRIB files of twenty projects: every field comes back as eccodes and cfgrib read it, or the refusal says why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAMES = ("*.grib", "*.grb", "*.grib1", "*.grib2", "*.grb2", "wrong_extension_grib.nc")
REFUSED = {  # for a reason that the message gives
    "ced1.lf00.t00z.eta.grb": "neither NetCDF nor GRIB",  # blocked by a mainframe
    "empty_file.grib": "is empty",
    "truncated_grib_mid_message.grib": "message 9 at byte 11520: is cut short",
    "era5-levels-corrupted.grib": "message 1 at byte 0: has sections up to byte",
    "flux.grb": "behind message 4, from byte 46580 on, there is no start of a message",
    "forecast_monthly_ukmo.grib": "has 168 messages, wanted 4480",  # each month from runs of its own
    "sort_data.grib": "wanted one grid",  # 648 of them
    "orca.grib": "wanted one grid",
    "polar_stereographic.grib": "wanted one grid",
    "regular_gg.grib": "wanted one grid",
    "rotated_ll.grib": "wanted one grid",
    "space_view.grib": "wanted one grid",
    "reduced_ll.grib": "starting with b'gridType'",
}


@pytest.mark.slow
def test_every_field_of_real_files_comes_back(shared_data: Path, tmp_path: Path) -> None:
    """In a process of its own, which has to reach the last file."""
    switch = "ECCODES_ECKIT_GEO"  # by which eccodes, and so cfgrib, gives other latitudes; an engine of xarray sets it
    environment = {name: value for name, value in os.environ.items() if name != switch}
    paths = sorted(path for name in NAMES for path in shared_data.rglob(name))
    done = subprocess.run(
        [sys.executable, "-m", "tests.converters.grib_sweep", tmp_path, *paths],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]}: {done.stderr[-3000:]}"
    found = {line["path"]: line for line in lines if "starts" not in line}
    assert {*found} == {*map(str, paths)}
    refused = {Path(path).name: line["refused"] for path, line in found.items() if "refused" in line}
    assert {*refused} == {*REFUSED}
    assert not {name: why for name, why in refused.items() if REFUSED[name] not in why}
    assert sum(line.get("fields", 0) for line in found.values()) > 1800
    assert sum(line.get("cfgrib", 0) for line in found.values()) > 150
