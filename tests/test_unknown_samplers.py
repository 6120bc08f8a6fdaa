"""Samplers that ComfyUI does not have, or that only bear the name of one: what they draw is found out, and rows equal lone runs."""

import functools

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES
from comfy.k_diffusion import sampling as k
from comfy.samplers import KSAMPLER
from graphs import Graph, evaluated
from noisesearch.sampling.samplers import reinject_noise
from noisesearch.sampling.solvers import NOTHING, ROWS, SEEDS, Solver
from noisesearch.sampling.toy import learn, steps_alone
from noisesearch.search.algorithms.base import fresh

SEED = 7


def steps(draw=lambda x, seed: 0.0, change=lambda x: x):
    """An Euler sampler of another pack that does something to each denoised, and adds noise."""

    def sample_theirs(model, x, sigmas, extra_args=None, callback=None, disable=None, s_noise=1.0):
        for here, there in zip(sigmas[:-1], sigmas[1:]):
            denoised = change(model(x, here * x.new_ones([len(x)]), **extra_args))
            x = denoised + (x - denoised) * (there / here)
            x = x + s_noise * 0.1 * there * draw(x, extra_args["seed"])
        return x

    return sample_theirs


@functools.wraps(k.sample_euler)
def borrowed(model, x, sigmas, extra_args=None, callback=None, disable=None):
    for here, there in zip(sigmas[:-1], sigmas[1:]):
        denoised = model(x, here * x.new_ones([len(x)]), **extra_args)
        x = denoised + there * torch.randn_like(x)
    return x


def passed_on(name, **settings):
    """As later versions of ComfyUI make new samplers out of known ones."""

    @torch.no_grad()
    def sample_passed_on(model, x, sigmas, extra_args=None, callback=None, disable=None, noise_sampler=None):
        return getattr(k, name)(
            model, x, sigmas, extra_args, callback, disable, noise_sampler=noise_sampler, **settings
        )

    return sample_passed_on


def without_options(name):
    return lambda model, x, sigmas, extra_args=None, callback=None, disable=None: getattr(k, name)(
        model, x, sigmas, extra_args, callback, disable
    )


def from_seed(x, seed):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def each_from_its_seed(x, seed):
    seeds = seed if isinstance(seed, list) else [seed]
    return torch.cat([from_seed(x[i : i + 1], one) for i, one in enumerate(seeds)])


UNKNOWN = {
    "steps as Euler does": (steps(), NOTHING),
    "bears the name of Euler": (borrowed, None),
    "global noise": (steps(lambda x, seed: torch.randn_like(x)), None),
    "noise from the seed": (steps(from_seed), None),
    "noise from a list of seeds": (steps(each_from_its_seed), SEEDS),
    "a known one without noise": (passed_on("sample_seeds_2", eta=0.0, s_noise=0.0, r=1.0), NOTHING),
    "a known one with noise": (passed_on("sample_seeds_2", r=1.0), ROWS),
    "a Brownian tree": (passed_on("sample_dpmpp_sde"), SEEDS),
    "a known one, no options": (without_options("sample_euler_ancestral"), None),
    "a multi-step one": (without_options("sample_dpmpp_2m"), NOTHING),
    "the mean of the rows": (steps(change=lambda x: x + 0.1 * x.mean(0, keepdim=True)), None),
    "the norm of the rows": (steps(change=lambda x: x / (1 + 0.01 * x.norm())), None),
    "the first row": (steps(change=lambda x: x + 0.1 * x[:1]), None),
    "CFG++": (without_options("sample_euler_cfg_pp"), NOTHING),
}


