"""One formulation of diffusion and flow: every identity to 1e-10 in float64, each beside a mutation of it that must fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisesearch.lab import samplers, sweep, weightings
from noisesearch.lab.interpolants import (
    PREDICTIONS,
    SCHEDULES,
    Cosine,
    Flow,
    TrigFlow,
    VP,
    alpha_and_sigma,
    clean_and_noise,
    convert,
    diffusion_drift,
    drift_and_diffusion,
    epsilon_of,
    eta_of,
    flow_drift,
    output,
    path_velocity,
    translate,
)
from noisesearch.lab.mixture import Mixture, ring, sliced_distance

TIGHT = 1e-10
GRID = torch.linspace(-8.0, 8.0, 9, dtype=torch.float64)


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    """The largest difference, relative to the size of what is compared."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1))


# Schedules and outputs


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_and_log_snr_are_inverse(name):
    schedule = SCHEDULES[name]
    assert gap(schedule.log_snr(schedule.time(GRID)), GRID) < TIGHT
    times = torch.linspace(max(schedule.start, 0.01), schedule.end, 50, dtype=torch.float64)
    assert (schedule.log_snr(times).diff() < 0).all()


@pytest.mark.parametrize("source", SCHEDULES)
@pytest.mark.parametrize("target", SCHEDULES)
def test_a_sample_moves_between_schedules_and_back(source, target):
    a, b = SCHEDULES[source], SCHEDULES[target]
    t, z = a.time(GRID), noise(len(GRID))
    moved, there = convert(z, t, a, b)
    again, back = convert(moved, there, b, a)
    assert gap(again, z) < TIGHT and gap(a.log_snr(back), GRID) < TIGHT
    x, eps = noise(len(GRID), seed=1), noise(len(GRID), seed=2)
    here = a.alpha(t) * x + a.sigma(t) * eps
    assert gap(convert(here, t, a, b)[0], b.alpha(there) * x + b.sigma(there) * eps) < TIGHT


@settings(max_examples=60, deadline=None)
@given(
    log_snr=st.floats(-8, 8),
    scale=st.floats(0.1, 10),
    s=st.sampled_from([0.5, 1.0]),
    source=st.sampled_from(list(PREDICTIONS)),
    target=st.sampled_from(list(PREDICTIONS)),
)
def test_outputs_translate(log_snr, scale, s, source, target):
    alpha, sigma = (scale * v for v in samplers.circle(torch.tensor(log_snr, dtype=torch.float64)))
    x, eps = noise(5, seed=1), noise(5, seed=2)
    z = alpha * x + sigma * eps
    value = output(source, x, eps, alpha, sigma, s)
    assert (
        gap(translate(source, target, value, z, alpha, sigma, s), output(target, x, eps, alpha, sigma, s))
        < 1e-9
    )
    found = clean_and_noise(source, value, z, alpha, sigma, s)
    # from eps at low signal the division by alpha costs digits: 1e-10 of what was divided
    assert gap(found[0] * alpha, x * alpha) < TIGHT and gap(found[1] * sigma, eps * sigma) < TIGHT


def test_outputs_are_what_their_papers_say():
    t = torch.linspace(0.1, 1.4, 5, dtype=torch.float64)
    x, eps = noise(5, seed=1), noise(5, seed=2)
    trig = TrigFlow(sigma_data=0.5)
    F = output("F", x, eps, trig.alpha(t), trig.sigma(t), 0.5)
    assert gap(0.5 * F, t.cos() * 0.5 * eps - t.sin() * x) < TIGHT
    assert gap(output("v", x, eps, t.cos(), t.sin()), t.cos() * eps - t.sin() * x) < TIGHT
    assert gap(output("flow", x, eps, 1 - t / 2, t / 2), path_velocity(Flow(), t / 2, x, eps)) < TIGHT
    assert gap(0.5 * F, t.cos() * eps - t.sin() * x) > 0.05  # sigma_data forgotten


