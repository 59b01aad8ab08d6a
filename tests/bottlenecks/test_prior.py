import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import logistic

from geomask.bottleneck.prior import FactorisedPrior, soften

PLANES = 3


@pytest.fixture
def prior() -> FactorisedPrior:
    """Planes of different mixtures."""
    torch.manual_seed(0)
    made = FactorisedPrior(PLANES, 3)
    with torch.no_grad():
        made.weight.copy_(torch.randn(PLANES, 3))
        made.centre.copy_(4 * torch.randn(PLANES, 3))
        made.log_scale.copy_(torch.tensor([[-2.0, 0.0, 1.0], [-3.0, -9.0, 0.5], [0.3, 2.0, 1.5]]))
    return made


def oracle(prior: FactorisedPrior, values: np.ndarray) -> np.ndarray:
    """Bits of float64 (n, latents, y, x), from the distribution's survival function where that is the smaller tail."""
    weight, centre, scale = (part.detach().double().numpy() for part in (prior.weight, prior.centre, prior.log_scale))
    scale = np.maximum(np.exp(scale), 1e-2)
    bits = np.empty(values.shape)
    for plane in range(values.shape[1]):
        apart = np.abs(values[:, plane, ..., None] - centre[plane])  # symmetric about the centre
        near, far = (logistic.logsf(apart + side, scale=scale[plane]) for side in (-0.5, 0.5))
        share = near + np.log1p(-np.exp(far - near))
        bits[:, plane] = -logsumexp(share + log_softmax(weight[plane]), axis=-1) / np.log(2)
    return bits


def test_bits_are_those_of_a_mixture_of_logistic_distributions(prior: FactorisedPrior) -> None:
    values = np.concatenate([np.linspace(-12, 12, 97), [-1000.0, -60.0, 45.0, 3e4]])
    values = np.tile(values, (PLANES, 1)).reshape(1, PLANES, 101, 1)
    found = prior(torch.from_numpy(values).float())
    assert found.shape == values.shape
    np.testing.assert_allclose(found.detach().numpy(), oracle(prior, values), rtol=1e-4, atol=1e-4)


def test_probabilities_of_all_whole_numbers_add_up_to_one(prior: FactorisedPrior) -> None:
    values = torch.arange(-400.0, 401).repeat(PLANES, 1)[None, ..., None]
    np.testing.assert_allclose((2 ** -prior(values)).sum((0, 2, 3)).detach().numpy(), 1, atol=1e-4)


@pytest.mark.parametrize("far", [0.0, 30.0, 1e3, 1e6])
def test_what_lies_far_out_costs_more_and_is_drawn_back(prior: FactorisedPrior, far: float) -> None:
    values = torch.tensor([-far - 20, far + 20]).repeat(PLANES, 1)[None, ..., None].requires_grad_()
    bits = prior(values)
    bits.sum().backward()
    assert values.grad is not None
    assert bits.isfinite().all()
    assert (values.grad[..., 0, 0] < 0).all()  # more of it would cost less
    assert (values.grad[..., 1, 0] > 0).all()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in prior.parameters())


def test_a_density_of_any_scale_has_a_gradient() -> None:
    prior = FactorisedPrior(1)
    for log_scale in (-50.0, -5.0, 0.0, 20.0, 80.0):
        with torch.no_grad():
            prior.log_scale.fill_(log_scale)
        prior.zero_grad()
        prior(torch.linspace(-9, 9, 19).view(1, 1, -1, 1)).sum().backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in prior.parameters())


def test_fitted_to_what_is_drawn_its_bits_come_near_the_entropy() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([[0.02, 0.03, 0.05, 0.1, 0.5, 0.2, 0.1], [0.3, 0.2, 0.02, 0.01, 0.02, 0.15, 0.3]])
    drawn = torch.multinomial(shares, 2000, replacement=True).float().view(1, 2, -1, 1) - 3
    prior = FactorisedPrior(2)
    optimizer = torch.optim.SGD(prior.parameters(), 0.2, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        prior(drawn).mean().backward()
        optimizer.step()
    frequent = np.stack([np.unique(plane, return_counts=True)[1] / 2000 for plane in drawn[0, :, :, 0].numpy()])
    entropy = -(frequent * np.log2(frequent)).sum(1)
    bits = prior(drawn).mean((0, 2, 3)).detach().numpy()
    assert (bits >= entropy - 1e-4).all()  # as no code can
    np.testing.assert_allclose(bits, entropy, atol=0.1)


def test_noise_in_place_of_rounding_stays_within_the_bin_and_lets_gradients_through() -> None:
    torch.manual_seed(0)
    latents = (5 * torch.randn(4, PLANES, 30, 30)).requires_grad_()
    apart = (soften(latents) - latents).detach()
    assert apart.abs().max() <= 0.5 + 1e-5
    assert float(apart.mean()) == pytest.approx(0, abs=0.01)
    assert float(apart.var()) == pytest.approx(1 / 12, rel=0.05)
    soften(latents).sum().backward()
    assert latents.grad is not None
    assert (latents.grad == 1).all()
