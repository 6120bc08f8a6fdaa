"""The test model is itself tested: closed form against autograd, and against ComfyUI's own sampling."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, PixelVAE, TargetVerifier, coefficients, cond, make_model, one_hot, uncond
from noisesearch.verifiers.base import Batch

EMPTY = torch.zeros(1, 4, 8, 8)
families = pytest.mark.parametrize("family", FAMILIES)


def noise(seed, latent=EMPTY):
    return comfy.sample.prepare_noise(latent, seed)


def run(
    model,
    seed=0,
    steps=10,
    cfg=1.0,
    sampler="euler",
    scheduler="normal",
    positive=None,
    latent=EMPTY,
    x=None,
    **options,
):
    x = noise(seed, latent) if x is None else x
    return comfy.sample.sample(
        model,
        x,
        steps,
        cfg,
        sampler,
        scheduler,
        positive or uncond(),
        uncond(),
        latent,
        disable_pbar=True,
        seed=seed,
        **options,
    )


def modes(model, samples):
    return model.mixture.mode_of(model.model.process_latent_in(samples))


def denoised_by_comfyui(model, sigma, positive, cfg, batch=3):
    """(x, denoised) as a sampler sees them at one noise level, through the real CFGGuider."""
    seen = {}

    def look(denoiser, x, sigmas, extra_args=None, **kwargs):
        seen["pair"] = x, denoiser(x, sigmas[0] * x.new_ones(x.shape[0]), **extra_args)
        return x

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, uncond())
    guider.set_cfg(cfg)
    latent = EMPTY.repeat(batch, 1, 1, 1)
    guider.sample(
        noise(7, latent),
        latent,
        comfy.samplers.KSAMPLER(look),
        torch.tensor([sigma, 0.0]),
        seed=7,
        disable_pbar=True,
    )
    return seen["pair"]


@pytest.mark.parametrize("a, b", [(1.0, 0.3), (1.0, 4.0), (0.6, 0.4), (0.05, 0.95)])
def test_posterior_mean_obeys_tweedie(a, b):
    """a E[x0 | x] = x + b^2 grad log p(x), the density written with torch.distributions."""
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    mixture = make_model("EPS").mixture
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    means, spread = mixture.means.flatten(1), ((a * mixture.stds) ** 2 + b**2).sqrt()[:, None]
    weights = mixture.weights * logits.exp()
    law = MixtureSameFamily(Categorical(weights), Independent(Normal(a * means, spread.expand_as(means)), 1))
    x0 = mixture.sample(16, torch.Generator().manual_seed(0), logits)
    x = (
        a * x0 + b * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).requires_grad_()
    log_density = law.log_prob(x.flatten(1))
    (score,) = torch.autograd.grad(log_density.sum(), x)
    assert torch.allclose(mixture.log_density(x, a, b, logits), log_density)
    assert torch.allclose(a * mixture.posterior_mean(x, a, b, logits), x + b**2 * score, atol=1e-9)
    if a == 1.0:
        assert torch.equal(mixture.denoise(x, b, logits), mixture.posterior_mean(x, a, b, logits))


@families
def test_coefficients_are_comfyuis(family):
    x0, eps = noise(1), noise(2)
    for sigma in (0.1, 0.5, 0.9):
        a, b = coefficients(family, sigma)
        noised = make_model(family).model.model_sampling.noise_scaling(
            torch.tensor([sigma]), eps.clone(), x0.clone()
        )
        assert torch.allclose(noised, a * x0 + b * eps, atol=1e-6)


@families
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_denoised_through_comfyui_is_the_closed_form(family, cfg):
    model, wish = make_model(family), torch.tensor([2.0, 0.0, -1.0, 1.0])
    tolerance = 1e-5 * (2 * cfg - 1)  # float32 rounding of each prediction, as guidance adds them up
    for sigma in (0.03, 0.1, 0.37, 0.71, 1.0) + ((2.9, 14.0) if family != "CONST" else ()):
        x, denoised = denoised_by_comfyui(model, sigma, cond(wish), cfg)
        a, b = coefficients(family, float(torch.tensor(sigma)))
        with_cond, without = (
            model.mixture.posterior_mean(x, a, b, wish),
            model.mixture.posterior_mean(x, a, b),
        )
        assert (denoised - (without + cfg * (with_cond - without))).abs().max() < tolerance, sigma


@families
@pytest.mark.parametrize("wish", [None, [2.0, 1.0, 0.0, -1.0]])
def test_samples_follow_the_mixture(family, wish):
    """Modes in the right proportions (chi-square at 0.1 %); widths right within 1 %, once Euler's first-order error is extrapolated away."""
    model, count = make_model(family), 400
    mixture, widths = model.mixture, {}
    for steps in (60, 120):
        samples = run(model, steps=steps, positive=wish and cond(wish), latent=EMPTY.repeat(count, 1, 1, 1))
        k, x0 = modes(model, samples), model.model.process_latent_in(samples)
        widths[steps] = ((x0 - mixture.means[k]).flatten(1).pow(2).mean(1).sqrt() / mixture.stds[k]).mean()
    found = torch.bincount(k, minlength=4)
    expected = count * torch.softmax(mixture.weights.log() + torch.tensor(wish or [0.0] * 4), 0)
    assert ((found - expected) ** 2 / expected).sum() < 16.27, (found, expected)
    assert abs(2 * widths[120] - widths[60] - 1) < 0.01, widths


