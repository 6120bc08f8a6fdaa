"""Noise reinjection and consistency sampling on the closed-form model, alone and inside rollouts."""

import math

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, cond, make_model, one_hot, uncond
from graphs import Graph, evaluated, half_mask, some_latent
from noisesearch.nodes.samplers import (
    ANGLES,
    NoiseSearchConsistency,
    NoiseSearchReinjectKSampler,
    NoiseSearchReinjectNoise,
)
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.samplers import SINGLE_STEP, multistep_consistency, overshoot, reinject_noise
from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

NAMES = sorted(name.removeprefix("sample_") for name in SINGLE_STEP)
MULTISTEP = [
    "lms",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "uni_pc",
    "deis",
    "ipndm",
    "res_multistep",
    "gradient_estimation",
    "er_sde",
    "sa_solver",
    "heunpp2",
    "dpm_fast",
]


def run(graph, sampler, seed=3, latent=None, mask=None, sigmas=None):
    latent = graph.latent["samples"] if latent is None else latent
    noise = comfy.sample.prepare_noise(latent, seed)
    return graph.guider.sample(
        noise,
        latent,
        sampler,
        graph.sigmas if sigmas is None else sigmas,
        denoise_mask=mask,
        seed=seed,
        disable_pbar=True,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*NAMES, "ddim"])
@torch.inference_mode()
def test_no_churn_is_the_wrapped_sampler_to_the_bit(family, name):
    graph = Graph.mixture(family, sampler_name=name, latent={"samples": some_latent()}, denoise=0.7)
    for mask in (None, half_mask()):
        stock = run(graph, graph.sampler, mask=mask)
        assert torch.equal(run(graph, reinject_noise(graph.sampler, 0.0), mask=mask), stock)
        assert torch.equal(
            run(graph, reinject_noise(graph.sampler, 0.5, start=0.0001), mask=mask), stock
        )  # a window without steps
        assert not torch.equal(run(graph, reinject_noise(graph.sampler, 0.5), mask=mask), stock)


