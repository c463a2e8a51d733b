"""maelio itself, by `maelio.stream`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from maelio.loaders.stream import stream


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[torch.Tensor]]:
    batches = stream(folder, batch_size=given["batch_size"], seed=0, threads=given["threads"])

    def epoch(number: int) -> Iterator[torch.Tensor]:
        batches.set_epoch(number)
        for batch in batches:
            (tensor,) = batch.values()
            yield tensor

    return epoch
