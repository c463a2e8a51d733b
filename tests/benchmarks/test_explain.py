"""A slow store is called fetch, a slow decoder decode, a slow model compute: by real loops, and by given times."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

import maelio
from maelio.background import Background
from maelio.benchmarks.explain import Data, Diagnosis, Mean, diagnose, explain, in_words
from maelio.benchmarks.probe import data_in, data_of
from maelio.benchmarks.stages import STALLED, Codec
from maelio.codecs import Codec as Packing
from maelio.ledger import REGIONS, Steps, Times, Work, spent_on
from maelio.loaders.shardfile import ShardFile
from maelio.records import Reference, record_of
from maelio.store import open_store
from tests.loaders.handwritten import Layout, write_store

DELAY_S = 0.05
SLOW = 10 * DELAY_S  # of which each loop below has ten


class Model(nn.Module):
    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.delay_s = delay_s

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        time.sleep(self.delay_s)
        return self.weight * values.mean()


def train(batches: Any, delay_s: float = 0.0) -> Times:
    """A plain loop with two lines around it."""
    model = Model(delay_s)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with maelio.measure() as ledger:
        for batch in ledger.batches(batches):
            model(batch["fields"] if isinstance(batch, dict) else batch).backward()
            optimizer.step()
    return ledger.times


def delayed(function: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(DELAY_S)
        return function(*arguments, **options)

    return slow


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve samples, each a chunk."""
    return write_store(tmp_path / "store.zarr", {"fields": some_values()}, Layout(rows=1))


def some_values() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(12, 2, 8, 8)).astype(np.float32)


def told(times: Times, **options: Any) -> Diagnosis:
    return diagnose("mine", Mean.of([times], **options))


