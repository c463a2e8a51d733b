"""Laws of all descriptions: what is legal gives requests, what is not one line, and twins give the same."""

import inspect
import json
import tomllib
from dataclasses import replace
from datetime import date
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maelio.errors import BadRequest, NotFound
from maelio.plugins.base import Described
from maelio.plugins.catalogue import CLASSES, page
from maelio.plugins.description import Argument, Description
from maelio.plugins.legal import Dates, Flag, Illegal, Legal, Steps, Text, Unheeded, Words
from maelio.plugins.radiation import Radiation
from maelio.plugins.yr import Yr
from tests.conftest import ROOT

SIGNATURES = {  # of the public plugins, as their users call them
    "maelstrom-yr": "size, parameter='air_temperature', dates=None, "
    "location='https://object-store.os-api.cci1.ecmwf.int/maelstrom-ap1/', pattern='{parameter}/{size}/{datestr}.nc', "
    "x_range=None, y_range=None, limit_leadtimes=None, limit_predictors=None, probabilistic_target=False, "
    "normalize=False, predict_diff=False, verbose=False",
    "maelstrom-radiation": "dataset='tripleclouds', date='20200101', timestep=0, subset=None, raw_inputs=True, "
    "minimal_outputs=False, all_outputs=False, patch=[0, 2, 4, 6, 8, 10, 12, 14], heating_rate=True, hr_units='K d-1', "
    "topnetflux=False, gather_fluxes=False",
    "maelstrom-radiation-tf": "dataset='tripleclouds', subset=None, timestep=[0], filenum=[0], "
    "input_fields=['sca_inputs', 'col_inputs', 'hl_inputs', 'inter_inputs', 'pressure_hl'], "
    "output_fields=['sw', 'lw', 'hr_sw', 'hr_lw'], minimal_outputs=False, topnetflux=False, netflux=False, norm=None, "
    "path=None, nonormsolar=False, hr_units='K d-1', shuffle_files=True",
    "maelstrom-nogwd": "date=None, subset=None",
    "maelstrom-ens10": "date, dtype='pl'",
    "maelstrom-ens5mini": "date, dtype='pl'",
    "maelstrom-downscaling-tier1": "months=None, dataset=None",
    "maelstrom-downscaling-tier2": "months=None, dataset=None",
    "maelstrom-downscaling": "months=None, dataset=None",
    "maelstrom-constants-a-b": "",
    "maelstrom-power-production": "wind_turbine_id",
    "maelstrom-weather-model-level": "date=None",
    "maelstrom-weather-pressure-level": "date=None",
    "maelstrom-weather-surface-level": "date=None",
}
COUNTS = {  # files of each subset, as the public plugins fetch them
    "maelstrom-radiation": {"tier-1": 16, "2020": 12064},
    "maelstrom-radiation-tf": {
        "tier-1": 1, "tier-1-val": 1, "tier-1-test": 1, "2020": 1508, "2019013100": 116, "2019053100": 116,
        "2019082900": 116, "2019102800": 116, "tier-2": 319, "tier-2-val": 6, "tier-2-test": 6, "tier-3": 44,
        "tier-3-val": 6, "tier-3-test": 6,
    },
    "maelstrom-nogwd": {"tier-1": 1, "training": 12, "validation": 3, "testing": 3},
    "maelstrom-downscaling-tier1": {
        "training": 24, "validation": 3, "testing": 3, "training_aug": 1, "validation_aug": 1, "testing_aug": 1,
    },
    "maelstrom-downscaling-tier2": {"training": 264, "validation": 12, "testing": 12},
}  # fmt: skip

every = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: str(kind.name))


def values(legal: Legal) -> st.SearchStrategy[Any]:
    """What may be given, also in other spellings than the one."""
    match legal:
        case Words(words):
            return st.sampled_from(words) | st.sampled_from(words).map(str.upper)
        case Steps():
            return st.sampled_from(legal.values) | st.sampled_from(legal.values).map(str)
        case Flag():
            return st.booleans()
        case Dates():
            return st.sampled_from(legal.values)
        case Text(end=end):
            return st.sampled_from(["https://host/folder", "folder"]).map(lambda text: text + end)
        case _:
            return st.none() | st.integers()


