"""A run that stopped in the middle of an epoch goes on there, whoever keeps its state."""

import subprocess
import sys
from pathlib import Path

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

from maelio.errors import BadRequest
from maelio.loaders.order import Tail
from maelio.loaders.stream import stream
from tests.loaders.handwritten import field, write_store
from tests.loaders.test_stream import rows_of


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """20 rows; row r begins with 24 r."""
    return write_store(tmp_path / "store.zarr", {"fields": field(20, 2, 3, 4)})


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@pytest.mark.parametrize("tail", ["short", "pad"])
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 7, 9])
def test_torchdata_goes_on_in_the_middle_of_an_epoch(store: Path, stop: int, tail: Tail) -> None:
    """Its state carries the stream's: three epochs are the same with and without a stop."""

    def loader() -> StatefulDataLoader[object]:
        return StatefulDataLoader(stream(store, batch_size=3, seed=1, tail=tail), batch_size=None)

    through = loader()
    whole = [rows_of([batch]) for _ in range(3) for batch in through]
    before = loader()
    epochs = iter(before)
    seen = []
    for _ in range(stop):
        try:
            batch = next(epochs)
        except StopIteration:
            epochs = iter(before)
            batch = next(epochs)
        seen.append(rows_of([batch]))
    state = before.state_dict()
    after = loader()
    after.load_state_dict(state)
    while len(seen) < len(whole):
        seen += [rows_of([batch]) for batch in after]
    assert seen[: len(whole)] == whole


# In an interpreter of its own, as workers are forked: see test_processes.py
WITH_WORKERS = """
import sys
from torchdata.stateful_dataloader import StatefulDataLoader
from maelio import stream

store, workers, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def loader(workers=workers):
    return StatefulDataLoader(stream(store, batch_size=3, seed=1), batch_size=None, num_workers=workers)

def rows(batch):
    return [int(value) // 24 for value in batch["fields"][:, 0, 0, 0]]

whole = [rows(batch) for batch in loader()]
assert whole == [rows(batch) for batch in stream(store, batch_size=3, seed=1)]
before = loader()
batches = iter(before)
seen = [rows(next(batches)) for _ in range(stop)]
state = before.state_dict()
del batches, before
after = loader()
after.load_state_dict(state)
batches = iter(after)
seen += [rows(next(batches))]
state = after.state_dict()
del batches, after
after = loader()
after.load_state_dict(state)
seen += [rows(batch) for batch in after]
assert seen == whole, (seen, whole)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_torchdata_goes_on_with_as_many_workers(store: Path, workers: int, stop: int) -> None:
    """Also when it stops twice."""
    command = [sys.executable, "-c", WITH_WORKERS, str(store), str(workers), str(stop)]
    subprocess.run(command, check=True, timeout=120)


def test_the_state_of_a_worker_is_refused_elsewhere(store: Path) -> None:
    """It tells where that worker's next batch begins, and nothing of the others."""
    batches = stream(store, batch_size=3)
    with pytest.raises(BadRequest, match="of worker 1 of 2; go on with as many"):
        batches.load_state_dict({**batches.state_dict(), "worker": [1, 2]})


def test_an_iterator_that_is_not_used_skips_nothing(store: Path) -> None:
    """Loaders make some to look at."""
    batches = stream(store, batch_size=3, seed=1)
    for _ in range(3):
        iter(batches)
    assert rows_of(batches) == rows_of(stream(store, batch_size=3, seed=1))
    assert batches.state_dict()["epoch"] == 1


WITH_LIGHTNING = """
import sys
import torch
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader
from maelio import stream
import lightning

store, folder = sys.argv[1:]
order = dict(batch_size=3, seed=1)

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, number):
        self.seen.append([int(value) // 24 for value in batch["fields"][:, 0, 0, 0]])
        return self.layer(batch["fields"][:, 0, 0, :1]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)

def fit(max_steps, **more):
    model = Model()
    loader = StatefulDataLoader(stream(store, **order), batch_size=None)
    trainer = lightning.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )
    trainer.fit(model, loader, **more)
    return model, trainer

wanted = stream(store, **order)
whole = [[int(value) // 24 for value in batch["fields"][:, 0, 0, 0]] for _ in range(2) for batch in wanted]
model, trainer = fit(4)
assert model.seen == whole[:4], model.seen
trainer.save_checkpoint(folder + "/stopped.ckpt")
after, _ = fit(11, ckpt_path=folder + "/stopped.ckpt")
assert model.seen + after.seen == whole[:11], (model.seen, after.seen, whole)
"""


@pytest.mark.slow
def test_lightning_goes_on_in_the_middle_of_an_epoch(store: Path, tmp_path: Path) -> None:
    """By the checkpoint of its trainer, into the next epoch."""
    subprocess.run([sys.executable, "-c", WITH_LIGHTNING, str(store), str(tmp_path)], check=True, timeout=300)
