"""What of a batch a model is given, and what its prediction is compared with."""

from collections.abc import Callable

from torch import Tensor, nn

from maelio.errors import BadRequest
from maelio.loaders.device import Batch

Task = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
"""(model, batch) -> prediction and target, of one shape."""


def maps(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Fields to fields: "inputs" and "targets", (sample, variable, y, x); steps of a window become more variables.

    Raises BadRequest: the batch has no such tensors, or the model predicts another shape.
    """
    if not {"inputs", "targets"} <= set(batch):
        raise BadRequest(
            f"a batch with {', '.join(batch)}; wanted inputs and targets: name them in data.stream"
        )
    target = flat(batch["targets"])
    prediction: Tensor = model(flat(batch["inputs"]))
    if prediction.shape != target.shape:
        raise BadRequest(f"the model predicts {tuple(prediction.shape)}; wanted {tuple(target.shape)}")
    return prediction, target


def flat(fields: Tensor) -> Tensor:
    """(sample, step, variable, y, x) -> (sample, step * variable, y, x); without steps as it is."""
    return fields.flatten(1, 2) if fields.ndim == 5 else fields
