"""A run of the quick start, repeated with what was predicted to help."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from maelio.benchmarks.explain import Diagnosis
from maelio.benchmarks.next_year import compare_loading
from maelio.benchmarks.replay import in_one_line, verify
from maelio.benchmarks.stages import Remedy, Stages
from maelio.converters.convert import convert
from maelio.errors import BadRequest, NotFound
from maelio.records import Reference, RunRecord, record_of


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """torch's threads spin while they wait, which starves those of the stream where cores are few."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def record(hadgem: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    source = hadgem / "E1_north_america.nc"
    store = convert([source], tmp_path_factory.mktemp("stores") / "E1.zarr")
    times = compare_loading(source, store, epochs=1, threads=1).times
    inputs = [Reference(uri=str(store.path), digest=store.digest)]
    return record_of("pipeline", times, parameters={"threads": 1}, inputs=inputs)


def proposing(arm: str, *remedies: Remedy) -> Diagnosis:
    return Diagnosis(arm, "decode", 0.02, 0.04, Stages(), {}, remedies, ())


def remedy(kind: str, value: str) -> Remedy:
    return Remedy(kind, value, f"{kind} {value}", Stages(), 0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "kind", "value"),
    [("maelio", "threads", "2"), ("maelio", "codec", "none"), ("naive", "loader", "maelio")],
)
def test_a_remedy_is_applied_and_measured_on_the_same_batches(
    record: RunRecord, arm: str, kind: str, value: str
) -> None:
    """What cannot be applied here is passed over; the prediction is that part of what the run as it was takes now."""
    seen = verify(record, proposing(arm, remedy("ahead", "2"), remedy(kind, value)), epochs=1)
    assert seen.remedy.kind == kind
    assert seen.predicted_s == pytest.approx(seen.before_s / 2)
    assert seen.measured_s > 0
    assert seen.error == pytest.approx(seen.predicted_s / seen.measured_s - 1)
    assert in_one_line(seen).startswith(f"verified: {kind} {value}: ")


def test_a_run_that_cannot_be_repeated_is_refused(record: RunRecord) -> None:
    helps = proposing("maelio", remedy("threads", "2"))
    with pytest.raises(BadRequest, match="is a run of 'mine'; wanted one of pipeline"):
        verify(record.model_copy(update={"name": "mine"}), helps)
    with pytest.raises(BadRequest, match="nothing that can be applied"):
        verify(record, proposing("maelio", remedy("ahead", "1")))
    with pytest.raises(NotFound, match="its store is gone"):
        verify(record.model_copy(update={"inputs": ()}), helps)
