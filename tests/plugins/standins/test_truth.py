"""What is known about the numbers of stand-ins, found again in them as a user would."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from maelio.plugins.standins import downscaling, ens10, nogwd, power, tweets, yr
from tests.plugins.standins.requests import made


@pytest.mark.parametrize(("name", "level"), [("t", 850), ("z", 500), ("u", 300)])
def test_emos_recovers_bias_and_spread(name: str, level: int) -> None:
    """Truth on the ensemble's mean, in units of the spread: intercept -BIAS, slope 1, variance RATIO**2 + 1/10."""
    about = ens10.hindcasts({"dtype": "pl", "month": "07", "day": "02"}, scale=0.3, seed=5)
    spread = ens10.spread(about, name, level, 48)[:, None]
    off, slopes = [], []
    for year in about.years:
        members = [ens10.member(about, name, level, number, year, 48) for number in range(1, 11)]
        mean, truth = np.mean(members, 0), ens10.truth(about, name, level, year, 48)
        off.append((truth - mean) / spread)
        slopes.append(np.polyfit(mean.ravel(), truth.ravel(), 1)[0])
        seen = np.std(members, 0, ddof=1) / spread
        assert np.mean(seen**2) == pytest.approx(1, abs=0.1)
    assert np.mean(off) == pytest.approx(-ens10.BIAS, abs=0.15)
    assert np.mean(slopes) == pytest.approx(1, abs=0.05)
    assert np.var(off) == pytest.approx(ens10.UNDERDISPERSION**2 + 0.1, rel=0.15)


def test_what_a_grib_file_holds_are_the_members(tmp_path: Path) -> None:
    """Within what 16 bits can say."""
    path = made(tmp_path, "ens10-sfc")
    about = ens10.hindcasts({"dtype": "sfc", "month": "01", "day": "04"}, scale=0.0005)
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as file:
        for name, short in (("t2m", "2t"), ("sst", "sst"), ("tp", "tp"), ("msl", "msl")):
            found = file[name].sel(number=7, time="1999-01-04", step="48h").values
            wanted = ens10.member(about, short, None, 7, 1999, 48)
            step = float(np.nanmax(wanted) - np.nanmin(wanted)) / 2**14
            np.testing.assert_allclose(found, wanted, atol=step, rtol=1e-6)


def test_the_target_of_yr_is_the_forecast_and_its_biases(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "yr-5GB", scale=1.0)) as file:
        predictor, static = file.predictors.values.astype("f8"), file.static_predictors.values.astype("f8")
        target = file.target_mean.values.astype("f8")
        units = dict(zip(file.predictor.values, file.predictor_units.values, strict=True))
    assert units == yr.PREDICTORS
    at = [*yr.PREDICTORS].index
    sat = [*yr.STATIC_PREDICTORS].index
    height = static[..., sat("altitude")] - static[..., sat("model_altitude")]
    known = [
        predictor[..., at("bias_yesterday")],
        static[..., sat("bias_recent")] + 0 * target,
        height + 0 * target,
    ]
    left = target - predictor[..., at("air_temperature_2m")]
    shares, _, _, _ = np.linalg.lstsq(np.stack([field.ravel() for field in known], 1), left.ravel())
    np.testing.assert_allclose(shares, [yr.YESTERDAY, yr.RECENT, yr.ALTITUDE], rtol=0.05)
    rest = left - sum(share * field for share, field in zip(shares, known, strict=True))
    assert rest.std() == pytest.approx(yr.NOISE, rel=0.02)
    assert (predictor[..., 0] < predictor[..., 2]).all()
    assert (predictor[..., 2] < predictor[..., 1]).all()


@pytest.mark.parametrize(
    ("kind", "scale", "given", "target", "low", "high"),
    [
        ("tier1", 0.25, "t2m_in", "t2m_tar", "z_in", "z_tar"),
        ("tier2", 0.04, "2t_in", "t_2m_tar", "z_in", "hsurf_tar"),
    ],
)
def test_finer_temperature_follows_finer_terrain(
    tmp_path: Path, kind: str, scale: float, given: str, target: str, low: str, high: str
) -> None:
    """A lapse rate of 6.5 K in a kilometre, and no more is known but the noise."""
    with xr.open_dataset(made(tmp_path, kind, scale=scale)) as file:
        height = (file[high] - file[low]).values.ravel().astype("f8")
        warmer = (file[target] - file[given]).values.ravel().astype("f8")
    slope, _ = np.polyfit(height, warmer, 1)
    assert slope == pytest.approx(-0.0065, rel=0.05)
    assert np.std(warmer - slope * height) < 5 * downscaling.NOISE


def test_a_coarse_field_has_the_means_of_the_fine_one() -> None:
    """Where it is linear, it is the same."""
    ramp = np.add.outer(np.arange(32.0), 2 * np.arange(48.0))
    np.testing.assert_allclose(downscaling.coarsened(ramp, 8)[4:-4, 4:-4], ramp[4:-4, 4:-4])
    assert downscaling.coarsened(np.full((16, 16), 7.0), 8).tolist() == np.full((16, 16), 7.0).tolist()