def test_a_slow_store_is_fetch(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing computes while it fetches, so none of it is hidden."""
    monkeypatch.setattr(ShardFile, "fetch", delayed(ShardFile.fetch))
    times = train(maelio.stream(store, batch_size=1, threads=1))
    assert times.work is not None
    assert times.work.fetch_s >= 12 * DELAY_S
    assert times.background is not None
    assert times.background.of("fetch") >= 12 * DELAY_S
    assert times.background.of("fetch") > times.background.of("decode")
    assert times.unoverlapped_io_s is not None
    assert times.unoverlapped_io_s >= SLOW
    assert times.regions_s["wait"] >= SLOW
    assert told(times).shares["stall"] > 0.5
    assert told(times).bound == "fetch"


def test_a_slow_decoder_is_decode(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packing, "decode", delayed(Packing.decode))
    times = train(maelio.stream(store, batch_size=1, threads=1))
    assert times.work is not None
    assert times.work.decode_s >= 12 * DELAY_S
    assert told(times).shares["stall"] > 0.5
    assert told(times).bound == "decode"
    assert not told(times, cores=1).remedies  # one core decodes no faster with two threads


def test_a_slow_model_is_compute(store: Path) -> None:
    """Whatever else a busy machine does to single steps, the loop does not stand still for data."""
    times = train(maelio.stream(store, batch_size=1, threads=1), DELAY_S)
    assert times.regions_s["forward"] >= 12 * DELAY_S
    assert told(times).shares["compute"] > 0.5
    assert told(times).bound not in ("fetch", "decode", "loading", "transform")


def test_where_data_is_there_in_time_the_words_say_so() -> None:
    found = told(some_steps([0.01] * 20))
    assert found.bound == "compute"
    assert not found.remedies
    assert in_words(found) == ["bound by computing: 10 ms (100%) of a step of 10 ms; data is there in time"]


class Foreign(Dataset[torch.Tensor]):
    """Nobody's but the user's, who says what it does where it does it."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        with spent_on("decode"):
            time.sleep(DELAY_S)
        return torch.ones(3)


def test_a_foreign_loader_may_say_what_it_does() -> None:
    times = train(DataLoader(Foreign()))
    assert times.regions_s["decode"] >= SLOW
    assert told(times).bound == "decode"
    assert times.work is None


def test_a_foreign_loader_that_says_nothing_is_loading() -> None:
    def batches() -> Any:
        for _ in range(10):
            time.sleep(DELAY_S)
            yield torch.ones(3)

    times = train(batches())
    assert times.regions_s["wait"] >= SLOW
    found = told(times)
    assert found.bound == "loading"
    assert "does not tell" in in_words(found)[0]


def some_steps(walls: Sequence[float], wait: float = 0.0, **others: Any) -> Times:
    """Steps that compute, and wait for that part of their time; step 0 is like the others."""
    waits, computes = [wait * wall for wall in walls], [(1 - wait) * wall for wall in walls]
    each = Steps.model_validate(
        {"numbers": range(len(walls)), "regions_s": {"wait": waits, "forward": computes}}
    )
    return Times(
        wall_s=sum(walls),
        regions_s={"wait": sum(waits), "forward": sum(computes)},
        steps=len(walls),
        samples=len(walls),
        each=each,
        **others,
    )


def test_single_slow_steps_are_stragglers() -> None:
    """And the words say in which region they are slow."""
    found = told(some_steps([0.01] * 19 + [0.2]))
    assert found.bound == "stragglers"
    assert found.by_s == pytest.approx(0.01, rel=0.1)
    assert "most of it in `forward`" in " ".join(in_words(found))


def test_the_first_step_is_told_apart() -> None:
    """It starts the loader: no pace of a run, but no less of its time."""
    found = told(some_steps([1.0] + [0.01] * 50))
    assert found.step_s == pytest.approx(0.01)
    assert "the first step of an epoch takes 990 ms longer than the others, 66% of the epoch" in found.notes


def test_what_has_no_name_is_flagged() -> None:
    times = Times(wall_s=1.0, regions_s={"forward": 0.9, "other": 0.09}, steps=3, samples=3)
    assert times.unnamed_share == pytest.approx(0.1)
    assert any("10% of an epoch has no name" in note for note in told(times).notes)
    named = Times(wall_s=1.0, regions_s={"forward": 0.97, "other": 0.02}, steps=3, samples=3)
    assert not told(named).notes


def test_workers_that_were_waited_for_are_told_to_be_more() -> None:
    """Of processes only the wait is known: while the loop waits, all of them are at work."""
    found = told(some_steps([0.01] * 20, wait=0.8, workers=2), cores=8)
    assert found.bound == "loading"
    assert [(one.kind, one.value) for one in found.remedies] == [("threads", "8"), ("threads", "4")]
    assert found.remedies[1].step_s == pytest.approx(0.005)


seconds = st.floats(1e-6, 10)


@given(st.dictionaries(st.sampled_from(REGIONS), seconds, min_size=1), st.integers(1, 100), st.integers(0, 4))
def test_anything_measured_is_explained(regions: dict[Any, float], steps: int, threads: int) -> None:
    """Shares are of the step, and no more than all of it; what is proposed is faster."""
    wall = sum(regions.values())
    background = Background(threads=threads, cells_s={"wait": {"fetch": wall}}) if threads else None
    times = Times(
        wall_s=wall, regions_s=regions, steps=steps, samples=1, background=background,
        work=Work(fetch_s=wall, decode_s=wall / 3) if threads else None,
    )  # fmt: skip
    found = told(times)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert 0 <= found.by_s <= found.step_s * (1 + 1e-9)
    assert all(remedy.step_s < found.step_s for remedy in found.remedies)
    assert in_words(found)
    if found.shares["stall"] > STALLED + 1e-9:
        assert found.bound in ("fetch", "decode", "transform", "loading")


def test_what_the_codecs_make_of_a_store_is_measured(store: Path) -> None:
    """Of noise, they make no less than there is; without codec all bytes are there."""
    data = data_in(open_store(store))
    assert data.codec == "lz4"
    assert data.codecs["none"].stored == 1
    assert all(0.5 < codec.stored < 1.2 for codec in data.codecs.values())
    assert data.excess([Work(stored_bytes=300, delivered_bytes=100)]) == pytest.approx(
        3 / data.codecs["lz4"].stored
    )
    assert data.excess([Work(stored_bytes=10, delivered_bytes=100)]) == 1


def test_the_store_of_a_run_is_looked_at_while_it_is_the_same(store: Path) -> None:
    digest = open_store(store).digest
    found = [
        data_of(record_of("mine", {}, inputs=[Reference(uri=str(path), digest=one)]))
        for path, one in ((store, digest), (store, "crc32c:00000000"), (store / "gone", digest))
    ]
    assert [one is not None for one in found] == [True, False, False]


def test_a_record_is_explained_arm_by_arm() -> None:
    """The loader of an arm that reads ahead is proposed to one that does not."""
    background = Background(threads=2, cells_s={"forward": {"fetch": 0.01}})
    ahead = some_steps(
        [0.01] * 10, background=background, work=Work(fetch_s=0.01, stored_bytes=100, delivered_bytes=100)
    )
    record = record_of("mine", {"slow": [some_steps([0.02] * 10, wait=0.5)], "fast": [ahead], "none": []})
    slow, fast = explain(record, Data("lz4", {"lz4": Codec(0.5, 1.0), "none": Codec(1.0, 0.0)}))
    assert (slow.bound, fast.bound) == ("loading", "compute")
    assert {(one.kind, one.value) for one in slow.remedies} == {("ahead", "1"), ("loader", "fast")}
