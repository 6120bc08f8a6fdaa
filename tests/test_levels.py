"""Noise levels and the forward process between them: identities on pure float64 functions, for every family."""

import comfy.k_diffusion.sampling
import comfy.model_sampling
import pytest
import torch
from closed_form import FAMILIES, make_model
from hypothesis import given
from hypothesis import strategies as st
from noisesearch.sampling import renoise as renoise_module
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.renoise import coefficients, renoise
from noisesearch.sampling.samplers import overshoot
from noisesearch.sampling.schedule import Schedule

TIMES = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)


@pytest.fixture(params=FAMILIES)
def levels(request):
    return Levels(make_model(request.param).get_model_object("model_sampling"))


def ddim(levels, x, denoised, before, after):
    """One DDIM step in x = a x0 + b eps: the same x0 and eps at another level."""
    (a, b), (a2, b2) = levels.coefficients(before), levels.coefficients(after)
    return a2 * denoised + b2 * (x - a * denoised) / b


def test_conversions_go_both_ways(levels):
    sigma = levels.sigma(TIMES)
    for back in (
        levels.time(sigma),
        1 / (1 + torch.exp(levels.log_snr(sigma) / 2)),
        levels.time(levels.sigma_from_log_snr(levels.log_snr(sigma))),
    ):
        torch.testing.assert_close(back, TIMES, atol=1e-12, rtol=0)
    for sigma_data in (1.0, 0.5):
        torch.testing.assert_close(
            levels.sigma_from_angle(levels.angle(sigma, sigma_data), sigma_data), sigma, atol=0, rtol=1e-10
        )
    a, b = levels.coefficients(sigma)
    torch.testing.assert_close(levels.sigma_hat(sigma), b / a, atol=0, rtol=1e-14)
    torch.testing.assert_close(torch.tan(levels.angle(sigma)), b / a, atol=0, rtol=1e-9)
    assert levels.time(torch.zeros(1)).item() == 0.0 and levels.sigma(0.0).item() == 0.0
    assert levels.sigma(TIMES.view(5, 10)).shape == (5, 10)


def test_coefficients_are_comfyuis_own(levels):
    for family in FAMILIES:
        sampling = make_model(family).get_model_object("model_sampling")
        sigma = Levels(sampling).sigma(torch.tensor([0.1, 0.5, 0.8]))
        x0, eps = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
        a, b = (c.view(-1, 1, 1, 1) for c in Levels(sampling).coefficients(sigma))
        torch.testing.assert_close(sampling.noise_scaling(sigma, eps.clone(), x0.clone()), a * x0 + b * eps)


def test_a_scaled_flow_is_found_by_its_probe():
    class NoisyFlow(comfy.model_sampling.CONST):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return super().noise_scaling(sigma, 1.7 * noise, latent_image, max_denoise)

    levels = Levels(NoisyFlow())
    assert levels.is_flow and levels.gain == pytest.approx(1.7)
    torch.testing.assert_close(levels.time(levels.sigma(TIMES)), TIMES, atol=1e-12, rtol=0)


def test_models_that_are_no_noise_interpolants_are_refused_by_name():
    class Odd(comfy.model_sampling.EPS):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return latent_image + sigma.view(-1, 1, 1, 1) ** 2 * noise

    class V_PREDICTION_DDPM(comfy.model_sampling.EPS):
        pass

    for sampling in (comfy.model_sampling.IMG_TO_IMG(), V_PREDICTION_DDPM(), Odd()):
        with pytest.raises(ValueError, match=type(sampling).__name__):
            Levels(sampling)


def test_sampling_classes_that_answer_in_single_precision():
    class Single(comfy.model_sampling.CONST):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return super().noise_scaling(sigma, noise, latent_image, max_denoise).float()

    levels = Levels(Single())
    assert levels.is_flow and levels.gain == pytest.approx(1.0)
    torch.testing.assert_close(levels.time(levels.sigma(TIMES)), TIMES, atol=1e-12, rtol=0)


# -- the laws, to 1e-12 ----------------------------------------------------------------------------------------------