@pytest.mark.parametrize("name", ["flow", "cosine", "TrigFlow, sigma_data 0.5", "VP", "VE"])
def test_f_g_eta_and_alpha_sigma_epsilon_both_ways(name):
    schedule = SCHEDULES[name]
    start = 0.05
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    one = torch.tensor(start, dtype=torch.float64)
    known = float(schedule.alpha(one)), float(schedule.sigma(one))
    f, g_squared = (lambda u, i=i: drift_and_diffusion(schedule, u)[i] for i in (0, 1))
    alpha, sigma = alpha_and_sigma(f, g_squared, start, t, *known)
    assert gap(alpha, schedule.alpha(t)) < TIGHT and gap(sigma, schedule.sigma(t)) < TIGHT
    eta = torch.linspace(0, 1.5, 5, dtype=torch.float64)
    assert gap(eta_of(epsilon_of(eta, schedule, t), schedule, t), eta) < TIGHT
    # the mutation: sigma without the factor alpha, right for VE only
    assert (gap(sigma / alpha, schedule.sigma(t)) > 1e-3) == (name != "VE")


def test_vp_is_its_sde():
    t, schedule = torch.linspace(0.05, 1, 7, dtype=torch.float64), VP()
    beta = schedule.low + t * (schedule.high - schedule.low)
    f, g_squared = drift_and_diffusion(schedule, t)
    assert gap(f, -beta / 2) < TIGHT and gap(g_squared, beta) < TIGHT


@pytest.mark.parametrize("name", SCHEDULES)
def test_both_fields_write_down_the_same_process(name):
    """f z - (1 + eta^2) / 2 g^2 score = u - epsilon^2 / 2 score, for any eta."""
    schedule, t = SCHEDULES[name], torch.full((20,), 0.4, dtype=torch.float64)
    data, x, eps = ring(), ring().draw(20, torch.Generator().manual_seed(1)), noise(20, 2)
    a, b = schedule.alpha(t), schedule.sigma(t)
    z = a[:, None] * x + b[:, None] * eps
    score, clean = data.score(z, a, b), data.denoise(z, a, b)
    f, g_squared = (v[:, None] for v in drift_and_diffusion(schedule, t))
    u = path_velocity(schedule, t[:, None].expand(20, 2), clean, (z - a[:, None] * clean) / b[:, None])
    for eta in (0.0, 0.7, 1.0):
        ours = flow_drift(u, score, eta * g_squared.sqrt())
        assert gap(diffusion_drift(z, score, f, g_squared, eta), ours) < TIGHT
        assert gap(diffusion_drift(z, score, f, 2 * g_squared, eta), ours) > 1e-3


# Samplers


def mixture_denoiser(log_snr_free=False):
    data = ring()
    return lambda z, log_snr: data.denoise(z, *samplers.circle(log_snr))


def test_ddim_is_euler_in_flow_time_under_any_rescaling():
    """One path of DDIM, held in every schedule's own scale and in one made up here, is Euler's in flow time; Euler on the probability flow is not."""
    grid, data = torch.linspace(-6, 6, 13, dtype=torch.float64), ring()
    z = noise(50, 2)
    ours = samplers.sample(mixture_denoiser(), z, grid, "ddim") / samplers.circle(grid[-1])[0]
    times = Flow().time(grid)

    def velocity(x, t):
        clean = data.denoise(x, 1 - t, t)
        return (x - clean) / t

    start = z / sum(samplers.circle(grid[0]))
    flow = samplers.euler_in_flow_time(velocity, start, times) / (1 - times[-1])
    assert gap(flow, ours) < TIGHT
    for schedule in SCHEDULES.values():
        t = schedule.time(grid)
        a, b = schedule.alpha(t), schedule.sigma(t)
        x = z * a[0] / samplers.circle(grid[0])[0]
        y = x * (1 + grid[0] ** 2)  # any scale at all that depends on the level
        for i in range(len(grid) - 1):
            clean = data.denoise(x, a[i], b[i])
            x = a[i + 1] * clean + b[i + 1] * (x - a[i] * clean) / b[i]
            again = y / (1 + grid[i] ** 2)
            clean = data.denoise(again, a[i], b[i])
            y = (1 + grid[i + 1] ** 2) * (a[i + 1] * clean + b[i + 1] * (again - a[i] * clean) / b[i])
        assert gap(x / a[-1], ours) < TIGHT
        assert gap(y / (1 + grid[-1] ** 2) / a[-1], ours) < TIGHT
    for schedule in (Cosine(), VP()):
        t = schedule.time(grid)
        x = samplers.euler_of_probability_flow(
            lambda x, s: data.denoise(x, 1.0, s),
            z * schedule.alpha(t[0]) / samplers.circle(grid[0])[0],
            schedule,
            t,
        )
        assert gap(x / schedule.alpha(t[-1]), ours) > 1e-2


