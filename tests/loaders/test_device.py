"""Batches on another device. The CUDA cases run only where there is one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maelio.errors import BadRequest
from maelio.loaders.stream import stream
from tests.loaders.handwritten import field, write_store

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store.zarr", {"fields": field(20, 2, 3, 4)})


ORDER: dict[str, Any] = {"batch_size": 6, "seed": 1, "missing": "mask", "tail": "pad"}


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_on_the_cpu_a_device_changes_nothing(store: Path, device: Any) -> None:
    """The batch is the memory that was read into, and that memory is used again."""
    plain = stream(store, **ORDER)
    batches = stream(store, device=device, **ORDER)
    for batch, wanted in zip(batches, plain, strict=True):
        assert batch.keys() == wanted.keys() == {"fields", "fields.missing", "valid"}
        assert all(torch.equal(batch[name], wanted[name]) for name in batch)
    pages = {batch["fields"].data_ptr() for _ in range(20) for batch in batches}
    assert len(pages) <= batches.buffers.batches


def test_every_tensor_is_delivered_on_the_device(store: Path) -> None:
    """Of torch's devices, `meta` is everywhere: it has shapes and no values. A transform sees the device."""
    devices: list[str] = []

    def look(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        devices.extend(tensor.device.type for tensor in batch.values())
        return batch

    batches = stream(store, device="meta", transform=look, **ORDER)
    shapes = [tuple(batch["fields"].shape) for _ in range(3) for batch in batches]
    assert shapes == [(6, 2, 3, 4)] * 12
    assert devices == ["meta"] * 3 * 12
    assert batches.work.delivered_bytes > 0


def test_damage_reaches_the_loop_from_another_device_too(store: Path) -> None:
    """Nothing is sent of a batch that could not be read."""
    shard = next(file for file in store.glob("fields/c/0/**/0") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[5] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(Exception, match="chunk 0 of array 'fields'"):
        list(stream(store, device="meta", batch_size=2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused(store: Path) -> None:
    """At once."""
    with pytest.raises(BadRequest, match="device='cuda': torch finds no CUDA device"):
        stream(store, batch_size=2, device="cuda")


def test_a_device_that_torch_does_not_know_is_refused(store: Path) -> None:
    """In one line."""
    with pytest.raises(BadRequest, match="device='abacus': ") as caught:
        stream(store, batch_size=2, device="abacus")
    assert "\n" not in str(caught.value)


@cuda
@pytest.mark.parametrize("keep", [False, True])
def test_cuda_gets_what_the_cpu_gets(store: Path, keep: bool) -> None:
    """While it computes, and whether batches are kept or dropped."""
    wanted = [batch["fields"].clone() for _ in range(10) for batch in stream(store, **ORDER)]
    batches = stream(store, device="cuda", **ORDER)
    busy = torch.randn(2000, 2000, device="cuda")
    found = []
    for _ in range(10):
        batches.set_epoch(0)
        for batch in batches:
            busy = busy @ busy / 1000  # the copies run beside this
            found.append(batch["fields"] if keep else batch["fields"].sum())
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.cpu(), other if keep else other.cuda().sum().cpu())
