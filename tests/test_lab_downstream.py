"""Reflow and super-resolution on small things whose answers are known."""

import pytest
import torch

from noisesearch.lab import digits, reflow, upscaling
from noisesearch.lab import demo_world as world
from noisesearch.lab.mixture import Mixture, ring
from noisesearch.lab.networks import DigitNet


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flow_of(data):
    def velocity(x, sigma):
        level = sigma.clamp(min=1e-6)
        return (x - data.denoise(x, 1 - level, level)) / level[:, None]

    return velocity


def test_curvature_is_nothing_for_a_point_and_something_for_a_ring():
    point = Mixture(torch.tensor([[0.7, -0.2]], dtype=torch.float64), 0.0)
    start = noise(500, 2).double()
    assert reflow.curvature(flow_of(point), start) < 1e-10
    assert reflow.curvature(flow_of(ring()), start) > 0.05


def test_curvature_by_hand():
    """Two steps with velocities 1 and 3 over half a unit each: the line has 2, so the mean square of +-1 over 4."""
    speeds = iter([torch.ones(4, 2), 3 * torch.ones(4, 2)])
    assert reflow.curvature(lambda x, sigma: next(speeds), torch.zeros(4, 2), steps=2) == pytest.approx(0.25)


def test_pairs_are_the_models_own_and_the_straight_loss_sees_them(monkeypatch):
    """A field that takes every noise to a known end along a straight line: the loss of that field is nothing, of another it is not."""

    class Straight(torch.nn.Module):
        def forward(self, x, sigma, context, pooled):
            return (x - 0.3) / sigma.view(-1, 1, 1, 1)

    z, ends, words = reflow.make_pairs(Straight(), 40, 4)
    assert (ends - 0.3).abs().max() < 1e-5 and z.std() > 0.9
    assert int((words == world.EMPTY).sum()) in range(1, 12)
    monkeypatch.setattr(
        torch, "autocast", lambda *a, **k: torch.no_grad()
    )  # bfloat16 would hide small errors
    torch.manual_seed(0)
    right = reflow.straight_loss(Straight(), (z, ends, words), 3, 16)
    assert right < 1e-6
    assert reflow.straight_loss(Straight(), (z, ends + 0.1, words), 3, 16) > 1e-3
    assert reflow.straight_loss(Straight(), (z.flip(0), ends, words), 3, 16) == pytest.approx(0, abs=1e-6)


def test_a_small_picture_is_the_mean_of_each_block():
    pixels = noise(2, 1, 32, 32, seed=1)
    latents = torch.nn.functional.pixel_unshuffle(pixels, 4)
    assert torch.allclose(upscaling.shrunk(latents), torch.nn.functional.avg_pool2d(pixels, 4), atol=1e-6)
    flat = torch.full((1, 1, 8, 8), 0.4)
    assert torch.allclose(upscaling.bicubic(flat), torch.full((1, 16, 8, 8), 0.4), atol=1e-6)


def test_the_upscaler_reads_the_small_picture_and_euler_lands_on_what_it_says():
    torch.manual_seed(0)
    model = upscaling.Upscaler(32)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, small, sigma = noise(2, 16, 8, 8), noise(2, 1, 8, 8, seed=1), torch.tensor([0.3, 0.8])
    out = model(x, sigma, small)
    assert out.shape == x.shape and (model(x, sigma, small + 0.5) - out).abs().max() > 1e-3

    class Known(torch.nn.Module):
        def forward(self, x, sigma, small):
            return (x - small) / sigma.view(-1, 1, 1, 1)

    found = upscaling.enlarge(Known(), small, steps=3)
    assert torch.allclose(found, small.expand(-1, 16, -1, -1), atol=1e-5)


def test_channels_that_are_only_read_do_not_come_out():
    net = DigitNet(32, head=16, given=3)
    out = net(noise(2, 19, 8, 8), torch.tensor([0.2, 0.9]), noise(2, 4, 128), noise(2, 128))
    assert out.shape == (2, 16, 8, 8)


