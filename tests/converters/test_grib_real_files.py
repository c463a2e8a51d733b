"""Real GRIB files of twenty projects: every field comes back as eccodes and cfgrib read it, or the refusal says why."""

from pathlib import Path

import pytest

from maelio.benchmarks.outcomes import outcomes, summary

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
def test_every_field_of_real_files_comes_back(shared_data: Path) -> None:
    """Each in a process of its own. Every fourth; `python -m maelio.benchmarks.outcomes` goes through all of them."""
    every = sorted(path for name in NAMES for path in shared_data.rglob(name))
    paths = [path for number, path in enumerate(every) if number % 4 == 0 or path.name in REFUSED]
    found = list(outcomes(paths, timeout_s=300))
    refused = {Path(outcome.file).name: outcome.cause for outcome in found if outcome.what == "refused"}
    assert {*refused} == {*REFUSED}
    assert not {name: why for name, why in refused.items() if REFUSED[name] not in why}
    assert {outcome.what for outcome in found} == {"equal", "refused"}, summary(found)
    assert sum(outcome.values for outcome in found) > 6e6
