"""Losses against other ways to compute them."""

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor, nn

from maelio.benchmarks.weather.latitude import latitude_weights
from maelio.benchmarks.weather.losses import MSSSIM, SSIM, Error, LatitudeWeighted, Mixture, mssim_loss
from maelio.errors import BadRequest

LATITUDE = np.linspace(87.5, -87.5, 36)


def pair(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two fields that look alike, in float64."""
    random = np.random.default_rng(seed)
    truth = random.standard_normal(shape).cumsum(-1).cumsum(-2) / 30
    return torch.from_numpy(truth + 0.2 * random.standard_normal(shape)), torch.from_numpy(truth)


@pytest.mark.parametrize("error", ["mse", "mae", "rmse"])
def test_weighted_errors_are_those_of_xarray(error: Error) -> None:
    prediction, target = pair(2, 3, 36, 72)
    difference = xr.DataArray(
        (prediction - target).numpy(), dims=("sample", "variable", "latitude", "longitude")
    )
    of = abs(difference) if error == "mae" else difference**2
    mean = float(of.weighted(xr.DataArray(latitude_weights(LATITUDE).numpy(), dims="latitude")).mean())
    found = LatitudeWeighted(LATITUDE, error)(prediction, target)
    assert float(found) == pytest.approx(mean**0.5 if error == "rmse" else mean, rel=1e-12)


def _statistics(
    x: NDArray[np.float64], y: NDArray[np.float64], data_range: float, size: int = 11
) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure of two fields, straight from Wang et al. 2004."""
    half = size // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def local(field: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = correlate1d(correlate1d(field, window, axis=0), window, axis=1)[
            half:-half, half:-half
        ]
        return smooth

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = local(x), local(y)
    vx, vy, both = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    structure = (2 * both + c2) / (vx + vy + c2)
    return float(((2 * mx * my + c1) / (mx**2 + my**2 + c1) * structure).mean()), float(structure.mean())


def _halved(field: NDArray[np.float64]) -> NDArray[np.float64]:
    halves: NDArray[np.float64] = field.reshape(field.shape[0] // 2, 2, field.shape[1] // 2, 2).mean((1, 3))
    return halves


def test_ssim_is_that_of_wang() -> None:
    prediction, target = pair(1, 1, 40, 50)
    wanted, _ = _statistics(prediction[0, 0].numpy(), target[0, 0].numpy(), 4.3)
    assert float(SSIM(4.3)(prediction, target)) == pytest.approx(1 - wanted, abs=1e-6)


@pytest.mark.parametrize("window", [11, 7])
def test_ms_ssim_is_that_of_wang(window: int) -> None:
    prediction, target = pair(1, 1, 176, 208)
    x, y = prediction[0, 0].numpy(), target[0, 0].numpy()
    wanted, weights = 1.0, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for scale, weight in enumerate(weights):
        alike, structure = _statistics(x, y, 4.3, window)
        wanted *= max(structure if scale < 4 else alike, 0) ** weight
        if scale < 4:
            x, y = _halved(x), _halved(y)
    assert float(MSSSIM(4.3, window)(prediction, target)) == pytest.approx(1 - wanted, abs=1e-6)


@pytest.mark.parametrize("loss", [SSIM(4.3), MSSSIM(4.3), LatitudeWeighted(LATITUDE, "rmse"), mssim_loss()])
def test_what_is_equal_has_no_loss(loss: nn.Module) -> None:
    _, target = pair(2, 2, 36 if isinstance(loss, LatitudeWeighted) else 162, 164)
    assert float(loss(target, target)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (SSIM(4.3), (1, 1, 12, 13)),
        (MSSSIM(4.3, 3), (1, 1, 33, 34)),
        (LatitudeWeighted([10, 20, 30], "rmse"), (2, 3, 4)),
        (Mixture({"mae": (0.3, nn.L1Loss()), "ssim": (2.0, SSIM(1.0))}), (1, 2, 11, 12)),
    ],
)
def test_gradients_are_those_of_differences(loss: nn.Module, shape: tuple[int, ...]) -> None:
    prediction, target = pair(*shape)
    assert torch.autograd.gradcheck(loss, (prediction.requires_grad_(), target), fast_mode=True)


def test_the_published_mixture() -> None:
    """0.16 MAE and 0.84 of 1 - MS-SSIM; and the parts sum to the whole."""
    prediction, target = pair(1, 1, 170, 168)
    loss = mssim_loss()
    wanted = 0.16 * (prediction - target).abs().mean() + 0.84 * MSSSIM(4.3)(prediction, target)
    assert float(loss(prediction, target)) == pytest.approx(float(wanted), rel=1e-12)
    parts = loss.parts(prediction, target)
    assert list(parts) == ["mae", "msssim"]
    assert float(sum(parts.values())) == pytest.approx(float(wanted), rel=1e-12)


def test_the_window_of_11_wants_sides_of_161() -> None:
    MSSSIM(4.3)(*pair(1, 1, 161, 161))
    with pytest.raises(BadRequest, match=r"\(1, 1, 160, 161\).* at least 161"):
        MSSSIM(4.3)(*pair(1, 1, 160, 161))
    MSSSIM(4.3, 7)(*pair(1, 1, 128, 128))


@pytest.mark.parametrize("loss", [SSIM(1.0), MSSSIM(1.0, 3), LatitudeWeighted([1, 2, 3])])
def test_fields_of_two_shapes_are_refused(loss: nn.Module) -> None:
    """Nothing is broadcast."""
    with pytest.raises(BadRequest, match=r"prediction .* against target"):
        loss(torch.zeros(1, 1, 33, 33), torch.zeros(1, 33, 33))


def test_other_requests_are_refused() -> None:
    with pytest.raises(BadRequest, match="error='rms'"):
        LatitudeWeighted([1, 2], "rms")  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="no losses"):
        Mixture({})
