"""Rollouts that start from a finished sample, and those that go on at their parent's level with a seed of their own."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, coefficients
from comfy.k_diffusion.sampling import default_noise_sampler
from graphs import Graph, evaluated, half_mask, some_latent
from noisesearch.sampling.evaluator import replay
from noisesearch.sampling.schedule import Schedule
from noisesearch.search.algorithms import Replay
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Recipe, Rollout, lineage
from noisesearch.search.seeds import mix

CASES = {
    "txt2img": {},
    "img2img": {"latent": {"samples": some_latent()}, "denoise": 0.7},
    "masked": {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
}
START = 0.5


def latents(evaluator, ids):
    return torch.cat([evaluator.shelf[id].latent for id in ids])


def refined(graph, parent, seed, start=START, sampler="euler"):
    """Stock image to image from the parent's latent: noised with this seed up to `start`, and run down again."""
    sigmas = graph.evaluator().schedule.piece(start)
    noise = comfy.sample.prepare_noise(parent, seed)
    return graph.guider.sample(
        noise, parent, comfy.samplers.sampler_object(sampler), sigmas, seed=mix(seed, 1), disable_pbar=True
    )


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize("case", ["txt2img", "img2img"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_child_of_a_finished_sample_is_stock_image_to_image(family, case, sampler):
    graph = Graph.mixture(family, sampler_name=sampler, **CASES[case])
    evaluator = graph.evaluator(rows=3)
    evaluated(evaluator, [fresh(7), fresh(8)])
    children = [Rollout(NoiseRecipe(20 + i), parent, START) for i, parent in enumerate((1, 0, 1))]
    outcomes = evaluated(evaluator, children, first=2)
    for i, child in enumerate(children):
        parent = evaluator.shelf[child.parent].latent
        stock = refined(graph, parent, 20 + i, sampler=sampler)
        torch.testing.assert_close(evaluator.shelf[2 + i].latent, stock, atol=1e-4, rtol=0)
        assert (stock - parent).abs().max() > 1e-3
        assert outcomes[i].nfe == evaluator.cost(child, fresh(7))


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_under_a_mask_the_lineages_first_noise_stays(family):
    """By hand: x = a x0 + b z from the finished sample; the network sees the input, noised with the root's noise, outside the mask."""
    graph = Graph.mixture(family, **CASES["masked"])
    evaluator = graph.evaluator()
    evaluated(evaluator, [fresh(7)])
    child = Rollout(NoiseRecipe(20), 0, START)
    evaluated(evaluator, [child], first=1)
    parent = evaluator.shelf[0].latent
    sigmas = evaluator.schedule.piece(START)
    a, b = coefficients(family, sigmas[0].double())
    z = comfy.sample.prepare_noise(parent, 20)

    def by_hand(model, x, sigmas, extra_args=None, callback=None, disable=None):
        x = float(a) * graph.model.model.process_latent_in(parent) + float(b) * z
        return comfy.samplers.sampler_object("euler").sampler_function(
            model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable
        )

    expected = graph.guider.sample(
        comfy.sample.prepare_noise(parent, 7),
        graph.latent["samples"],
        comfy.samplers.KSAMPLER(by_hand),
        sigmas,
        denoise_mask=graph.latent["noise_mask"],
        disable_pbar=True,
    )
    found = evaluator.shelf[1].latent
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[..., 4:], graph.latent["samples"][..., 4:], atol=1e-5, rtol=0)
    assert (found - parent)[..., :4].abs().max() > 1e-3


@pytest.mark.parametrize("sampler", ["euler", "heun", "euler_ancestral", "dpmpp_2m_sde", "ddim"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_replayed_lineage_of_finished_samples_ends_where_the_search_did(family, case, sampler):
    """Three generations and one that stops on the way, next to siblings in the search and alone in the replay; all of it counted."""
    graph = Graph.mixture(family, sampler_name=sampler, **CASES[case])
    evaluator, outcomes = graph.evaluator(rows=4), {}

    def ask(*rollouts):
        for outcome in evaluated(evaluator, rollouts, first=len(outcomes)):
            parent = outcome.rollout.parent
            assert outcome.nfe == evaluator.cost(
                outcome.rollout, None if parent is None else outcomes[parent].rollout
            )
            outcomes[outcome.id] = outcome

    ask(*(fresh(7 + i) for i in range(3)))
    ask(*(Rollout(NoiseRecipe(20 + i), i, START) for i in range(3)))
    ask(*(Rollout(NoiseRecipe(30 + i), 4, 0.6, 0.3) for i in range(3)))
    ask(*(Rollout(parent=6 + i) for i in range(3)))
    ask(*(Rollout(NoiseRecipe(40, ((41, 0.5),)), 9 + i, 0.4, steps=3) for i in range(3)))
    spent = sum(outcome.nfe for outcome in outcomes.values())
    assert spent == evaluator.ledger.nfe == graph.model.spy.rows // 2
    recipe = Recipe(lineage(outcomes, 13))
    assert [piece.finished for piece in recipe.pieces] == [True, True, False, True, True]
    alone = graph.evaluator(rows=1)
    last = replay(alone, recipe.pieces)
    torch.testing.assert_close(latents(alone, [last]), latents(evaluator, [13]), atol=2e-4, rtol=0)
    found = graph.search(Replay((Recipe.from_dict(recipe.to_dict()),)))
    torch.testing.assert_close(found.latent["samples"], latents(evaluator, [13]), atol=2e-4, rtol=0)


@torch.inference_mode()
def test_a_start_above_the_schedules_top_is_the_top():
    graph = Graph.mixture("CONST", **CASES["img2img"])
    evaluator = graph.evaluator()
    evaluated(evaluator, [fresh(7)])
    children = [Rollout(NoiseRecipe(20), 0, start) for start in (0.9, evaluator.top)]
    evaluated(evaluator, children, first=1)
    assert evaluator.jobs[1].sigmas == tuple(graph.sigmas.tolist())
    assert torch.equal(evaluator.shelf[1].latent, evaluator.shelf[2].latent)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_schedule_that_ends_above_zero(family):
    """What is finished there still holds noise: going up from it is going up from the same level of the whole schedule."""
    graph = Graph.mixture(family, steps=8)
    whole = graph.evaluator()
    levels = whole.schedule.levels
    cut = graph.evaluator(schedule=Schedule(graph.sigmas[:-3], levels))
    stop, up = float(whole.schedule.times[-4]), float(whole.schedule.times[-6])
    for evaluator, end in ((whole, stop), (cut, 0.0)):
        evaluated(evaluator, [Rollout(NoiseRecipe(7), stop=end, score=False)])
        evaluated(evaluator, [Rollout(NoiseRecipe(9), 0, up, end)], first=1)
    a = float(levels.coefficients(graph.sigmas[-4])[0])
    for id in range(2):
        state = graph.model.model.process_latent_in(cut.shelf[id].latent) * a
        torch.testing.assert_close(state, whole.shelf[id].state, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "rollout, message",
    [
        (Rollout(NoiseRecipe(1), 0), "needs a noise and a start.*start = None"),
        (Rollout(parent=0, start=0.5), "needs a noise and a start.*noise = None"),
        (Rollout(parent=0), "needs a noise and a start"),
        (Rollout(NoiseRecipe(1), 0, 1e-9), "No step is left"),
        (Rollout(NoiseRecipe(1), 1, 0.3), "0.3, below where its parent stopped .0.5."),
        (Rollout(parent=1, start=0.7), "0.7, away from where its parent stopped .0.5., needs a noise"),
    ],
)
@torch.inference_mode()
def test_what_no_sampler_could_run_is_refused_before_anything_is_paid(rollout, message):
    graph = Graph.mixture("CONST")
    evaluator = graph.evaluator(rows=2)
    before = [fresh(3), Rollout(NoiseRecipe(4), stop=0.5)]
    evaluated(evaluator, before)
    spent = graph.model.spy.calls
    for refuse in (
        lambda: evaluator.cost(rollout, before[rollout.parent]),
        lambda: evaluated(evaluator, [fresh(5), rollout], first=2),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()
    assert graph.model.spy.calls == spent


@torch.inference_mode()
def test_a_self_supervised_verifier_says_where_it_looks():
    evaluator = Graph.mixture("EPS", steps=10).evaluator(early=True)
    child = Rollout(NoiseRecipe(1), 0, 0.2)
    with pytest.raises(ValueError, match="near flow time 0.4.*starts at 0.2"):
        evaluator.cost(child, fresh(0))


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "euler"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_particles_go_on_from_one_state_with_seeds_of_their_own(family, sampler):
    """At the parent's very level: no noise is put back, the solver draws from the child's seed, and the preview is paid once."""
    graph = Graph.mixture(family, sampler_name=sampler)
    evaluator = graph.evaluator(rows=4)
    parent = Rollout(NoiseRecipe(7), stop=0.5)
    paid = evaluated(evaluator, [parent])[0].nfe
    state = evaluator.shelf[0].state
    children = [Rollout(NoiseRecipe(seed), 0, start) for seed, start in ((20, 0.5), (21, 0.5), (21, None))]
    outcomes = evaluated(evaluator, [*children, Rollout(parent=0)], first=1)
    whole = evaluator.cost(Rollout(NoiseRecipe(7), stop=0.5, score=False), None)
    assert paid == whole + 1  # the preview
    lone = evaluator.cost(children[0], Rollout(NoiseRecipe(7), stop=0.5, score=False))
    assert (
        [outcome.nfe for outcome in outcomes] == [lone - 1] * 4 == [evaluator.cost(children[0], parent)] * 4
    )
    assert graph.model.spy.rows == 2 * evaluator.ledger.nfe == 2 * (paid + 4 * (lone - 1))
    found = latents(evaluator, range(1, 5))
    assert torch.equal(found[1], found[2])  # None is where the parent stopped
    drawn = sampler != "euler"
    for other in (0, 3):
        assert ((found[1] - found[other]).abs().max() > 1e-3) == drawn
    if sampler == "euler_ancestral":  # by hand
        x = state.clone()

        def on(model, _, sigmas, extra_args=None, callback=None, disable=None):
            return graph.sampler.sampler_function(
                model,
                x,
                sigmas,
                extra_args=extra_args,
                disable=True,
                noise_sampler=default_noise_sampler(x, seed=mix(21, 1)),
            )

        by_hand = graph.guider.sample(
            torch.zeros_like(x),
            graph.latent["samples"],
            comfy.samplers.KSAMPLER(on),
            torch.tensor(evaluator.jobs[2].sigmas),
            disable_pbar=True,
        )
        torch.testing.assert_close(found[1:2], by_hand, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_preview_that_was_not_paid_cannot_be_reused():
    for parts, score in (({"preview": "free"}, True), ({}, False)):
        graph = Graph.mixture("EPS", sampler_name="euler_ancestral")
        evaluator = graph.evaluator(**parts)
        parent = Rollout(NoiseRecipe(7), stop=0.5, score=score)
        child = Rollout(NoiseRecipe(8), 0, 0.5)
        outcomes = evaluated(evaluator, [parent]) + evaluated(evaluator, [child], first=1)
        spent = [outcome.nfe for outcome in outcomes]
        assert spent == [evaluator.cost(parent, None), evaluator.cost(child, parent)]
        assert sum(spent) == graph.model.spy.rows // 2
        assert spent[1] == len(evaluator.jobs[1].sigmas) - 1