@families
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler, calls", [("euler", 6), ("heun", 11)])
def test_spy_counts_calls_and_rows(family, cfg, sampler, calls):
    model = make_model(family)
    run(model.clone(), steps=6, cfg=cfg, sampler=sampler, latent=EMPTY.repeat(2, 1, 1, 1))
    rows = 2 if cfg == 1.0 else 4
    assert (model.spy.calls, model.spy.rows, model.spy.batches) == (calls, calls * rows, [rows] * calls)
    model.spy.reset()
    assert (model.spy.calls, model.spy.rows) == (0, 0)


@families
def test_conditioning_selects_the_component(family):
    model = make_model(family)
    for cfg in (1.0, 4.0):
        batch = run(
            model, cfg=cfg, steps=20, positive=cond(one_hot([2, 0, 3])), latent=EMPTY.repeat(3, 1, 1, 1)
        )
        assert modes(model, batch).tolist() == [2, 0, 3]


@families
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_rows_of_a_batch_equal_single_runs(family, sampler):
    model, wish = make_model(family), one_hot([1, 3, 0], strength=2.0)
    noises = torch.cat([noise(seed) for seed in range(3)])
    batch = run(
        model, cfg=4.0, sampler=sampler, positive=cond(wish), latent=EMPTY.repeat(3, 1, 1, 1), x=noises
    )
    for seed in range(3):
        alone = run(model, cfg=4.0, sampler=sampler, positive=cond(wish[seed]), x=noise(seed))
        assert (batch[seed] - alone[0]).abs().max() < 1e-5


@families
def test_image_to_image_keeps_the_mode_and_a_mask_keeps_the_outside(family):
    model = make_model(family)
    start = model.model.process_latent_out(model.mixture.means).float()[[1]]
    again = run(model, denoise=0.3, steps=10, latent=start)
    assert modes(model, again).tolist() == [1]
    assert (again - start).abs().mean() > 0.05
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1.0
    painted = run(model, latent=start, noise_mask=mask)
    assert (painted - start)[..., 4:].abs().max() < 1e-5
    assert (painted - start)[..., :4].abs().mean() > 0.05


@families
def test_sample_custom_equals_the_ksampler(family):
    model = make_model(family)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 10)
    custom = comfy.sample.sample_custom(
        model,
        noise(0),
        4.0,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        cond(one_hot(1)),
        uncond(),
        EMPTY,
        disable_pbar=True,
        seed=0,
    )
    assert torch.equal(custom, run(model, cfg=4.0, positive=cond(one_hot(1))))


@families
def test_video_latents(family):
    model = make_model(family, dims=3)
    latent = comfy.sample.fix_empty_latent_channels(model, EMPTY).repeat(2, 1, 3, 1, 1)
    assert latent.shape == (2, 4, 3, 8, 8)
    samples = run(model, steps=20, positive=cond(one_hot([3, 1])), latent=latent)
    assert modes(model, samples).tolist() == [3, 1]
    assert PixelVAE().decode(samples).shape == (
        2,
        3,
        8,
        8,
        3,
    )  # as comfy.sd.VAE; VAEDecode then joins batch and frames


def test_pixels_go_there_and_back_and_the_verifier_knows_the_target():
    model, vae = make_model("EPS"), PixelVAE()
    latents = model.model.process_latent_out(model.mixture.means).float()
    images = vae.decode(latents)
    assert images.shape == (4, 8, 8, 3) and images.min() >= 0 and images.max() <= 1 and vae.decodes == 4
    assert torch.allclose(vae.encode(images)[:, :3], latents[:, :3], atol=1e-4)
    verifier = TargetVerifier(images[2])
    scores = verifier.score(Batch(images=images))
    assert scores.argmax() == 2 and scores[2] == 0 and (verifier.calls, verifier.images) == (1, 4)