def test_a_ddpm_step_is_a_double_ddim_step_and_noise():
    source, target = (torch.tensor(v, dtype=torch.float64) for v in (-1.3, 0.4))
    z, clean, eps = noise(100, seed=1), noise(100, seed=2), noise(100, seed=3)
    theirs = samplers.ddpm_step(z, clean, source, target, eps)
    beyond = source + 2 * (target - source)
    ours = samplers.renoise(samplers.ddim_step(z, clean, source, beyond), beyond, target, eps)
    assert gap(ours, theirs) < TIGHT
    assert gap(samplers.churned_step(z, clean, source, target, 0.5, eps), theirs) < TIGHT
    for wrong in (1.5, 3.0):
        beyond = source + wrong * (target - source)
        assert (
            gap(samplers.renoise(samplers.ddim_step(z, clean, source, beyond), beyond, target, eps), theirs)
            > 1e-2
        )


def test_churn():
    """None is DDIM; for Gaussian data any churn keeps the spread as steps grow small, and ever more of the first noise is forgotten."""
    source, target = (torch.tensor(v, dtype=torch.float64) for v in (-1.3, 0.4))
    z, clean, eps = noise(100, seed=1), noise(100, seed=2), noise(100, seed=3)
    none = samplers.churned_step(z, clean, source, target, 0.0, eps)
    assert gap(none, samplers.ddim_step(z, clean, source, target)) < TIGHT
    spread, kept = 0.6, []
    for churn in (0.0, 0.3, 0.5, 0.8):
        errors = []
        for steps in (100, 200):
            slope, variance = gaussian_sampler(
                churn, spread, torch.linspace(-8, 8, steps + 1, dtype=torch.float64)
            )
            errors.append(abs(float(slope**2 + variance) - expected_variance(spread, 8.0)))
        assert errors[1] < 0.62 * errors[0] and errors[1] < 0.04
        kept.append(float(slope.abs()))
    assert kept == sorted(kept, reverse=True)


def expected_variance(spread, log_snr):
    a, b = samplers.circle(torch.tensor(log_snr, dtype=torch.float64))
    return float(a**2 * spread**2 + b**2)


def gaussian_sampler(churn, spread, grid):
    """(what is left of the first noise, variance of all the fresh noise) in the end, exactly: with Gaussian data every step is linear."""
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    slope, variance = one, zero
    for source, target in zip(grid[:-1], grid[1:]):
        a, b = samplers.circle(source)
        shrink = a * spread**2 / (a**2 * spread**2 + b**2)
        factor = samplers.churned_step(one, shrink, source, target, churn, zero)
        fresh = samplers.churned_step(zero, zero, source, target, churn, one)
        slope, variance = factor * slope, factor**2 * variance + fresh**2
    return slope, variance


def test_reversed_ddim_and_renoising_agree_as_populations_only():
    """The same marginal, other samples. For Gaussian data the spread of both to the sampler's first order, for the 2-D mixture within sampling error."""
    alpha, sigma = samplers.circle(torch.tensor(-0.5, dtype=torch.float64))
    spread, errors = 0.6, []
    for steps in (100, 200, 400):  # with Gaussian data every step is a factor
        grid = torch.linspace(12, -0.5, steps + 1, dtype=torch.float64)
        slope, _ = gaussian_sampler(0.0, spread, grid)
        first = expected_variance(spread, 12.0)
        errors.append(abs(float(slope**2 * first - (alpha**2 * spread**2 + sigma**2))))
    assert errors[1] < 0.55 * errors[0] and errors[2] < 0.55 * errors[1] < 0.01
    data, count = ring(), 4000
    x = data.draw(count, torch.Generator().manual_seed(1))
    grid = torch.linspace(12, -0.5, 200, dtype=torch.float64)
    first = samplers.circle(grid[0])
    up = samplers.sample(mixture_denoiser(), first[0] * x + first[1] * noise(count, 2, seed=4), grid, "ddim")
    noised = alpha * x + sigma * noise(count, 2, seed=2)
    again = alpha * data.draw(count, torch.Generator().manual_seed(3)) + sigma * noise(count, 2, seed=5)
    floor = sliced_distance(noised, again)
    assert sliced_distance(up, noised) < 1.5 * floor
    assert (up - noised).norm(dim=1).mean() > 10 * floor
    assert sliced_distance(0.9 * up, noised) > 1.5 * floor  # a wrong marginal would be seen


