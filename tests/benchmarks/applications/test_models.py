"""Models of the applications: their shapes, sizes and what holds by construction."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maelio.benchmarks.applications.ens10 import EMOS, PointMLP, ResNet2d, Scaled, unet
from maelio.benchmarks.applications.power import PowerCurve, nmae, predictors
from maelio.benchmarks.applications.quantiles import QuantileLoss
from maelio.benchmarks.applications.radiation import (
    CNN,
    RNN,
    MinimalCNN,
    Together,
    absorbed,
    heating_rate,
    incoming,
    largest_of,
)
from maelio.benchmarks.applications.texts import TextClassifier
from maelio.benchmarks.applications.unet import UNet, WeatherUNet
from maelio.benchmarks.weather.ensembles import gaussian_crps
from maelio.errors import BadRequest


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (WeatherUNet(42), 5_716_001),
        (ResNet2d(42), 3_762_530),
        (EMOS(10), 13),
        (PointMLP(14, torch.linspace(90, -90, 3), torch.linspace(0, 240, 4)), 128 * 18 + 2 * 129),
    ],
    ids=lambda value: type(value).__name__,
)
def test_published_models_have_as_many_parameters(model: nn.Module, parameters: int) -> None:
    """As the layers of the published code make them."""
    assert size(model) == parameters


@pytest.mark.parametrize("model", [UNet(5, 2, width=4), WeatherUNet(5, 2, unit=2)])
def test_maps_come_out_as_large_as_they_went_in(model: nn.Module) -> None:
    assert model(torch.randn(2, 5, 32, 64)).shape == (2, 2, 32, 64)


def test_only_the_published_u_net_wants_sides_of_its_own() -> None:
    assert UNet(5, 2, width=4)(torch.randn(1, 5, 37, 49)).shape == (1, 2, 37, 49)
    with pytest.raises(BadRequest, match=r"maps of \(37, 49\); wanted sides"):
        WeatherUNet(5, 2, unit=2)(torch.randn(1, 5, 37, 49))


def test_the_resnet_is_shown_its_channel() -> None:
    """What the other channels are, it comes out again with a weight of its own."""
    model = ResNet2d(6, skip=4, unit=4).eval()
    assert model(torch.randn(2, 6, 9, 10)).shape == (2, 1, 9, 10)
    with torch.no_grad():
        model.last.weight.zero_()
        model.last.weight[0, 0] = 2.0
        model.last.bias.zero_()  # type: ignore[union-attr]
    maps = torch.randn(1, 6, 8, 8)
    torch.testing.assert_close(model(maps), 2 * maps[:, 4:5])


def test_emos_begins_as_the_ensemble_and_finds_what_is_wrong_with_it() -> None:
    """Truth from N(1.5 + 0.8 mean, (0.5 + 2 std)^2): its parameters come back, and its CRPS is below the raw one."""
    random = torch.Generator().manual_seed(0)
    centre = 3 * torch.randn(20_000, 1, generator=random)
    width = 0.5 + torch.rand(20_000, 1, generator=random)
    members = centre + width * torch.randn(20_000, 10, generator=random)
    mean, std = members.mean(1), members.std(1)
    truth = 1.5 + 0.8 * mean + (0.5 + 2 * std) * torch.randn(20_000, generator=random)
    model = EMOS()
    torch.testing.assert_close(model(members), (mean, std), atol=1e-5, rtol=1e-5)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found, deviation = model(members)
        value = gaussian_crps(found, deviation, truth).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    raw = float(gaussian_crps(mean, std, truth).mean())
    optimizer.step(loss)  # type: ignore[no-untyped-call]
    assert float(model.weights.detach().sum()) == pytest.approx(0.8, abs=0.02)
    assert float(model.offset.detach()) == pytest.approx(1.5, abs=0.05)
    np.testing.assert_allclose(model.spread.detach().numpy(), [0.5, 2], atol=0.15)
    assert float(loss().detach()) < raw - 0.1


@pytest.mark.parametrize("kind", ["unet", "points"])
def test_a_scaled_network_works_in_deviations_of_the_ensemble(kind: str) -> None:
    """Twice the ensemble's deviation from twice as far: the forecast scales along."""
    latitude, longitude = torch.linspace(60, 40, 8), torch.linspace(0, 30, 16)
    model = unet(6, width=4) if kind == "unet" else Scaled(PointMLP(6, latitude, longitude, width=8))
    model.eval()
    inputs, mean, std = torch.randn(2, 6, 8, 16), torch.randn(2, 8, 16), torch.rand(2, 8, 16) + 0.1
    found, deviation = model(inputs, mean, std)
    again, twice = model(inputs, 2 * mean, 2 * std)
    torch.testing.assert_close(again, 2 * found)
    torch.testing.assert_close(twice, 2 * deviation)
    assert bool((deviation > 0).all())


def columns(count: int = 5, levels: int = 12, seed: int = 0) -> dict[str, Tensor]:
    """With the sun up in all but the first."""
    random = torch.Generator().manual_seed(seed)
    scalars = torch.rand(count, 17, generator=random) + 0.1
    scalars[:, 16] = 1361.0
    scalars[0, 1] = -0.3
    pressure = torch.linspace(0, 1, levels + 1).square() * 1e5
    temperature = 200 + 90 * torch.rand(count, levels + 1, generator=random)
    return {
        "sca_inputs": scalars,
        "col_inputs": torch.rand(count, levels, 27, generator=random),
        "hl_inputs": torch.stack([temperature, pressure.expand(count, -1)], -1),
        "inter_inputs": torch.rand(count, levels - 1, 1, generator=random),
        "pressure_hl": pressure.expand(count, -1)[..., None].clone(),
    }