def test_the_pole_of_the_rotated_grid_is_turned_back() -> None:
    """The grid's origin lies at 50.75 N, 18 E. A point and its distance to it do not depend on the grid."""
    rlat, rlon = np.array([-3.0, 0.0, 2.0]), np.array([-10.0, 0.0, 4.0])
    latitude, longitude = (np.radians(field) for field in downscaling.unrotated(rlat, rlon))
    assert np.degrees([latitude[1, 1], longitude[1, 1]]).tolist() == pytest.approx([50.75, 18.0])
    cosine = np.sin(latitude) * np.sin(latitude[1, 1]) + np.cos(latitude) * np.cos(latitude[1, 1]) * np.cos(
        longitude - longitude[1, 1]
    )
    wanted = np.multiply.outer(np.cos(np.radians(rlat)), np.cos(np.radians(rlon)))
    np.testing.assert_allclose(cosine, wanted, atol=1e-6)


def test_production_is_the_power_curve_of_the_models_wind(tmp_path: Path) -> None:
    """Of the file of the turbine, and of the model's weather around it."""
    with xr.open_dataset(made(tmp_path, "production", scale=0.05)) as file:
        flat = {str(name): values.values.ravel() for name, values in file.data_vars.items()}
        rating = float(file.attrs["power rating [kW]"])
        hours = ((file.time.values - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")).astype("f8")
        place = (file.latitude.values, file.longitude.values)
    running = (flat["status"] == 1) & (flat["curtailment"] == 0)
    error = flat["production"] - power.power_curve(flat["wind_speed"], rating)
    assert np.abs(error[running]).max() < 6 * power.OUTPUT_NOISE * rating
    assert (flat["production"][flat["status"] == 0] == power.IDLE * rating).all()
    assert 0.005 < flat["curtailment"].mean() < 0.04
    u, v = (power.wind(name, *place, hours, 0)[:, 0, 0] for name in "uv")
    assert np.std(flat["wind_speed"] - np.hypot(u, v)) == pytest.approx(power.GUSTS, rel=0.05)


def test_a_power_curve_rises_to_its_rating() -> None:
    speed = np.array([0, 2.99, 3.0, 8.0, 12.5, 20.0, 24.99, 25.0])
    found = power.power_curve(speed, 2000.0)
    assert found[[0, 1, 2, 7]].tolist() == [0, 0, 0, 0]
    assert 0 < found[3] < found[4] == found[5] == found[6] == 2000


def test_the_wind_of_the_weather_is_that_of_the_turbines(tmp_path: Path) -> None:
    """At level 133, within what 16 bits can say."""
    with xr.open_dataset(made(tmp_path, "ml")) as file:
        hub = file.sel(level=133)
        seconds = ((file.time.values - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")).astype("f8")
        wanted = power.wind(
            "u", file.latitude.values.astype("f8"), file.longitude.values.astype("f8"), seconds, 0
        )
        np.testing.assert_allclose(hub.u.values, wanted, atol=2e-3)


def test_words_tell_whether_it_rains(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "tweets", scale=0.03)) as file:
        texts, raining, tp = file.text.values, file.raining.values.astype(bool), file.tp.values
    np.testing.assert_array_equal(raining, tp > tweets.THRESHOLD)
    for state, share in tweets.RAIN_SHARE.items():
        words = " ".join(texts[raining == state]).split()
        assert np.mean([word in tweets.RAIN_WORDS for word in words]) == pytest.approx(share, rel=0.15)
    assert 0.1 < raining.mean() < 0.5


def test_rain_of_tweets_is_that_of_the_map(tmp_path: Path) -> None:
    """Joined by half hour and rounded place, as the classifier's data are made."""
    with (
        xr.open_dataset(made(tmp_path, "tweets", scale=0.1)) as words,
        xr.open_dataset(made(tmp_path, "precipitation", scale=0.02)) as rain,
    ):
        here = words.isel(index=np.flatnonzero(words.time_half.values <= rain.time_half.values[-1]))
        assert here.sizes["index"] > 100
        joined = rain.tp_h.sel(
            time_half=here.time_half,
            latitude=here.latitude_rounded,
            longitude=here.longitude_rounded,
            method="nearest",
        )
        np.testing.assert_allclose(joined.values, here.tp.values, atol=2e-9)


def test_drag_slows_the_wind_and_grows_upwards(tmp_path: Path) -> None:
    with xr.open_dataset(made(tmp_path, "nogwd")) as file:
        x, y = file.x.values.astype("f8"), file.y.values.astype("f8")
    wind, pressure = x[:, :126], nogwd.levels(x[:, 189])
    np.testing.assert_allclose(y, nogwd.increments(wind, pressure), rtol=1e-5, atol=1e-9)
    assert (y * wind <= 0).all()
    ratio = np.abs(y).sum(0) / np.abs(wind).sum(0)
    assert (np.diff(ratio[:63]) <= 1e-9).all()
    assert 150 < x[:, 126:189].min() < x[:, 126:189].max() < 330
    assert 70000 < x[:, 189].min() < x[:, 189].max() < 108000
