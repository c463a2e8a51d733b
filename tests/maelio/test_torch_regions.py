"""Loops that name no region: torch tells of its own."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import maelio
from maelio import torch_regions
from maelio.ledger import REGIONS, Ledger, Region
from maelio.torch_regions import COLLECTIVES, _Scan


class Model(nn.Module):
    """Parts in parts; `seen` is told the region that is open while each part runs."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.parts = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        self.seen = seen

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.seen.append(now_in())
        result: torch.Tensor = self.parts(values)
        self.seen.append(now_in())
        return result


def now_in() -> Region:
    """The region that the ledger of this thread is in."""
    from maelio.ledger import running

    ledger = running()
    assert ledger is not None
    return REGIONS[ledger._region]


def loader() -> "DataLoader[Any]":
    return DataLoader(TensorDataset(torch.ones(12, 3), torch.ones(12, 1)), batch_size=2)


def train(model: nn.Module, ledger: Ledger, loss: Callable[..., torch.Tensor]) -> list[str]:
    """As anyone writes it; returns the regions between its lines."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[str] = []
    for values, wanted in ledger.batches(loader()):
        error = loss(model(values), wanted)
        seen.append(now_in())
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        seen.append(now_in())
        optimizer.step()
        seen.append(now_in())
    return seen


def test_forward_backward_and_optimizer_of_a_plain_loop_are_found() -> None:
    """The outermost modules alone, in every step; a loss that is a module is forward too."""
    seen: list[str] = []
    with maelio.measure() as ledger:
        between = train(Model(seen), ledger, nn.MSELoss())
    assert set(between) == {"other"}
    assert seen == ["forward"] * 12
    assert ledger.times.steps == 6
    each = ledger.times.each
    assert each is not None
    for region in ("wait", "forward", "backward", "optimizer"):
        assert len(each.regions_s[region]) == 6
        assert all(each.regions_s[region])


def test_nothing_of_it_stays() -> None:
    """Hooks and wrapped functions are gone after the outermost window, also after an error."""
    before = torch.autograd.backward
    model = Model([])

    def fail() -> None:
        with maelio.measure() as ledger:
            assert torch.autograd.backward is not before
            with maelio.measure():
                pass
            assert torch.autograd.backward is not before
            train(model, ledger, nn.functional.mse_loss)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.autograd.backward is before
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_region_that_is_named_comes_before_what_is_found() -> None:
    seen: list[str] = []
    model = Model(seen)
    with maelio.measure() as ledger:
        with ledger.region("checkpoint"):
            model(torch.ones(1, 3))
        model.eval()
        model(torch.ones(1, 3))
    assert seen == ["checkpoint"] * 2 + ["validation"] * 2
    assert "forward" not in ledger.times.regions_s


def test_a_model_that_fails_leaves_its_region() -> None:
    class Failing(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError

    with maelio.measure():
        for _ in range(3):
            with pytest.raises(ArithmeticError):
                Failing()(torch.ones(1))
            assert now_in() == "other"


def test_another_thread_is_not_measured() -> None:
    model, regions = Model([]), list[bool]()

    def compute() -> None:
        from maelio.ledger import running

        model.seen = _Never(regions)
        model.parts(torch.ones(1, 3))
        regions.append(running() is None)

    with maelio.measure() as ledger:
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    assert regions == [True]
    assert "forward" not in ledger.times.regions_s


class _Never(list[str]):
    def __init__(self, regions: list[bool]) -> None:
        self.regions = regions

    def append(self, region: str) -> None:
        raise AssertionError(region)


def test_a_compiled_model_is_forward_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_regions, "_scan", _Scan())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    compiled = torch.compile(model, backend="eager")
    values = torch.ones(2, 3)
    with maelio.measure() as ledger:
        found = [compiled(values) for _ in ledger.batches(range(4))]
    each = ledger.times.each
    assert each is not None
    assert all(each.regions_s["forward"])
    assert all(torch.equal(one, model(values)) for one in found)
    del compiled
    torch._dynamo.reset()
    gc.collect()
    assert not _Scan().compiled()  # or nothing else would be found in this process


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_collectives_that_the_loop_calls_are_communication(tmp_path: Path) -> None:
    distributed = torch.distributed
    assert all(hasattr(distributed, name) for name in COLLECTIVES)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        before = distributed.all_reduce
        with maelio.measure() as ledger:
            values = torch.ones(3)
            for _ in ledger.batches(range(4)):
                distributed.all_reduce(values)
        assert distributed.all_reduce is before
    finally:
        distributed.destroy_process_group()
    each = ledger.times.each
    assert each is not None
    assert all(each.regions_s["communication"])
    assert values.tolist() == [1.0, 1.0, 1.0]