def test_heating_rates_hold_what_the_fluxes_lose() -> None:
    """Summed over the column, weighed by mass: what comes in at the top less what goes out at the surface."""
    fluxes, pressure = 500 * torch.rand(7, 13, 2, dtype=torch.float64), torch.linspace(2, 1e5, 13).double()
    net = fluxes[..., 0] - fluxes[..., 1]
    rate = heating_rate(fluxes, pressure)
    torch.testing.assert_close(absorbed(rate, pressure), net[:, 0] - net[:, -1])
    torch.testing.assert_close(heating_rate(fluxes, pressure, 1.0) * 86400, rate)
    one = torch.tensor([[10.0, 0.0], [0.0, 0.0]])  # 10 W m-2 stay in a level of 100 hPa
    assert float(heating_rate(one, torch.tensor([9e4, 1e5]))) == pytest.approx(
        10 * 9.80665 / 1004 / 1e4 * 86400
    )


@pytest.mark.parametrize("model", [CNN(8), RNN(8)])
def test_emulators_of_fluxes_heat_by_their_own_fluxes_and_rest_at_night(model: nn.Module) -> None:
    given = columns()
    fluxes, rate = model(given)
    assert fluxes.shape == (5, 13, 2)
    torch.testing.assert_close(rate[..., 0], heating_rate(fluxes, given["pressure_hl"][..., 0]))
    assert not bool(fluxes[0].any())
    assert bool((fluxes >= 0).all())
    assert bool((fluxes[..., 0] <= incoming(given)[:, None]).all())


def test_the_minimal_emulator_loses_no_energy() -> None:
    given = columns()
    fluxes, rate = MinimalCNN(13, 8)(given)
    assert fluxes.shape == (5, 3)
    assert rate.shape == (5, 12, 1)
    top, down, up = fluxes.unbind(1)
    torch.testing.assert_close(
        absorbed(rate[..., 0], given["pressure_hl"][..., 0]), top - (down - up), atol=1e-3, rtol=1e-4
    )
    assert not bool(fluxes[0].any())


def test_inputs_stand_on_half_levels_at_most_one() -> None:
    given = columns()
    together = Together(largest_of(given))(given)
    assert together.shape == (5, 47, 13)
    assert float(together.abs().max()) == pytest.approx(1)
    assert float(together[:, 17:44, -1].abs().max()) == 0


def test_training_lowers_the_loss_of_an_emulator() -> None:
    torch.manual_seed(0)
    given = columns(64)
    model = CNN(8, largest_of(given))
    wanted = torch.rand(64, 13, 2) * incoming(given)[:, None, None] * 0.3
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(given)[0] - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_quantile_loss_is_least_at_the_quantiles() -> None:
    values = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=50_001))
    loss = QuantileLoss((0.1, 0.5, 0.9))
    best = torch.quantile(values, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))

    def of(quantiles: Tensor) -> float:
        return float(loss(quantiles.expand(len(values), 3), values))

    for place in range(3):
        for step in (-0.05, 0.05):
            other = best.clone()
            other[place] += step
            assert of(other) > of(best)


def test_quantiles_of_other_shapes_are_refused() -> None:
    with pytest.raises(BadRequest, match="wanted"):
        QuantileLoss()(torch.zeros(2, 2, 4), torch.zeros(2, 4))
    with pytest.raises(BadRequest, match="levels="):
        QuantileLoss((0.0, 0.5))


def test_a_power_curve_is_learnt_and_bounded() -> None:
    """From wind alone, in random weather; the error is a few per cent of the rated power."""
    torch.manual_seed(0)
    u, v = 6 * torch.randn(4000), 6 * torch.randn(4000)
    weather = predictors(
        u,
        v,
        280 + 5 * torch.randn(4000),
        torch.full((4000,), 1e5),
        24 * torch.rand(4000),
        365 * torch.rand(4000),
    )
    truth = 2000 * ((torch.hypot(u, v) - 3) / 9).clamp(0, 1) ** 3
    model = PowerCurve(2000.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nmae(model(weather), truth, 2000.0).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = model.eval()(weather)
    assert float(nmae(found, truth, 2000.0).detach()) < 0.05
    assert bool(((found >= 0) & (found <= 2000)).all())


def test_the_predictors_of_an_hour() -> None:
    one = [torch.tensor([value]) for value in (3.0, 4.0, 288.15, 101325.0, 6.0, 0.0)]
    found = predictors(*one)[0]
    np.testing.assert_allclose(found, [1.225, 5, 0.6, 0.8, 1, 0, 0, 1], atol=1e-4)


def test_missing_production_does_not_count() -> None:
    assert float(nmae(torch.tensor([1.0, 5.0]), torch.tensor([3.0, torch.nan]), 10.0)) == pytest.approx(0.2)


def test_a_classifier_learns_words_that_tell() -> None:
    """Two texts of three words, and words that say nothing."""
    random = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(200):
        words = [f"w{word}" for word in random.integers(0, 50, 5)]
        texts.append(" ".join([*words, "Umbrella" if number % 2 else "picnic"]))
        labels.append(number % 2)
    torch.manual_seed(0)
    model, target = TextClassifier(), torch.tensor(labels, dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(texts), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    odds = model(["some UMBRELLA here", "a picnic", ""]).tolist()
    assert odds[0] > 0 > odds[1]
    assert len(odds) == 3