def stock(graph, sampler, seed):
    latent = graph.latent["samples"]
    noise = comfy.sample.prepare_noise(latent, seed)
    return graph.guider.sample(noise, latent, sampler, graph.sigmas, seed=seed, disable_pbar=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", UNKNOWN)
@torch.inference_mode()
def test_rows_of_unknown_samplers_equal_lone_runs(name, family):
    function, draws = UNKNOWN[name]
    graph = Graph.mixture(family, own_sampler=KSAMPLER(function))
    evaluator = graph.evaluator(rows=3)
    outcomes = evaluated(evaluator, [fresh(SEED + i) for i in range(3)])
    assert evaluator.solver.draws == draws
    assert max(graph.model.spy.batches) == (2 if draws is None else 6)
    for i in range(3):
        alone = stock(graph, graph.sampler, SEED + i)
        torch.testing.assert_close(evaluator.shelf[i].latent, alone, atol=1e-4, rtol=0)
        assert outcomes[i].nfe == evaluator.cost(fresh(0), None)
    if draws is None:
        assert (
            evaluator.coupling.rung == "row by row"
            and "may draw random numbers of its own" in evaluator.coupling.why
        )


@pytest.mark.parametrize("churn", [0.0, 2.0])
def test_a_stock_sampler_with_churn_draws_globally(churn):
    graph = Graph.mixture("EPS")
    solver = Solver(comfy.samplers.ksampler("heun", {"s_churn": churn}))
    learn(solver, graph.model.get_model_object("model_sampling"), graph.sigmas)
    assert solver.draws == (None if churn else NOTHING)


@torch.inference_mode()
def test_finding_out_draws_from_no_generator_of_others():
    graph = Graph.mixture("EPS")
    before = torch.get_rng_state()
    for function, _ in UNKNOWN.values():
        learn(Solver(KSAMPLER(function)), graph.model.get_model_object("model_sampling"), graph.sigmas)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_found_out_is_remembered():
    calls = []
    function = steps(change=lambda x: calls.append(len(x)) or x)
    graph = Graph.mixture("EPS")
    for _ in range(2):
        learn(Solver(KSAMPLER(function)), graph.model.get_model_object("model_sampling"), graph.sigmas)
        count, calls[:] = len(calls), []
    assert count == 0
    learn(
        Solver(KSAMPLER(function, {"s_noise": 0.5})),
        graph.model.get_model_object("model_sampling"),
        graph.sigmas,
    )
    assert calls


class Setting:
    """An option whose words do not tell it from another."""

    def __init__(self, noise):
        self.noise = noise

    def __repr__(self):
        return "a setting"


@pytest.mark.parametrize("first", [False, True])
def test_options_that_look_the_same_are_not_taken_for_the_same(first):
    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, setting=None):
        for sigma, lower in zip(sigmas, sigmas[1:]):
            x = x + (lower - sigma) * (x - model(x, sigma * x.new_ones([len(x)]), **extra_args)) / sigma
            x = x + lower * torch.randn_like(x) if setting.noise else x
        return x

    graph, drawn = Graph.mixture("EPS"), {}
    for noise in (first, not first):
        solver = Solver(KSAMPLER(sampler, {"setting": Setting(noise)}))
        learn(solver, graph.model.get_model_object("model_sampling"), graph.sigmas)
        drawn[noise] = solver.draws
    assert drawn == {False: NOTHING, True: None}


SINGLE = {
    "steps as Euler does": True,
    "a known one without noise": True,
    "a known one with noise": True,
    "CFG++": True,
    "bears the name of Euler": False,  # its noise is not known
    "a multi-step one": False,
    "a Brownian tree": False,  # steps that go too far would draw its noise twice
}


@pytest.mark.parametrize("name", SINGLE)
@torch.inference_mode()
def test_noise_is_reinjected_between_the_steps_of_unknown_single_step_samplers(name):
    function, _ = UNKNOWN[name]
    if not SINGLE[name]:
        with pytest.raises(ValueError, match="is not known to be"):
            reinject_noise(KSAMPLER(function), 0.3)
        return
    graph = Graph.mixture("CONST", own_sampler=reinject_noise(KSAMPLER(function), 0.3))
    evaluator = graph.evaluator(rows=3)
    evaluated(evaluator, [fresh(SEED + i) for i in range(3)])
    assert max(graph.model.spy.batches) == 6
    for i in range(3):
        alone = stock(graph, graph.sampler, SEED + i)
        torch.testing.assert_close(evaluator.shelf[i].latent, alone, atol=1e-4, rtol=0)
    without = stock(graph, KSAMPLER(function), SEED)
    assert (without - evaluator.shelf[0].latent).abs().max() > 1e-3


def test_stock_samplers_that_look_around_take_no_single_steps():
    for name in ("lms", "dpmpp_2m", "heunpp2", "ipndm", "deis", "uni_pc", "res_multistep"):
        assert not steps_alone(Solver(comfy.samplers.sampler_object(name))), name
    for name in (
        "euler",
        "heun",
        "dpm_2",
        "dpmpp_sde",
        "euler_ancestral",
        "lcm",
        "ddpm",
        "seeds_2",
        "seeds_3",
    ):
        assert steps_alone(Solver(comfy.samplers.sampler_object(name))), name