@pytest.mark.parametrize("name", MULTISTEP)
def test_multistep_samplers_are_refused(name):
    with pytest.raises(ValueError, match="single-step samplers only"):
        NoiseSearchReinjectNoise.execute(comfy.samplers.sampler_object(name), 0.3, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [((1.0, 1.0, 0.0), "Churn"), ((-0.1, 1.0, 0.0), "Churn"), ((0.3, 0.2, 0.5), "window")],
)
def test_bad_settings_of_reinjection(values, message):
    with pytest.raises(ValueError, match=message):
        reinject_noise(comfy.samplers.sampler_object("euler"), *values)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_half_churn_on_euler_is_ddpm(family):
    """Each inner step against DDPM's posterior in mean and variance: many rows, one step, residuals against the exact law."""
    graph = Graph.mixture(family, cfg=1.0)
    levels = Levels(graph.model.get_model_object("model_sampling"))
    s, r = levels.sigma(torch.tensor(0.6)), levels.sigma(torch.tensor(0.5))
    sigmas = torch.stack([s, r]).float()
    rows, latent = 256, torch.zeros(256, 4, 8, 8)
    noise = torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    seen = {}

    def spying(model, x, steps, extra_args=None, callback=None, disable=None):
        seen["x"] = x.clone()
        seen["x0"] = model(x, steps[0] * x.new_ones([len(x)]), **extra_args)
        seen["out"] = sampler.sampler_function(
            model, x, steps, extra_args=dict(extra_args), callback=callback, disable=disable
        )
        return seen["out"]

    sampler = reinject_noise(comfy.samplers.sampler_object("euler"), 0.5)
    graph.guider.sample(noise, latent, comfy.samplers.KSAMPLER(spying), sigmas, seed=5, disable_pbar=True)
    (a_s, b_s), (a_r, b_r) = levels.coefficients(s), levels.coefficients(r)
    ratio, extra = a_s / a_r, b_s**2 - (a_s / a_r) ** 2 * b_r**2
    precision = 1 / b_r**2 + ratio**2 / extra
    mean = (a_r * seen["x0"].double() / b_r**2 + ratio * seen["x"].double() / extra) / precision
    residual = ((seen["out"].double() - mean) * precision.sqrt()).flatten()
    assert len(residual) >= 20_000
    band = 5 / len(residual) ** 0.5
    assert abs(residual.mean()) < band and abs(residual.var() - 1) < band * 2**0.5


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_grid_stays_the_users(family):
    """The levels at which steps begin are the user's own; only the steps in the window overshoot."""
    graph = Graph.mixture(family, cfg=1.0)
    levels = Levels(graph.model.get_model_object("model_sampling"))
    begun = []
    churned = reinject_noise(graph.sampler, 0.4, start=0.8, end=0.2)
    churned_run = lambda info: begun.append((info["i"], float(info["sigma"])))  # noqa: E731
    function = churned.sampler_function

    def watched(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return function(model, x, sigmas, extra_args=extra_args, callback=churned_run, disable=disable)

    run(graph, comfy.samplers.KSAMPLER(watched))
    assert [i for i, _ in begun] == list(range(graph.steps))
    assert [s for _, s in begun] == graph.sigmas[:-1].tolist()
    assert overshoot(0.0, 1.0, 0.0) == 1.0 and overshoot(1.0, 2.0, 0.5) == 3.0
    assert levels.time(graph.sigmas[:1]).item() > 0.8  # the window left out at least the first step


@pytest.mark.parametrize("name", ["euler", "heun", "euler_ancestral", "dpmpp_sde", "lcm", "ddim"])
@torch.inference_mode()
def test_reinjection_in_rollouts(name):
    """Rows equal runs of their own, also with a mask; churn = 0 equals stock; NFE as predicted."""
    for mask in (None, half_mask()):
        latent = {"samples": some_latent(), **({} if mask is None else {"noise_mask": mask})}
        graph = Graph.mixture("EPS", sampler_name=name, latent=latent)
        for churn in (0.0, 0.3):
            sampler = reinject_noise(comfy.samplers.sampler_object(name), churn)
            graph.own_sampler = sampler
            graph.model.spy.reset()
            evaluator = graph.evaluator(rows=3)
            outcomes = evaluated(evaluator, [fresh(7 + i) for i in range(3)])
            assert graph.model.spy.rows == evaluator.ledger.network_rows == 2 * sum(o.nfe for o in outcomes)
            assert max(graph.model.spy.batches) == 6
            for i in range(3):
                assert outcomes[i].nfe == evaluator.cost(fresh(0), None)
                torch.testing.assert_close(
                    evaluator.shelf[i].latent, run(graph, sampler, 7 + i, mask=mask), atol=1e-4, rtol=0
                )
                if churn == 0.0:
                    graph.own_sampler = None
                    torch.testing.assert_close(
                        evaluator.shelf[i].latent, graph.stock(7 + i), atol=1e-4, rtol=0
                    )
                    graph.own_sampler = sampler


@torch.inference_mode()
def test_reinjection_keeps_the_distribution():
    """On a model whose denoiser is exact, churned sampling still lands on the mixture: the component's spread, not more, not less."""
    graph = Graph.mixture("CONST", cfg=1.0, steps=60)
    graph.positive = cond(one_hot(1))
    mixture = graph.model.mixture
    spreads = {}
    for churn in (0.0, 0.3):
        samples = run(graph, reinject_noise(graph.sampler, churn), latent=torch.zeros(100, 4, 8, 8))
        x0 = graph.model.model.process_latent_in(samples).double()
        assert bool((mixture.mode_of(x0) == 1).all())
        spreads[churn] = float((x0 - mixture.means[1]).std() / mixture.stds[1])
    assert spreads[0.3] == pytest.approx(1.0, abs=0.08) and spreads[0.0] == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("churn", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("name", ["dpmpp_sde", "seeds_3", "heun", "dpm_2", "dpm_2_ancestral"])
@torch.inference_mode()
def test_reinjection_keeps_the_distribution_of_accurate_samplers(name, churn):
    """Those that are near 1 on the exact denoiser stay there: what is put back is new noise, not what the sampler itself drew or will draw."""
    graph = Graph.mixture("CONST", cfg=1.0, steps=80, sampler_name=name)
    graph.positive = cond(one_hot(1))
    mixture = graph.model.mixture
    x0 = graph.model.model.process_latent_in(
        run(graph, reinject_noise(graph.sampler, churn), latent=torch.zeros(40, 4, 8, 8))
    ).double()
    assert float((x0 - mixture.means[1]).std() / mixture.stds[1]) == pytest.approx(1.0, abs=0.05)


def churned(graph, sampler):
    """Which steps of the schedule a SAMPLER changes: (flow time before, after) of each, against the wrapped one on the same state."""
    levels, changed = Levels(graph.model.get_model_object("model_sampling")), []
    times = [round(float(t), 6) for t in levels.time(graph.sigmas)]

    def watch(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            step = sigmas[i : i + 2]
            plain = graph.sampler.sampler_function(model, x, step, extra_args=dict(extra_args), disable=True)
            if not torch.equal(
                sampler.sampler_function(model, x, step, extra_args=dict(extra_args), disable=True), plain
            ):
                changed.append((times[i], times[i + 1]))
            x = plain
        return x

    run(graph, comfy.samplers.KSAMPLER(watch))
    return changed


@torch.inference_mode()
def test_the_window_holds_whole_steps_and_is_exact_at_its_edges():
    graph = Graph.mixture("CONST", steps=10, cfg=1.0)
    tenths = [(round(1 - i / 10, 6), round(0.9 - i / 10, 6)) for i in range(10)]
    assert (
        churned(graph, reinject_noise(graph.sampler, 0.4)) == tenths[1:-1]
    )  # not from pure noise, not to the clean image
    for first in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3):
        assert churned(graph, reinject_noise(graph.sampler, 0.4, start=first))[0][0] == first
        assert [below for _, below in churned(graph, reinject_noise(graph.sampler, 0.4, end=first))][-1:] == (
            [first] if first < 0.9 else []
        )
    assert churned(graph, reinject_noise(graph.sampler, 0.4, start=0.75, end=0.35)) == [
        (0.7, 0.6),
        (0.6, 0.5),
        (0.5, 0.4),
    ]
    assert churned(graph, reinject_noise(graph.sampler, 0.4, start=0.55, end=0.5)) == []


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_before_the_window_it_is_the_wrapped_sampler(name):
    """A late window does not change how the image begins, whatever the sampler draws."""
    graph, states = Graph.mixture("EPS", steps=10, cfg=1.0, sampler_name=name), {}
    levels = Levels(graph.model.get_model_object("model_sampling"))
    for churn in (0.0, 0.3):
        states[churn], function = [], reinject_noise(graph.sampler, churn, start=0.6).sampler_function

        def watch(
            model,
            x,
            sigmas,
            extra_args=None,
            callback=None,
            disable=None,
            function=function,
            seen=states[churn],
        ):
            return function(
                model,
                x,
                sigmas,
                extra_args=extra_args,
                callback=lambda info: seen.append((float(info["sigma"]), info["x"].clone())),
                disable=disable,
            )

        run(graph, comfy.samplers.KSAMPLER(watch))
    before = [
        (sigma, a, b)
        for (sigma, a), (_, b) in zip(states[0.0], states[0.3])
        if float(levels.time(sigma)) > 0.6
    ]
    assert len(before) >= 3 and all(torch.allclose(a, b, atol=1e-4) for _, a, b in before)
    assert not torch.allclose(states[0.0][-1][1], states[0.3][-1][1], atol=1e-2)


@pytest.mark.parametrize(
    "sampler",
    [
        comfy.samplers.ksampler("euler_ancestral", {"s_noise": 1.5}),
        comfy.samplers.ksampler("dpmpp_2m_sde", {"s_noise": 1.3}),
        reinject_noise(comfy.samplers.sampler_object("euler"), 0.3, s_noise=2.0),
    ],
    ids=["ancestral", "brownian", "reinjection"],
)
@torch.inference_mode()
def test_more_noise_on_purpose_is_no_reason_to_refuse_a_piece(sampler):
    graph = Graph.mixture("EPS", own_sampler=sampler, steps=12)
    found = graph.search(SearchOverPaths(2, 2), budget_nfe=400)
    assert found.report["totals"]["network_rows"] == graph.model.spy.rows


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_s_noise_scales_what_is_put_back(family):
    graph = Graph.mixture(family, cfg=1.0)
    levels = Levels(graph.model.get_model_object("model_sampling"))
    sigmas = levels.sigma(torch.tensor([0.6, 0.5])).float()
    ends = [
        run(
            graph,
            reinject_noise(graph.sampler, 0.5, s_noise=s),
            sigmas=sigmas,
            latent=torch.zeros(64, 4, 8, 8),
        )
        for s in (0.0, 1.0, 2.0)
    ]
    torch.testing.assert_close(ends[2] - ends[1], ends[1] - ends[0], atol=1e-4, rtol=1e-4)
    before, after = levels.log_snr(sigmas)
    over = levels.sigma_from_log_snr(overshoot(before, after, 0.5))
    (a_s, b_s), (a_r, b_r) = levels.coefficients(over), levels.coefficients(sigmas[1])
    spread = (
        (ends[1] - ends[0]).double().std() * float(graph.model.model.latent_format.scale_factor) * a_r
    )  # ComfyUI gives x / a
    assert float(spread / (b_r**2 - (a_r / a_s) ** 2 * b_s**2).sqrt()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_highest_churn_gives_numbers(family, name):
    graph = Graph.mixture(family, sampler_name=name, steps=12, cfg=1.0)
    sigmas = []

    def watch(model, x, steps, extra_args=None, callback=None, disable=None):
        def asked(x, sigma, **more):
            sigmas.append(float(sigma.flatten()[0]))
            return model(x, sigma, **more)

        asked.inner_model, asked.noise, asked.latent_image = (
            model.inner_model,
            getattr(model, "noise", None),
            getattr(model, "latent_image", None),
        )
        return reinject_noise(graph.sampler, 0.99).sampler_function(
            asked, x, steps, extra_args=extra_args, callback=callback, disable=disable
        )

    assert bool(torch.isfinite(run(graph, comfy.samplers.KSAMPLER(watch))).all())
    assert min(sigmas) > 1e-3 * float(graph.sigmas[-2])


@torch.inference_mode()
def test_ksampler_reinject_counts_and_equals_the_sampler():
    graph = Graph.mixture(
        "V_PREDICTION",
        sampler_name="heun",
        latent={"samples": some_latent(2), "noise_mask": half_mask()},
        denoise=0.6,
    )
    latent, nfe, rows = NoiseSearchReinjectKSampler.execute(
        graph.model,
        3,
        graph.steps,
        graph.cfg,
        "heun",
        "simple",
        graph.positive,
        graph.negative,
        graph.latent,
        0.6,
        0.3,
        1.0,
        0.0,
        1.0,
    ).result
    assert rows == graph.model.spy.rows == 2 * nfe
    torch.testing.assert_close(
        latent["samples"], run(graph, reinject_noise(graph.sampler, 0.3), mask=half_mask()), atol=1e-6, rtol=0
    )


# -- consistency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_consistency_on_the_schedule_is_lcm(family):
    graph = Graph.mixture(family, sampler_name="lcm", latent={"samples": some_latent()}, denoise=0.8)
    own = multistep_consistency()
    for mask in (None, half_mask()):
        torch.testing.assert_close(
            run(graph, own, mask=mask), run(graph, graph.sampler, mask=mask), atol=1e-6, rtol=0
        )
    graph.own_sampler = own
    evaluator = graph.evaluator(rows=3)
    outcomes = evaluated(evaluator, [fresh(7 + i) for i in range(3)])
    assert max(graph.model.spy.batches) == 6 and outcomes[0].nfe == graph.steps
    graph.own_sampler = None
    for i in range(3):
        torch.testing.assert_close(evaluator.shelf[i].latent, graph.stock(7 + i), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_two_steps_by_hand(family):
    """SANA-Sprint's two steps, written out with the closed-form denoiser."""
    graph = Graph.mixture(family, cfg=1.0)
    sampler = NoiseSearchConsistency.execute("SANA-Sprint (angle 1.3)", "", 1.0).result[0]
    noise = comfy.sample.prepare_noise(graph.latent["samples"], 3)
    out = graph.model.model.process_latent_in(run(graph, sampler)).double()
    sampling, mixture = graph.model.get_model_object("model_sampling"), graph.model.mixture
    levels = Levels(sampling)
    top, middle = graph.sigmas[0], levels.sigma_from_angle(1.3)
    assert float(levels.sigma_hat(middle)) == pytest.approx(float(torch.tan(torch.tensor(1.3))))
    logits = torch.zeros(4, dtype=torch.float64)
    logits[2] = 1000.0
    x = sampling.noise_scaling(top, noise.clone(), torch.zeros_like(noise), True).double()
    first = mixture.posterior_mean(x, *levels.coefficients(top), logits)
    z = comfy.k_diffusion.sampling.default_noise_sampler(noise, seed=3)(0, 0).double()
    a, b = levels.coefficients(middle)
    second = mixture.posterior_mean(a * first.view_as(z) + b * z, a, b, logits)
    torch.testing.assert_close(out, second.view_as(out), atol=1e-4, rtol=0)
    assert graph.model.spy.calls == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("levels", "values", "sigma_data", "ratio"),
    [
        ("SANA-Sprint (angle 1.3)", "", 1.0, math.tan(1.3)),
        ("sCM (angle 1.1, sigma_data 0.5)", "", 1.0, 0.5 * math.tan(1.1)),
        (ANGLES, "1.2", 0.7, 0.7 * math.tan(1.2)),
        ("own flow times", "0.6", 1.0, 1.5),
    ],
)
@torch.inference_mode()
def test_the_level_between_is_the_published_one(family, levels, values, sigma_data, ratio):
    """sigma_hat = sigma_data tan(angle), or t / (1 - t)."""
    graph, asked = Graph.mixture(family, cfg=1.0), []
    known = Levels(graph.model.get_model_object("model_sampling"))
    function = NoiseSearchConsistency.execute(levels, values, sigma_data).result[0].sampler_function

    def watch(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return function(
            model,
            x,
            sigmas,
            extra_args=extra_args,
            callback=lambda info: asked.append(float(known.sigma_hat(info["sigma"]))),
            disable=disable,
        )

    run(graph, comfy.samplers.KSAMPLER(watch))
    assert len(asked) == 2 and asked[1] == pytest.approx(ratio, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ANGLES, "1.3, 1.4", "fall"),
        (ANGLES, "2", "between 0"),
        (ANGLES, "x", "numbers"),
        ("own flow times", "1.0", "between 0"),
        (ANGLES, "", "between 0"),
        (ANGLES, "nan", "between 0"),
        (ANGLES, "1," * 101, "at most 100 numbers, but got 101"),
        (ANGLES, "x" * 1_000_000, "numbers"),
    ],
)
def test_bad_levels(kind, values, message):
    with pytest.raises(ValueError, match=message) as refused:
        NoiseSearchConsistency.execute(kind, values, 1.0)
    assert len(str(refused.value)) < 400


@torch.inference_mode()
def test_pieces_of_a_consistency_run_use_the_levels_inside_them():
    graph = Graph.mixture("CONST", own_sampler=multistep_consistency(times=[0.8, 0.4]))
    evaluator = graph.evaluator(rows=2)
    rollouts = [Rollout(NoiseRecipe(1), stop=0.6, score=False), Rollout(NoiseRecipe(2), 0, 0.9, 0.0)]
    assert [evaluated(evaluator, [r], first=i)[0].nfe for i, r in enumerate(rollouts)] == [2, 3]


@pytest.mark.parametrize(
    "sampler",
    [reinject_noise(comfy.samplers.sampler_object("euler"), 0.3), multistep_consistency(times=[0.6, 0.3])],
    ids=["reinjection", "consistency"],
)
@torch.inference_mode()
def test_videos(sampler):
    """5D latents: rows equal runs of their own."""
    graph = Graph(
        make_model("CONST", dims=3),
        cond(one_hot(2)),
        uncond(),
        {"samples": torch.zeros(1, 4, 3, 8, 8)},
        own_sampler=sampler,
    )
    evaluator = graph.evaluator(rows=2)
    evaluated(evaluator, [fresh(7), fresh(8)])
    for i in range(2):
        torch.testing.assert_close(evaluator.shelf[i].latent, run(graph, sampler, 7 + i), atol=1e-4, rtol=0)
