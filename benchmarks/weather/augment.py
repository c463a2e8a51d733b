"""Flips and turns of fields, the same for inputs and targets of a sample, and right for winds.

What happens to a sample is a function of (seed, epoch, number of the sample): not of its batch, the ranks or the threads.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maelio.errors import BadRequest
from maelio.ledger import spent_on
from maelio.loaders.device import Batch
from maelio.loaders.parts import corners
from maelio.loaders.stream import Stream

Change = Literal["flip_x", "flip_y", "transpose"]
CHANGES: tuple[Change, ...] = ("flip_x", "flip_y", "transpose")
_OTHER_THAN_CROPS = 0xA6  # so that a sample's flips do not follow from where its crop stands


@dataclass(frozen=True, slots=True)
class Winds:
    """Places of the components of vectors along the variable axis of a tensor: eastward (x) and northward (y).

    Raises:
        BadRequest: not as many of the one as of the other.
    """

    eastward: tuple[int, ...] = ()
    northward: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.eastward) != len(self.northward):
            raise BadRequest(f"{len(self.eastward)} eastward and {len(self.northward)} northward components")

    @classmethod
    def among(cls, variables: Sequence[str], pairs: Collection[tuple[str, str]]) -> "Winds":
        """Of the `pairs` of names, such as ("u", "v"), those that stand in `variables`.

        Raises BadRequest: one component stands there without the other, and could not be turned.
        """
        there = [pair for pair in pairs if set(pair) & set(variables)]
        for pair in there:
            if not set(pair) <= set(variables):
                raise BadRequest(f"{pair[0]!r} and {pair[1]!r} turn together; found {tuple(variables)}")
        return cls(
            tuple(variables.index(eastward) for eastward, _ in there),
            tuple(variables.index(northward) for _, northward in there),
        )


def draw(samples: Tensor, *, seed: int, epoch: int, changes: Sequence[Change] = CHANGES) -> Tensor:
    """Whether each of `changes` is made to each sample: each with probability 1/2.

    Shape: samples (sample), int64 -> (sample, change), bool.
    """
    unknown = set(changes) - set(CHANGES)
    if unknown:
        raise BadRequest(f"changes={tuple(changes)}; wanted some of {CHANGES}")
    coins = corners(samples.numpy(), seed=seed ^ _OTHER_THAN_CROPS, epoch=epoch, room=[2] * len(CHANGES))
    return torch.from_numpy(coins[:, [CHANGES.index(change) for change in changes]] == 1)


def apply(fields: Tensor, change: Change, winds: Winds = Winds()) -> Tensor:
    """One change of one sample, (..., variable, y, x). `flip_x` is east for west, `flip_y` north for south.

    The component of a vector along a flipped axis changes its sign; a transposition swaps both. Vectors that are
    axial, such as vorticity, are left alone. Returns a copy.

    Raises BadRequest: a transposition of fields that are not square.
    """
    if change == "transpose":
        if fields.shape[-2] != fields.shape[-1]:
            raise BadRequest(f"transpose of fields of shape {tuple(fields.shape[-2:])}; wanted square ones")
        changed = fields.mT.clone()
        both = [*winds.eastward, *winds.northward]
        changed[..., both, :, :] = changed[..., [*winds.northward, *winds.eastward], :, :]
        return changed
    changed = fields.flip(-1 if change == "flip_x" else -2)
    for component in winds.eastward if change == "flip_x" else winds.northward:
        changed[..., component, :, :].neg_()
    return changed


@dataclass(frozen=True)
class Augment:
    """Changes the samples of a batch where they stand, each by its own draw.

    Args:
        winds: names of the tensors to change, and which of their variables are components of vectors; tensors
            that are not named stay as they are. Of each sample all tensors are changed alike.
    """

    winds: Mapping[str, Winds]
    seed: int = 0
    changes: tuple[Change, ...] = CHANGES

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """`batch` must hold the numbers of its samples as "sample": `stream(..., numbers=True)` delivers them."""
        if missing := {"sample", *self.winds} - set(batch):
            raise BadRequest(f"a batch with {', '.join(batch)}; wanted also {', '.join(sorted(missing))}")
        drawn = draw(batch["sample"].cpu(), seed=self.seed, epoch=epoch, changes=self.changes)
        for sample, change in drawn.nonzero().tolist():
            for name, winds in self.winds.items():
                batch[name][sample] = apply(batch[name][sample], self.changes[change], winds)
        return batch


def augmented(stream: Stream, augment: Augment) -> Iterator[Batch]:
    """The batches of one epoch of `stream`, changed; the time that takes is the ledger's region `transform`."""
    for batch in stream:
        with spent_on("transform"):
            changed = augment(batch, stream.epoch)
        yield changed
