"""Samplers as maps between log-SNRs, for a denoiser (z, lambda) -> x^. Scale: z = alpha x + sigma eps with alpha^2 + sigma^2 = 1, unless a schedule is named."""

from __future__ import annotations

import torch

from .interpolants import drift_and_diffusion


def circle(log_snr):
    """(alpha, sigma) of the variance-preserving scale."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def ddim_step(z, clean, source, target):
    """From log-SNR `source` to `target` along the straight line in (x^, eps^)."""
    (a, b), (c, d) = circle(source), circle(target)
    return c * clean + d * (z - a * clean) / b


def renoise(z, source, target, noise):
    """From log-SNR `source` down to `target` by the forward process."""
    (a, b), (c, d) = circle(source), circle(target)
    return c / a * z + (d**2 - (c / a * b) ** 2).clamp(min=0).sqrt() * noise


def ddpm_step(z, clean, source, target, noise):
    """The posterior q(z_t | z_s, x^) of Ho et al. 2020, in their own form (the smaller of the two posterior variances)."""
    (a_s, b_s), (a_t, b_t) = circle(source), circle(target)
    ratio = a_s / a_t
    added = b_s**2 - ratio**2 * b_t**2
    mean = ratio * b_t**2 / b_s**2 * z + a_t * added / b_s**2 * clean
    return mean + (added * b_t**2 / b_s**2).sqrt() * noise


def churned_step(z, clean, source, target, churn, noise):
    """A DDIM step too long by d / (1 - churn), then noise back to the target. 0 is DDIM, 1/2 is DDPM."""
    beyond = source + (target - source) / (1 - churn)
    return renoise(ddim_step(z, clean, source, beyond), beyond, target, noise)


def dpm_multistep_step(z, clean, before, source, target, earlier):
    """DPM-Solver++(2M), Lu et al. 2022. before: the previous step's x^ (None at the first), at log-SNR `earlier`."""
    if before is None:
        return ddim_step(z, clean, source, target)
    r = (source - earlier) / (target - source)
    return ddim_step_with(z, clean + (clean - before) / (2 * r), source, target)


def ddim_step_with(z, clean, source, target):
    """z / sigma moves by (e^(l_t) - e^(l_s)) x^, l = lambda / 2: DDIM in the form that takes an extrapolated x^."""
    b, d = circle(source)[1], circle(target)[1]
    return d * (z / b + ((target / 2).exp() - (source / 2).exp()) * clean)


def sample(denoiser, z, grid, kind="ddim", noises=None, churn=0.5):
    """z brought along a grid of log-SNRs. kind: ddim, ddpm, churn or dpm++; noises: one per step for the stochastic ones."""
    before = earlier = None
    for i, (source, target) in enumerate(zip(grid[:-1], grid[1:])):
        clean = denoiser(z, source)
        if kind == "ddim":
            z = ddim_step(z, clean, source, target)
        elif kind == "ddpm":
            z = ddpm_step(z, clean, source, target, noises[i])
        elif kind == "churn":
            z = churned_step(z, clean, source, target, churn, noises[i])
        elif kind == "dpm++":
            z = dpm_multistep_step(z, clean, before, source, target, earlier)
            before, earlier = clean, source
        else:
            raise ValueError(f"No sampler is called {kind!r}; there are ddim, ddpm, churn and dpm++.")
    return z


def euler_in_flow_time(velocity, z, times):
    """Euler on dz/dt = velocity(z, t), z = (1 - t) x + t eps."""
    for t, u in zip(times[:-1], times[1:]):
        z = z + (u - t) * velocity(z, t)
    return z


def euler_of_probability_flow(denoiser, z, schedule, times):
    """Euler on dz/dt = f z - g^2 / 2 score in a schedule's own time and scale. denoiser(z / alpha, sigma / alpha) -> x^."""
    for t, u in zip(times[:-1], times[1:]):
        f, g_squared = drift_and_diffusion(schedule, t)
        a, b = schedule.alpha(t), schedule.sigma(t)
        score = (a * denoiser(z / a, b / a) - z) / b**2
        z = z + (u - t) * (f * z - g_squared / 2 * score)
    return z


# How much each prediction counts in the final sample


def history(kind, grid):
    """Weights [steps] of the predictions x^ in the final sample, by running the sampler on predictions that are free variables."""
    steps = len(grid) - 1

    def final(predictions):
        served = iter(predictions)
        return sample(
            lambda z, log_snr: next(served), torch.zeros((), dtype=grid.dtype), grid, kind, torch.zeros(steps)
        )

    return torch.func.jacrev(final)(torch.zeros(steps, dtype=grid.dtype))


def history_in_closed_form(kind, grid):
    """The same from formulas: sigma_N (e^l' - e^l) for DDIM, sigma_N e^(-l_N) (e^2l' - e^2l) for DDPM, DDIM's with Adams-Bashforth's mix for DPM-Solver++(2M)."""
    half, sigma = grid / 2, circle(grid[-1])[1]
    if kind == "ddim":
        return sigma * half.exp().diff()
    if kind == "ddpm":
        return sigma * (-half[-1]).exp() * grid.exp().diff()
    moved, step = half.exp().diff(), half.diff()
    mix = torch.cat([torch.zeros(1, dtype=grid.dtype), moved[1:] * step[1:] / (2 * step[:-1])])
    return sigma * (moved + mix - torch.cat([mix[1:], torch.zeros(1, dtype=grid.dtype)]))