def test_renoising_composes_and_keeps_the_marginals(levels):
    low, middle, high = (levels.sigma(t) for t in (0.2, 0.5, 0.9))
    (a_s, b_s), (a_r, b_r) = levels.coefficients(low), levels.coefficients(high)
    scale, spread = coefficients(levels, low, high)
    torch.testing.assert_close(scale * a_s, a_r, atol=1e-12, rtol=0)  # the mean of x_r given x0
    torch.testing.assert_close((scale * b_s) ** 2 + spread**2, b_r**2, atol=0, rtol=1e-12)  # its variance
    (s1, n1), (s2, n2) = coefficients(levels, low, middle), coefficients(levels, middle, high)
    torch.testing.assert_close(s1 * s2, scale, atol=0, rtol=1e-12)
    torch.testing.assert_close(
        (s2 * n1) ** 2 + n2**2, spread**2, atol=0, rtol=1e-12
    )  # in two steps as in one
    assert [c.item() for c in coefficients(levels, high, high)] == [1.0, 0.0]
    with pytest.raises(ValueError, match="only upwards"):
        coefficients(levels, high, low)


def test_ddim_is_euler_in_flow_time_also_on_a_rescaled_schedule(levels):
    generator = torch.Generator().manual_seed(0)
    x0, x = torch.randn(2, 64, dtype=torch.float64, generator=generator)
    for scale in (1.0, 0.7):
        before, after = levels.sigma(torch.tensor(0.8 * scale)), levels.sigma(torch.tensor(0.55 * scale))
        (a, b), (a2, b2) = levels.coefficients(before), levels.coefficients(after)
        t, t2 = levels.time(before), levels.time(after)
        flow = x / (a + b)  # the same state on the straight path z_t = (1 - t) x0 + t eps
        velocity = (flow - x0) / t
        stepped = flow + (t2 - t) * velocity
        torch.testing.assert_close(
            ddim(levels, x, x0, before, after), stepped * (a2 + b2), atol=1e-12, rtol=0
        )
        # ComfyUI's own euler on the model's own sigmas, with a denoiser that always answers x0
        own = comfy.k_diffusion.sampling.sample_euler(
            lambda x, sigma, **kwargs: x0[None], x[None], torch.stack([before, after]), disable=True
        )[0]
        torch.testing.assert_close(ddim(levels, x, x0, before, after), own, atol=1e-12, rtol=0)


def test_a_ddpm_step_is_a_ddim_step_of_twice_the_length_and_renoising(levels):
    """q(x_r | x_s, x0) of the forward process (DDPM's posterior) from first principles, against DDIM(2d) + renoise, churn = 0.5."""
    x0, x_s = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    s, r = levels.sigma(torch.tensor(0.7)), levels.sigma(torch.tensor(0.6))
    (a_s, b_s), (a_r, b_r) = levels.coefficients(s), levels.coefficients(r)
    ratio, extra = a_s / a_r, b_s**2 - (a_s / a_r) ** 2 * b_r**2  # x_s = ratio x_r + sqrt(extra) z
    precision = 1 / b_r**2 + ratio**2 / extra
    mean, variance = (a_r * x0 / b_r**2 + ratio * x_s / extra) / precision, 1 / precision
    over = levels.sigma_from_log_snr(overshoot(levels.log_snr(s), levels.log_snr(r), 0.5))
    scale, spread = coefficients(levels, over, r)
    assert (scale * ddim(levels, x_s, x0, s, over)).item() == pytest.approx(mean.item(), abs=1e-12)
    assert (spread**2).item() == pytest.approx(variance.item(), abs=1e-12)


# -- the tensors, and laws that must not pass ------------------------------------------------------------------------


def residual_variance(levels, law, count=40_000):
    """Variance of what is left of a renoised sample after its mean, relative to what it should be; the null's band is 5 standard errors."""
    generator = torch.Generator().manual_seed(7)
    low, high = float(levels.sigma(0.3)), float(levels.sigma(0.7))
    x0, eps, z = torch.randn(3, count, generator=generator)
    (a_s, b_s), (a_r, b_r) = levels.coefficients(low), levels.coefficients(high)
    x_r = law(levels, float(a_s) * x0 + float(b_s) * eps, low, high, z)
    residual = (x_r - float(a_r) * x0).double()
    variance = float(residual.var() / b_r**2)
    slope = float((x_r * x0).mean() / (x0 * x0).mean() / max(float(a_r), 1e-9))
    return variance, slope


