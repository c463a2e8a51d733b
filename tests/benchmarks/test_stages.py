"""The model of a step: laws that any prediction keeps, and what it proposes."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.benchmarks.stages import (
    STALLED,
    Codec,
    Stages,
    calibrated,
    predicted_s,
    remedies,
    with_codec,
    with_loader,
)

TIMES = [field.name for field in fields(Stages) if field.name not in ("threads", "cores")]
seconds = st.floats(1e-6, 10) | st.just(0.0)
some_stages = st.builds(
    Stages, **dict.fromkeys(TIMES, seconds), threads=st.integers(0, 8), cores=st.integers(1, 8)
)
some_codecs = st.dictionaries(
    st.sampled_from(("none", "lz4", "zstd")),
    st.builds(Codec, st.floats(0.01, 1), st.floats(1e-6, 5) | st.just(0.0)),
    min_size=1,
)


@given(some_stages, st.sampled_from(TIMES), st.floats(0, 10))
def test_a_step_is_no_shorter_where_a_stage_is_longer(stages: Stages, name: str, more: float) -> None:
    longer = replace(stages, **{name: getattr(stages, name) + more})
    assert longer.step_s >= stages.step_s


@given(some_stages)
def test_another_thread_or_core_never_makes_a_step_longer(stages: Stages) -> None:
    """Nor does reading ahead at all, with as many threads as cores."""
    if stages.threads:
        assert replace(stages, threads=stages.threads + 1).step_s <= stages.step_s
        assert replace(stages, cores=stages.cores + 1).step_s <= stages.step_s
    assert replace(stages, threads=max(1, stages.threads)).step_s <= stages.step_s


@given(some_stages)
def test_a_step_lies_between_its_longest_part_and_all_of_them(stages: Stages) -> None:
    assert stages.step_s >= stages.loop_s
    assert stages.step_s >= stages.loading_s
    assert stages.step_s <= stages.loop_s + stages.loading_s


@given(some_stages, st.floats(1e-3, 10), st.floats(0, 1))
def test_of_the_run_itself_the_model_says_what_was_measured(
    stages: Stages, step_s: float, stalled: float
) -> None:
    """Where the loop waits the loader sets the pace; where it does not, the loop."""
    base = calibrated(stages, step_s, stalled * step_s)
    assert predicted_s(base, base, step_s) == pytest.approx(step_s)
    if stages.threads and stages.loading_s > 1e-6:
        if stalled > STALLED + 1e-9:
            assert base.loading_s == pytest.approx(step_s)
        elif stalled < STALLED - 1e-9:
            assert base.loading_s <= base.loop_s * (1 + 1e-9)


@given(
    some_stages,
    st.floats(1e-3, 10),
    some_codecs,
    st.floats(1, 20),
    st.dictionaries(st.sampled_from("ab"), some_stages),
)
def test_no_remedy_is_proposed_that_is_predicted_to_be_slower(
    stages: Stages, step_s: float, codecs: dict[str, Codec], excess: float, loaders: dict[str, Stages]
) -> None:
    """The best stands first, and none takes the loop's own work away."""
    found = remedies(stages, step_s, codec=min(codecs), codecs=codecs, excess=excess, loaders=loaders)
    assert all(remedy.step_s < step_s for remedy in found)
    assert [remedy.step_s for remedy in found] == sorted(remedy.step_s for remedy in found)
    for remedy in found:
        assert remedy.stages.loop_s == stages.loop_s
        assert remedy.step_s == predicted_s(stages, remedy.stages, step_s)


@given(some_stages, st.floats(1e-3, 10), some_codecs)
def test_where_the_data_is_there_in_time_there_is_nothing_to_propose(
    stages: Stages, step_s: float, codecs: dict[str, Codec]
) -> None:
    base = replace(stages, threads=max(1, stages.threads), compute=stages.loading_s + 11)
    assert not remedies(base, step_s, codec=min(codecs), codecs=codecs, excess=3)


@given(some_stages, st.builds(Codec, st.floats(0.01, 1), st.floats(0.01, 5)))
def test_the_codec_that_is_there_changes_nothing(stages: Stages, codec: Codec) -> None:
    changed = with_codec(stages, codec, codec)
    assert (changed.fetch, changed.decode) == pytest.approx((stages.fetch, stages.decode))


def test_a_run_bound_by_decoding_is_told_of_threads_and_of_codecs() -> None:
    """40 ms of a thread to decode, 4 to fetch, 10 to compute: two threads wait, four do not."""
    base = Stages(fetch=0.004, decode=0.040, compute=0.010, threads=1, cores=8)
    codecs = {"none": Codec(1.0, 0.0), "zstd": Codec(0.25, 0.040)}
    found = remedies(base, 0.044, codec="zstd", codecs=codecs)
    assert [(one.kind, one.value) for one in found] == [("threads", "4"), ("codec", "none"), ("threads", "2")]
    assert [one.step_s for one in found] == pytest.approx([0.011, 0.016, 0.022])
    assert found[0].in_words(0.044) == "load with 4 threads: predicted 11 ms a step (4.00 times as fast)"


def test_threads_do_not_help_where_the_cores_are_taken() -> None:
    base = Stages(decode=0.040, compute=0.010, threads=2, cores=2)
    assert not remedies(base, 0.020)


def test_a_loader_that_does_not_read_ahead_is_told_to() -> None:
    base = Stages(prepare=0.030, compute=0.040)
    assert base.step_s == pytest.approx(0.070)
    (found,) = remedies(base, 0.070)
    assert (found.kind, found.value) == ("ahead", "1")
    assert found.step_s == pytest.approx(0.040)


def test_the_loader_of_another_arm_is_proposed_where_it_is_faster() -> None:
    slow, fast = Stages(prepare=0.100, compute=0.010), Stages(fetch=0.001, compute=9.0, threads=2, cores=2)
    assert with_loader(slow, fast).step_s == pytest.approx(0.010)
    assert remedies(slow, 0.110, loaders={"maelio": fast})[0].value == "maelio"


def test_what_is_read_for_nothing_is_a_matter_of_layout() -> None:
    base = Stages(fetch=0.080, compute=0.010, threads=1)
    assert [one.step_s for one in remedies(base, 0.080, excess=4.0) if one.kind == "layout"] == [
        pytest.approx(0.020)
    ]