def given_to(argument: Argument) -> st.SearchStrategy[Any]:
    one = values(argument.legal)
    return one | st.lists(one, min_size=1, max_size=3) if argument.many else one


@st.composite
def calls(draw: st.DrawFn, about: Description) -> dict[str, Any]:
    """Arguments that are legal together."""
    called = {
        each.name: draw(given_to(each))
        for each in about.arguments
        if each.name != "pattern" and (each.required or draw(st.booleans()))
    }
    called = {**about.minimal, **called}
    bound = replace(about, rule=lambda _: None).bind((), called)
    assume(about.rule(bound) is None)  # no two that exclude each other
    return called


@every
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_legal_call_means_distinct_files(kind: type[Described], data: st.DataObject) -> None:
    """Wholly formatted URLs, and fields that are JSON; the same for the same call, and for its one spelling."""
    about = kind.description
    called = data.draw(calls(about))
    requests = about.requests(called)
    urls = [each.url for each in requests]
    assert urls
    assert len(set(urls)) == len(urls)
    assert not any(mark in url for url in urls for mark in "{} '")
    assert len({json.dumps(dict(each.fields), sort_keys=True) for each in requests}) == len(urls)
    assert requests == about.requests(called) == about.requests(about.bind((), called))


@every
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_twin_is_the_same_data(kind: type[Described], data: st.DataObject) -> None:
    called = data.draw(calls(kind.description))
    assert kind.twin.description.requests(called) == kind.description.requests(called)
    assert kind.twin.description.key == kind.description.key
    assert kind.twin.name == f"maelio-{kind.name.removeprefix('maelstrom-')}"
    assert inspect.signature(kind.twin) == inspect.signature(kind)


@every
@given(
    wrong=st.sampled_from(
        ["zebra", 10**9 + 1, -1, 0.5, "1850-13-01", float("nan"), b"x", ["zebra"], [0, "zebra"]]
    )
)
def test_every_illegal_value_is_one_line_that_names_it(kind: type[Described], wrong: Any) -> None:
    for argument in kind.description.arguments:
        if isinstance(argument.legal, Unheeded | Text) and not getattr(argument.legal, "end", ""):
            continue
        with pytest.raises(BadRequest) as caught:
            kind.description.bind((), {**kind.description.minimal, argument.name: wrong})
        assert str(caught.value).startswith(f"dataset '{kind.name}': {argument.name} ")
        assert f": must be {argument.legal}" in str(caught.value)
        assert "\n" not in str(caught.value)


