"""A stream among processes: workers of a DataLoader, ranks of a training, and the signal that ends it.

Every case runs in interpreters of its own: a fork of this one would inherit whatever other tests imported.
Prefect, once it has run a flow, lets every forked child end with exit code 1, which a DataLoader reports as a failure.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.loaders.handwritten import Layout, field, write_store
from tests.loaders.test_values import statistics_of

pytestmark = pytest.mark.slow  # each starts torch anew


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """20 rows; row r begins with 24 r."""
    return write_store(tmp_path / "store.zarr", {"fields": field(20, 2, 3, 4)})


THROUGH_A_DATA_LOADER = """
import sys
from torch.utils.data import DataLoader
from maelio import stream

def rows_of(batches):
    return [int(value) // 24 for batch in batches for value in batch["fields"][:, 0, 0, 0]]

if __name__ == "__main__":
    store, workers, method = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    batches = stream(store, batch_size=3, seed=2, missing="mask", crop={"d0": 2})
    alone = rows_of(batches)
    batches.set_epoch(0)
    loader = DataLoader(batches, batch_size=None, num_workers=workers, multiprocessing_context=method or None)
    assert len(loader) == len(batches) == 7
    assert rows_of(loader) == alone
"""


@pytest.mark.parametrize(("workers", "method"), [(0, ""), (2, "fork"), (2, "spawn")])
def test_a_data_loader_keeps_the_order(store: Path, tmp_path: Path, workers: int, method: str) -> None:
    """Also in processes forked after this one read and decoded from the store itself."""
    script = tmp_path / "loader.py"
    script.write_text(THROUGH_A_DATA_LOADER)
    subprocess.run([sys.executable, script, store, str(workers), method], check=True, timeout=120)


KEPT = """
import os, sys
from maelio import stream
from maelio.loaders.scratch import Scratch

batches, scratch = stream(sys.argv[1], batch_size=4, shuffle=False), Scratch()
kept, held = next(iter(batches))["fields"], scratch.take(8)
held[:] = bytes(8)
child = os.fork()
if not child:
    for batch in batches:
        batch["fields"][:] = -1
    kept[:] = -1
    scratch.take(8)[:] = bytes([255] * 8)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert kept[:, 0, 0, 0].tolist() == [0, 24, 48, 72], kept
assert bytes(held) == bytes(8)
"""


def test_what_a_process_keeps_its_forks_cannot_change(store: Path) -> None:
    """Neither a batch nor the memory of a thread."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", KEPT, store], check=True, timeout=120)


DAMAGED = """
import sys
from torch.utils.data import DataLoader
from maelio import stream
from maelio.errors import BadData

try:
    list(DataLoader(stream(sys.argv[1], batch_size=3), batch_size=None, num_workers=1))
except BadData as error:
    assert "chunk 0 of array 'fields'" in str(error), error
    assert "in _fill" in str(error), error
else:
    raise SystemExit("a damaged chunk was delivered")
"""


def test_damage_found_in_a_worker_reaches_the_loop(store: Path) -> None:
    """By its own class, with the traceback of the thread in the worker."""
    shard = next(file for file in store.glob("fields/c/0/**/0") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[5] ^= 0xFF
    shard.write_bytes(content)
    subprocess.run([sys.executable, "-c", DAMAGED, store], check=True, timeout=120)


INTERRUPTED = """
import errno, sys
import maelio.loaders.stream as module
from maelio.loaders.shardfile import Patience, _Mapping

batches = module.stream(sys.argv[1], batch_size=3, threads=2)
if sys.argv[2] == "disk fails":
    batches.patience = Patience(3, pause_s=3600)
    next(iter(batches))

    def fail(*arguments):
        raise OSError(errno.EIO, "broken")

    _Mapping.fetch = fail
print("reading", flush=True)
while True:
    for batch in batches:
        pass
"""


@pytest.mark.parametrize("what", ["reads", "disk fails"])
def test_ctrl_c_ends_it_at_once(tmp_path: Path, what: str) -> None:
    """Also while its threads wait an hour to try again."""
    store = write_store(tmp_path / "s", {"fields": field(20, 2, 3, 4)}, Layout(codec="none"))
    command = [sys.executable, "-c", INTERRUPTED, str(store), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert told.rstrip().endswith("KeyboardInterrupt")


TRAINED = """
import json, sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from maelio import stream

store, meeting, rank, world = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)

def train(tail):
    torch.manual_seed(0)
    model = nn.Linear(12, 1).double()
    if world > 1:
        model = DistributedDataParallel(model)
    batches = stream(store, batch_size=8, seed=3, inputs=["v0"], targets=["v1"], tail=tail, standardise=True)
    assert (batches.cut.place.rank, batches.cut.place.world) == (rank, world)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        for batch in batches:
            guess = model(batch["inputs"].flatten(1))[:, 0]
            error = (guess - batch["targets"].flatten(1).mean(1)) ** 2
            valid = batch.get("valid", torch.ones(len(error), dtype=torch.bool))
            count = valid.sum().double()
            if world > 1:
                distributed.all_reduce(count)
            loss = (error * valid).sum() * world / count  # its mean over the ranks is that of the batch
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = loss.detach().clone()
            if world > 1:
                distributed.all_reduce(total)
            losses.append(total.item() / world)
    return losses

print(json.dumps([train("drop"), train("pad")]))
if world > 1:
    distributed.destroy_process_group()
"""


def train(store: Path, meeting: Path, world: int) -> list[list[list[float]]]:
    """The losses that each rank saw, with tail `drop` and with `pad`."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINED, str(store), str(meeting), str(rank), str(world)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        told = [process.communicate(timeout=200)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert not any(process.returncode for process in ranks)
    return [json.loads(text) for text in told]


def test_ranks_train_as_one_process_does(tmp_path: Path) -> None:
    """Two and four real processes over gloo: the same losses, step by step, for three epochs."""
    values = np.random.default_rng(5).normal(3, 2, (38, 2, 3, 4))
    store = write_store(tmp_path / "s", {"fields": values}, statistics=statistics_of(values, by_level=False))
    ((drop, pad),) = train(store, tmp_path / "alone", 1)
    assert (len(drop), len(pad)) == (3 * (38 // 8), 3 * 5)
    assert drop[-1] < drop[0]
    for world in (2, 4):
        for losses in train(store, tmp_path / f"meet{world}", world):
            np.testing.assert_allclose(losses[0], drop, rtol=1e-12)
            np.testing.assert_allclose(losses[1], pad, rtol=1e-12)