@pytest.mark.parametrize("kind", ["ddim", "ddpm", "dpm++"])
def test_weights_of_predictions_in_the_final_sample(kind):
    grid = torch.tensor([-6.0, -4.5, -2.0, -1.0, 0.5, 3.0, 7.0], dtype=torch.float64)
    ran = samplers.history(kind, grid)
    assert gap(ran, samplers.history_in_closed_form(kind, grid)) < TIGHT
    for other in {"ddim", "ddpm", "dpm++"} - {kind}:
        assert gap(samplers.history_in_closed_form(other, grid), ran) > 1e-3
    # with no noise left and one prediction throughout, the sample is that prediction
    long = torch.linspace(-30, 30, 40, dtype=torch.float64)
    assert abs(float(samplers.history(kind, long).sum()) - 1) < 1e-6


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 2.5])
def test_the_sde_of_a_flow_keeps_the_marginals(epsilon):
    """Fokker-Planck, term by term, at points of the mixture: the density of the straight path solves it for any epsilon."""
    data, t = ring(), torch.tensor(0.4, dtype=torch.float64)
    points = (1 - t) * data.draw(30, torch.Generator().manual_seed(1)) + t * noise(30, 2)

    def density(point, time):
        return data.log_density(point[None], 1 - time, time).exp()[0]

    def drift(point, halves=0.5):
        clean, score = data.denoise(point[None], 1 - t, t), data.score(point[None], 1 - t, t)
        return ((point - clean) / t - halves * epsilon**2 * score)[0]

    def residual(point, halves=0.5):
        change = torch.func.grad(lambda time: density(point, time))(t)
        flux = torch.func.jacrev(lambda p: density(p, t) * drift(p, halves))(point).trace()
        spreading = torch.func.jacrev(torch.func.grad(lambda p: density(p, t)))(point).trace()
        return change + flux + epsilon**2 / 2 * spreading  # time runs down: the noise has the other sign

    assert max(abs(float(residual(p))) for p in points) < TIGHT
    if epsilon:
        assert max(abs(float(residual(p, halves=1.0))) for p in points) > 1e-3


def test_paths_are_straight_for_a_point_only():
    point = Mixture(torch.tensor([[0.7, -0.2]], dtype=torch.float64), 0.0)
    wide = ring()
    start = noise(20, 2)
    for data, straight in ((point, True), (wide, False)):
        path = [start]
        for t in torch.linspace(1, 1 / 64, 64, dtype=torch.float64):
            path.append(path[-1] - (path[-1] - data.denoise(path[-1], 1 - t, t)) / t / 64)
        path = torch.stack(path)
        along = torch.linspace(0, 1, 65, dtype=torch.float64)[:, None, None]
        bend = (path - torch.lerp(path[0], path[-1], along)).norm(dim=-1).max()
        assert (bend < TIGHT) == straight and (straight or bend > 0.1)


def test_which_integrator_is_best_depends_on_the_spread_of_the_data():
    best = {
        spread: min(e := sweep.integrator_errors(spread), key=e.get) for spread in (0.01, 0.1, 0.3, 1.0, 10.0)
    }
    assert best == {0.01: "log-SNR", 0.1: "log-SNR", 0.3: "angle", 1.0: "angle", 10.0: "log-SNR"}
    assert sweep.integrator_errors(1.0)["angle"] < TIGHT  # on the circle unit-spread data do not move at all
    assert sweep.integrator_errors(0.0)["flow time"] < TIGHT  # and a point's paths are straight


# Losses


def gaussian_eps_error(log_snr, spread=0.7):
    """E|eps^ - eps|^2 of the best denoiser for N(0, spread^2) data, by which any loss can be integrated exactly."""
    return spread**2 / (spread**2 + (-log_snr).exp())


def loss_over_time(schedule, weight, low=-7.0, high=9.0, importance=True):
    """The loss as training sees it: a mean over uniform time between two log-SNRs, by Gauss-Legendre."""
    ends = schedule.time(torch.tensor([high, low], dtype=torch.float64))
    nodes, weights = (torch.as_tensor(v, dtype=torch.float64) for v in _legendre())
    edges = torch.linspace(0, 1, 401, dtype=torch.float64) * (ends[1] - ends[0]) + ends[0]
    middle, half = (edges[:-1] + edges[1:]) / 2, edges.diff() / 2
    log_snr = schedule.log_snr((middle[:, None] + half[:, None] * nodes).flatten())
    speed = 1 / weightings.density(schedule, log_snr) if importance else 1
    values = (weight(log_snr) * speed * gaussian_eps_error(log_snr)).view(len(half), -1)
    return float((values * weights * half[:, None]).sum())