@given(
    steps=st.tuples(st.integers(-9, 9), st.integers(1, 99), st.integers(1, 9)), value=st.integers(-200, 200)
)
def test_the_nearest_step_is_a_step_and_none_is_nearer(steps: tuple[int, int, int], value: int) -> None:
    first, more, step = steps
    legal = Steps(first, first + more, step)
    if value in legal.values:
        assert legal.normal(value) == value
        return
    with pytest.raises(Illegal) as caught:
        legal.normal(value)
    nearest = caught.value.nearest
    assert isinstance(nearest, int)
    assert nearest in legal.values
    assert abs(nearest - value) == min(abs(each - value) for each in legal.values)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"timestep": 130}, "timestep 130: must be 0..3500 step 125, nearest 125"),
        ({"timestep": [0, 125, 3501]}, "timestep 3501: must be 0..3500 step 125, nearest 3500"),
        ({"date": "20200110"}, "date '20200110': must be one of 17 dates 20190131..20201226, nearest 20200101"),
        ({"hr_units": "K/d"}, "hr_units 'K/d': must be one of K s-1, K d-1, nearest K d-1"),
        ({"timesteps": 0}, "no argument 'timesteps', nearest 'timestep'"),
        ({"patch": []}, "patch []: names none"),
        ({"minimal_outputs": True, "gather_fluxes": True}, "minimal_outputs and gather_fluxes exclude each other"),
        ({"version": "0.1"}, "version '0.1': must be 0.7"),
        ({"source": "sythetic"}, "source 'sythetic': must be original or synthetic, nearest synthetic"),
        ({"scale": 0}, "scale 0: must be above 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call_is_told_in_these_words(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Radiation(**arguments)
    assert str(caught.value) == f"dataset 'maelstrom-radiation': {line}"


def test_what_is_missing_or_given_twice_is_told() -> None:
    with pytest.raises(BadRequest, match=r"^dataset 'maelstrom-yr': needs argument 'size': one of 5GB, 5TB$"):
        Yr()
    with pytest.raises(BadRequest, match="argument 'size' was given twice"):
        Yr("5GB", size="5GB")
    with pytest.raises(BadRequest, match="14 arguments, takes 13: size, parameter"):
        Yr("5GB", *[None] * 13)


@pytest.mark.parametrize(
    "day",
    [
        "20200131",
        "2020-01-31",
        20200131,
        date(2020, 1, 31),
        np.datetime64("2020-01-31"),
        pd.Timestamp("2020-01-31"),
    ],
)
def test_a_date_may_be_spelt_in_many_ways(day: Any) -> None:
    (first, *_) = Radiation(date=day, patch=3).urls()
    assert first.endswith("/rad4NN_inputs_2020013100_0c3.nc")


def test_dates_may_be_a_range_a_list_or_whatever_is_iterated() -> None:
    """Of days of which there is no file in between, a warning tells."""
    wanted = [f"202005{day}" for day in (21, 23)]
    for dates in (
        "2020-05-21/to/2020-05-23",
        "2020-05-21/2020-05-23",
        pd.date_range("2020-05-21", "2020-05-23"),
    ):
        assert Yr("5GB", dates=dates).arguments["dates"] == wanted


def test_a_day_without_a_file_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert len(Yr("5GB", dates=["2020-05-21", "2020-05-22"]).urls()) == 1
    assert "dates 20200522 has no file and is left out" in caplog.text
    with pytest.raises(BadRequest, match=r"dates \['2020-05-22'\]: names none"):
        Yr("5GB", dates=["2020-05-22"])
    assert len(Yr("5TB").urls()) == 724


def test_urls_stand_in_the_order_in_which_climetlab_reads_them() -> None:
    """Sorted as text, inputs before outputs: columns of ours stand where they stand in the public plugin's."""
    names = [url.rpartition("/")[2] for url in Radiation(patch=[2, 10, 0]).urls()]
    assert names == [
        f"{inout}_2020010100_0c{patch}.nc"
        for inout in ("rad4NN_inputs", "triplecloud_outputs")
        for patch in (0, 10, 2)
    ]


@pytest.mark.parametrize(("id", "signature"), SIGNATURES.items())
def test_arguments_are_those_of_the_public_plugin(id: str, signature: str) -> None:
    (kind,) = (each for each in CLASSES if each.name == id)
    ours = str(inspect.signature(kind))[1:-1]
    assert ours == signature


@pytest.mark.parametrize("id", COUNTS)
def test_subsets_have_as_many_files_as_they_should(id: str) -> None:
    (about,) = (each.description for each in CLASSES if each.name == id)
    found = {label: len(about.requests({about.subset_argument: label})) for label in about.subsets}
    assert found == COUNTS[id]


def test_every_name_is_registered_and_gives_its_class() -> None:
    """Those of HadGEM, and of each class and its twin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["climetlab.datasets"]
    found = {name: EntryPoint(name, value, "climetlab.datasets").load() for name, value in entries.items()}
    del found["maelio-hadgem"]
    assert found == {each.name: each for kind in CLASSES for each in (kind, kind.twin)}


def test_the_page_is_what_follows_from_the_descriptions() -> None:
    assert (ROOT / "docs" / "datasets.md").read_text() == page(), "maelio datasets show > docs/datasets.md"


def test_what_there_are_only_stand_ins_of_says_so() -> None:
    (tweets,) = (each for each in CLASSES if each.name == "maelstrom-tweets")
    with pytest.raises(NotFound) as caught:
        tweets()
    assert str(caught.value) == (
        "dataset 'maelstrom-tweets': its texts were never public, the terms of Twitter do not allow it; for a stand-in pass "
        'source="synthetic" or set MAELIO_SYNTHETIC=1'
    )