def passes(levels, law):
    variance, slope = residual_variance(levels, law)
    band = 5 * (2 / 40_000) ** 0.5
    return (
        abs(variance - 1) < band
        and abs(slope - 1) < 5 * float(levels.sigma_hat(levels.sigma(0.7))) / 40_000**0.5
    )


def without_the_old_noise(levels, x, low, high, noise):
    (a_s, _), (a_r, b_r) = levels.coefficients(low), levels.coefficients(high)
    return float(a_r / a_s) * x + float(b_r) * noise


def too_much_noise(levels, x, low, high, noise):
    return renoise(levels, x, low, high, 1.05 * noise)


def sigma_for_flow_time(levels, x, low, high, noise):
    return (
        renoise(levels, x, float(levels.time(low)), float(levels.time(high)), noise)
        if not levels.is_flow
        else renoise(levels, x, *(float(s / (1 + s)) for s in (low, high)), noise)
    )


def test_the_variance_of_renoised_tensors(levels):
    assert passes(levels, renoise)


@pytest.mark.parametrize("law", [without_the_old_noise, too_much_noise, sigma_for_flow_time])
def test_wrong_laws_are_caught(levels, law):
    assert not passes(levels, law)


def test_the_check_sees_the_code_under_test(levels, monkeypatch):
    """The same check fails when the law inside the pack is broken: it does not test a copy."""
    real = renoise_module.coefficients
    monkeypatch.setattr(renoise_module, "coefficients", lambda *args: (real(*args)[0], 1.05 * real(*args)[1]))
    assert not passes(levels, renoise)


# -- pieces of schedule ----------------------------------------------------------------------------------------------


@given(data=st.data())
def test_pieces_cover_the_schedule_and_end_exactly(data):
    family = data.draw(st.sampled_from(list(FAMILIES)))
    sampling = make_model(family).get_model_object("model_sampling")
    levels = Levels(sampling)
    top = float(levels.time(torch.as_tensor(float(sampling.sigma_max))))
    inner = sorted(
        data.draw(st.lists(st.floats(0.02, top - 0.01), min_size=1, max_size=8, unique=True)), reverse=True
    )
    sigmas = torch.cat(
        [
            torch.tensor([float(sampling.sigma_max)]),
            levels.sigma(torch.tensor(inner, dtype=torch.float64)).float(),
            torch.zeros(1),
        ]
    )
    schedule = Schedule(sigmas, levels)
    stop = data.draw(st.one_of(st.just(0.0), st.floats(0.0, 0.9 * top)))
    start = data.draw(st.floats(stop + 0.01, 1.0))
    steps = data.draw(st.one_of(st.none(), st.integers(1, 5)))
    piece = schedule.piece(start, stop, steps)
    assert bool((piece[1:] <= piece[:-1]).all())
    assert (piece[-1].item() == 0.0) == (stop <= 1e-6)
    assert float(levels.time(piece[0])) == pytest.approx(min(start, float(schedule.times[0])), abs=2e-6)
    assert float(levels.time(piece[-1])) == pytest.approx(stop, abs=2e-6)
    if steps is None:
        between = [s for s in sigmas.tolist() if piece[-1] < s < piece[0]]
        assert set(between) <= set(piece.tolist())
    else:
        assert len(piece) == steps + 1


def test_steps_are_spaced_as_the_users():
    levels = Levels(make_model("CONST").get_model_object("model_sampling"))
    schedule = Schedule(torch.tensor([1.0, 0.9, 0.6, 0.1, 0.0]), levels)
    torch.testing.assert_close(schedule.piece(None, 0.0, 2), torch.tensor([1.0, 0.6, 0.0]))
    torch.testing.assert_close(schedule.piece(0.9, 0.1, 4), torch.tensor([0.9, 0.75, 0.6, 0.35, 0.1]))
    assert schedule.piece().tolist() == schedule.sigmas.tolist()
    with pytest.raises(ValueError, match="No step is left"):
        Schedule(torch.tensor([0.5, 0.0]), levels).piece(None, 0.7)