def test_held_out_digits_are_not_trained_on(monkeypatch):
    latents = torch.arange(20.0).view(20, 1, 1, 1).expand(20, 16, 8, 8)
    monkeypatch.setattr(world, "data", lambda: (latents, torch.zeros(20, dtype=torch.long)))
    trained, held = upscaling.split()
    assert held[:, 0, 0, 0].tolist() == [0, 5, 10, 15] and len(trained) == 16
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, x, sigma, small):
            seen.append(small[:, 0, 0, 0])
            return x

    for step in range(4):
        upscaling.loss_of(Watching(), step, 8)
    assert set(torch.cat(seen).tolist()) == set(trained[:, 0, 0, 0].tolist())


def test_prompts_that_are_first_asked_for_in_inference_mode_can_be_trained_on():
    world.prompts.cache_clear()
    with torch.inference_mode():
        context, pooled = world.prompts()
    assert context.shape == (11, 4, 128) and pooled.shape == (11, 128)
    layer = torch.nn.Linear(128, 1)
    layer(pooled).sum().backward()
    assert torch.allclose(layer.weight.grad[0], pooled.sum(0), atol=1e-5)


def test_guidance_leaves_the_empty_prompt_and_leads_away_from_it():
    class Told(torch.nn.Module):
        def forward(self, x, sigma, context, pooled):
            return x + pooled.mean(1).view(-1, 1, 1, 1)

    context, pooled = world.prompts()
    x, sigma = noise(11, 16, 8, 8), torch.full((11,), 0.5)
    plain, led = (digits.guided(Told(), g)(x, sigma, context, pooled) for g in (1.0, 3.0))
    empty = x + pooled[world.EMPTY].mean()
    assert torch.allclose(led - empty, 3 * (plain - empty), atol=1e-4)
    assert torch.allclose(led[world.EMPTY], plain[world.EMPTY], atol=1e-5)
    assert (led - plain).abs().max() > 1e-3
    # and the samplers are led: a field that does not move with x ends where three times the difference leads
    ends = [digits.euler(4, g)(Constant(), context, pooled, x, None) for g in (1.0, 3.0)]
    shift = (pooled - pooled[world.EMPTY]).mean(1).view(-1, 1, 1, 1)
    assert torch.allclose(ends[0] - ends[1], 2 * shift.expand_as(x), atol=1e-4)


class Constant(torch.nn.Module):
    def forward(self, x, sigma, context, pooled):
        return pooled.mean(1).view(-1, 1, 1, 1).expand_as(x)


@pytest.mark.parametrize("top", [1.0, 0.94])
def test_both_samplers_begin_at_the_same_level(top):
    """DDIM on the circle is Euler in flow time, from whatever level the noise is taken for."""

    class Curved(torch.nn.Module):
        def forward(self, x, sigma, context, pooled):
            return x.tanh() + sigma.view(-1, 1, 1, 1)

    context, pooled = world.prompts()
    x = noise(11, 16, 8, 8)
    ends = [
        sampler(Curved(), context, pooled, x, None)
        for sampler in (digits.euler(8, top=top), digits.stock("ddim", 8, top=top))
    ]
    assert (ends[0] - ends[1]).abs().max() < 0.01 < 0.5 < ends[0].abs().max()
    assert (digits.euler(8, top=0.8)(Curved(), context, pooled, x, None) - ends[1]).abs().max() > 0.02


@pytest.mark.parametrize("power", [0, 2])
def test_the_matched_loss_is_one_loss(power, monkeypatch):
    """An eps-network and the flow network that it implies have the same loss, under either weighting."""
    from noisesearch.lab import experiments

    batch = noise(8, 16, 8, 8, seed=1), noise(8, 4, 128, seed=2), noise(8, 128, seed=3)
    monkeypatch.setattr(digits, "batch_of", lambda step, size: batch)
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: torch.no_grad())

    class Eps(torch.nn.Module):
        def forward(self, x, sigma, context, pooled):
            return 0.9 * x

    losses = []
    for kind, model in (("eps", Eps()), ("flow", experiments.AsFlow(Eps()))):
        torch.manual_seed(4)
        losses.append(float(experiments.matched_loss(model, 0, 8, kind, 0.94, power)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] > 0.01
    torch.manual_seed(4)
    assert abs(float(experiments.matched_loss(Eps(), 0, 8, "eps", 0.94, 2 - power)) - losses[0]) > 1e-2
