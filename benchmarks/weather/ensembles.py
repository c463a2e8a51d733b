"""The continuous ranked probability score, of an ensemble and of a normal distribution; and how unusual an ensemble is.

All can be differentiated, and so are losses too: take their mean.
"""

from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor

from maelio.errors import BadRequest


def ensemble_crps(members: Tensor, truth: Tensor, *, dim: int = -1, fair: bool = True) -> Tensor:
    """Mean absolute error of the members, less half their mean distance to each other.

    Args:
        dim: of `members`, the axis along which they lie.
        fair: the mean distance is over pairs of different members, so that the score does not favour large
            ensembles; else over all M * M pairs, which is the integral of the squared distance between the
            ensemble's distribution and the step at the truth.

    Shape: `members` has one axis more than `truth` -> that of `truth`. Unit: that of both.
    Raises:
        BadRequest: shapes that do not fit; `fair` of one member.
    Source: Zamo and Naveau 2018, doi:10.1007/s11004-017-9709-7, eCRPS(PWM) and eCRPS(INT); the distance by ranks.
    """
    ordered = members.movedim(dim, -1).sort(-1).values
    if ordered.shape[:-1] != truth.shape:
        raise BadRequest(f"members {tuple(members.shape)} along {dim} against truth {tuple(truth.shape)}")
    count = ordered.shape[-1]
    if fair and count < 2:
        raise BadRequest("the fair CRPS of one member; wanted two or more, or fair=False")
    error = (ordered - truth[..., None]).abs().mean(-1)
    ranks = torch.arange(1, count + 1, dtype=ordered.dtype, device=ordered.device)
    half_distance = ((2 * ranks - count - 1) * ordered).mean(-1) / (count - 1 if fair else count)
    return error - half_distance


def gaussian_crps(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Of the normal distribution of this mean and standard deviation, `std` above 0.

    Shape: any, the same for all. Unit: that of all.
    Source: Gneiting et al. 2005, doi:10.1175/MWR2904.1, equation 5.
    """
    z = (truth - mean) / std
    density = torch.exp(-z.square() / 2) / sqrt(2 * pi)
    return std * (z * torch.erf(z / sqrt(2)) + 2 * density - 1 / sqrt(pi))


def extreme_forecast_index(members: Tensor, climate: Tensor, levels: Tensor, *, dim: int = -1) -> Tensor:
    """From -1, all members below the climate, to 1, all above; near 0 where they are distributed as it is.

    Args:
        climate: its quantiles, one for each of `levels` along its last axis.
        levels: the probabilities of these quantiles, rising and equally spaced, within 0 and 1, both left out.

    What the tails beyond the outermost levels would add is left out, as ENS-10 does: with levels from 0.05 to
    0.95 the index stays within 0.8.

    Shape: members (..., member), climate (..., level), levels (level) -> (...). Unit: none.
    Raises:
        BadRequest: levels that are not as said, or not those of `climate`.
    Source: Lalaurette 2003, doi:10.1256/qj.02.152; the sum over levels as in ENS-10, arXiv:2206.14786.
    """
    steps = np.diff(levels.double().numpy(force=True))
    if climate.shape[-1:] != levels.shape or len(levels) < 2 or not 0 < levels.min() <= levels.max() < 1:
        raise BadRequest(
            f"levels {levels.tolist()} of quantiles {tuple(climate.shape)}; wanted one each, within 0 and 1"
        )
    if not (np.all(steps > 0) and np.allclose(steps, steps[0])):
        raise BadRequest(f"levels {levels.tolist()}; wanted rising and equally spaced")
    below = (members.movedim(dim, -1)[..., None, :] < climate[..., :, None]).to(climate.dtype).mean(-1)
    summed = ((levels - below) / (levels * (1 - levels)).sqrt()).sum(-1)
    return 2 / pi * float(steps[0]) * summed


def eecrps(members: Tensor, truth: Tensor, index: Tensor, *, dim: int = -1, fair: bool = True) -> Tensor:
    """`ensemble_crps`, weighed by how extreme the forecast was: by the size of the extreme forecast index.

    Shape: of `index` as of `truth` -> the same. Source: ENS-10, arXiv:2206.14786, section 4.
    """
    return index.abs() * ensemble_crps(members, truth, dim=dim, fair=fair)