def _legendre():
    import numpy as np

    return np.polynomial.legendre.leggauss(16)


def test_the_loss_does_not_depend_on_the_training_schedule_between():
    weight = weightings.sigmoid
    losses = [loss_over_time(schedule, weight) for schedule in SCHEDULES.values()]
    assert max(losses) - min(losses) < TIGHT * max(losses)
    assert abs(loss_over_time(Flow(), weight, low=-4.0) - losses[0]) > 1e-3  # its ends do matter
    wrong = [loss_over_time(schedule, weight, importance=False) for schedule in SCHEDULES.values()]
    assert max(wrong) - min(wrong) > 1e-2


def test_only_its_variance_does():
    """The same loss from 20 000 draws of lambda under each schedule: one mean, and spreads that differ by more than a half."""
    ends = torch.tensor([9.0, -7.0], dtype=torch.float64)
    spreads, means = [], []
    for name in ("flow", "cosine", "VP", "VE"):
        schedule = SCHEDULES[name]
        first, last = schedule.time(ends)
        t = first + (last - first) * torch.rand(
            20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        log_snr = schedule.log_snr(t)
        drawn = (
            weightings.sigmoid(log_snr) / weightings.density(schedule, log_snr) * gaussian_eps_error(log_snr)
        )
        drawn = drawn * (last - first)
        means.append((float(drawn.mean()), float(drawn.std()) / math.sqrt(len(drawn))))
        spreads.append(float(drawn.std() / drawn.mean()))
    truth = loss_over_time(Flow(), weightings.sigmoid)
    assert all(abs(mean - truth) < 4 * error for mean, error in means)
    assert max(spreads) > 1.5 * min(spreads)


def test_a_training_schedule_is_a_distribution_of_log_snr():
    grid = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
    for density in (
        weightings.density(Flow(), grid),
        weightings.density(Cosine(), grid),
        weightings.logit_normal(grid),
        weightings.log_normal(grid),
    ):
        assert abs(float(torch.trapezoid(density, grid)) - 1) < TIGHT
    t = torch.sigmoid(noise(200_000))
    drawn = -2 * torch.logit(t)
    assert abs(float(drawn.std()) - 2) < 0.02 and abs(float(drawn.mean())) < 0.02


def test_flow_matching_is_v_prediction_with_the_cosine_schedule():
    flow, v = weightings.flow_matching(Flow(), GRID), weightings.v_mse(Cosine(), GRID)
    assert gap(flow / v, torch.full_like(GRID, math.pi / 2)) < TIGHT
    assert gap(flow / (-GRID / 2).exp(), torch.full_like(GRID, 0.5)) < TIGHT
    for wrong in (weightings.v_mse(VP(), GRID), weightings.eps_mse(Cosine(), GRID)):
        ratio = flow / wrong
        assert (ratio.max() / ratio.min()) > 1.5


@pytest.mark.parametrize(
    "kind, worth",
    [("x0", weightings.worth_of_x0), ("v", weightings.worth_of_v), ("flow", weightings.worth_of_flow)],
)
def test_what_an_error_of_each_output_is_worth(kind, worth):
    """Two guesses of eps at one z: the squared differences of the outputs, in units of that of eps."""
    scale = {
        "x0": samplers.circle,
        "v": samplers.circle,
        "flow": lambda s: (1 - Flow().time(s), Flow().time(s)),
    }[kind]
    for log_snr in GRID:
        alpha, sigma = scale(log_snr)
        z, e, d = noise(4, seed=1), noise(4, seed=2), noise(4, seed=3)
        outputs = [output(kind, (z - sigma * eps) / alpha, eps, alpha, sigma) for eps in (e, e + d)]
        assert gap((outputs[1] - outputs[0]).square() / d.square() / worth(log_snr), torch.ones(4)) < 1e-9


def test_weightings_of_edm_and_sd3_are_alike():
    grid = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    edm = weightings.edm(grid)
    assert weightings.correlation(edm, weightings.sd3(grid)) == pytest.approx(0.993, abs=1e-3)
    assert weightings.correlation(edm, weightings.eps_mse(VP(), grid)) < 0.85
