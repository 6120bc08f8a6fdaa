"""Particles: how children are dealt out, how weights are kept, and that noise on the way is what makes them worth it."""

import math
from collections import Counter
from fractions import Fraction

import comfy.samplers
import pytest
import torch
from closed_form import uncond
from fake_evaluator import FakeEvaluator
from graphs import Graph
from noisesearch.sampling.samplers import reinject_noise
from noisesearch.search.algorithms import ParticleSearch
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.algorithms.particles import NO_CHANCE, Particle, Steering, standard
from noisesearch.search.algorithms.resampling import RESAMPLINGS, children
from noisesearch.search.driver import Limits, run, terms
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.selection import Comparison

SEEDS = 4000


# -- resampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", RESAMPLINGS)
@pytest.mark.parametrize("weights", [[1, 2, 3, 4], [5, 0, 0, 1, 1], [1] * 7, [0.1, 1e-9, 3.3], [2], [0, 1]])
def test_each_particle_gets_its_share_rounded_up_or_down_and_exactly_on_average(method, weights):
    count, totals = 6, [0] * len(weights)
    for seed in range(SEEDS):
        numbers = children(weights, count, method, seed)
        assert sum(numbers) == count
        for number, weight in zip(numbers, weights):
            share = count * weight / sum(weights)
            assert math.floor(share - 1e-9) <= number <= math.ceil(share + 1e-9)
        totals = [total + number for total, number in zip(totals, numbers)]
    for total, weight in zip(totals, weights):
        share = count * weight / sum(weights)
        rest = share - math.floor(share)
        error = math.sqrt(rest * (1 - rest) / SEEDS)
        assert abs(total / SEEDS - share) <= 4 * error + 1e-9


def test_systematic_resampling_by_hand():
    """Weights 1/2, 1/3, 1/6 of 4 children: stretches [0, 2), [2, 3 1/3), [3 1/3, 4), a child for each of u, u + 1, u + 2, u + 3."""
    counted = Counter(tuple(children([3, 2, 1], 4, "systematic", seed)) for seed in range(SEEDS))
    assert set(counted) == {(2, 2, 0), (2, 1, 1)}  # u below 1/3, or not
    assert counted[2, 2, 0] / SEEDS == pytest.approx(float(Fraction(1, 3)), abs=0.03)


# -- weights -------------------------------------------------------------------------------------------------------------


def test_standard_scores_are_within_the_level():
    assert standard([1.0, 2.0, 3.0]) == pytest.approx([-math.sqrt(1.5), 0.0, math.sqrt(1.5)])
    assert standard([7.0, 7.0]) == [0.0, 0.0]
    best, lost, good = standard([math.inf, -math.inf, 5.0])
    assert best > good > -100 > lost
    assert standard([-math.inf] * 3) == [0.0] * 3


class Told:
    """`Best` for outcomes whose utility is their only score."""

    def utility(self, outcomes):
        return [outcome.scores[0] for outcome in outcomes]


def steering(**changes):
    settings = dict(
        count=3,
        levels=(0.6, 0.3),
        strength=2.0,
        potential="difference",
        resampling="ssp",
        threshold=0.0,
        forward=0.0,
        preview="free",
    )
    return Steering(**{**settings, **changes})


def weights_of(planned, *levels):
    """Log-weights after looks with these standard scores, one particle each, never resampled."""
    particles = [Particle(Outcome(i, Rollout(NoiseRecipe(i), stop=0.6), (0.0,), 1)) for i in range(3)]
    for number, scores in enumerate(levels):
        now, before = (planned.strength * n / len(levels) for n in (number + 1, number))
        particles = [
            planned._weighed(particle, score, now, before) for particle, score in zip(particles, scores)
        ]
    return [particle.log_weight for particle in particles]


@pytest.mark.parametrize(
    "potential, expected",
    [
        (
            "difference",
            [2 * 0.5, 2 * -1.5, 2 * 1.0],
        ),  # only the last look counts in the end, at full strength
        ("max", [1 * 1.0 + 2 * 1.0, 1 * 0.0 + 2 * 0.0, 1 * -1.0 + 2 * 1.0]),
        ("sum", [1 * 1.0 + 2 * 1.5, 1 * 0.0 + 2 * -1.5, 1 * -1.0 + 2 * 0.0]),
    ],
)
def test_potentials_by_hand(potential, expected):
    """Two looks at strength 2, of which the first weighs half."""
    assert weights_of(steering(potential=potential), [1.0, 0.0, -1.0], [0.5, -1.5, 1.0]) == pytest.approx(
        expected
    )


def test_weights_are_kept_until_one_outweighs_the_others():
    alike = [
        Particle(Outcome(i, Rollout(NoiseRecipe(i), stop=0.6), (0.0,), 1), weight)
        for i, weight in enumerate((0.1, 0.0, 0.2))
    ]
    assert steering(threshold=0.5)._resampled(alike, 1) == alike
    one = [*alike[:2], Particle(alike[2].outcome, 30.0)]
    assert [parent.outcome.id for parent in steering(threshold=0.5)._resampled(one, 1)] == [2, 2, 2]
    assert {parent.log_weight for parent in steering(threshold=0.5)._resampled(one, 1)} == {0.0}
    effective = math.exp(0.1) + 1 + math.exp(0.2), math.exp(0.2) + 1 + math.exp(0.4)
    share = effective[0] ** 2 / effective[1] / 3
    assert steering(threshold=share - 1e-9)._resampled(alike, 1) == alike
    assert {parent.log_weight for parent in steering(threshold=share + 1e-9)._resampled(alike, 1)} == {0.0}


def test_strength_nothing_is_random_search_with_noise_on_the_way():
    evaluator = FakeEvaluator()
    run(ParticleSearch(4, 3, 0.0), 7, evaluator, Comparison(), Limits(1000))
    parents = [[rollout.parent for _, rollout in asked] for asked in evaluator.asked]
    assert parents == [[None] * 4, [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_what_could_not_be_judged_gets_no_children():
    evaluator = FakeEvaluator(nan=0.5, wave=50)
    run(ParticleSearch(8, 1, 2.0, threshold=1.0), 3, evaluator, Comparison(), Limits(1000))
    lost = {id for id, outcome in evaluator.outcomes.items() if math.isnan(outcome.scores[0])}
    parents = {rollout.parent for _, rollout in evaluator.asked[1]}
    assert lost & set(range(8)) and not lost & parents


# -- on a model ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_children_of_one_parent_go_on_with_noise_of_their_own():
    graph = Graph.mixture("CONST", sampler_name="euler_ancestral", steps=10)
    found = graph.search(ParticleSearch(6, 2, 20.0, threshold=1.0), budget_nfe=200, keep_top=6)
    image = found.report["images"][0]
    parents = Counter(one.get("parent") for one in image["candidates"][6:12])
    assert max(parents.values()) > 1 and len(parents) < 6
    latents = found.top_latents["samples"]
    apart = [(a - b).abs().max() for i, a in enumerate(latents) for b in latents[:i]]
    assert min(apart) > 1e-3


@torch.inference_mode()
def test_looking_by_an_extra_evaluation_costs_nothing_in_the_end():
    """Every child is spared its first evaluation, the preview of its parent."""
    for sampler, whole in (("euler_ancestral", 12), ("dpmpp_2s_ancestral", 23)):
        graph = Graph.mixture("CONST", sampler_name=sampler, steps=12)
        image = graph.search(ParticleSearch(5, 3), budget_nfe=2000).report["images"][0]
        assert image["search_nfe"] == 5 * whole == graph.model.spy.rows // 2


@torch.inference_mode()
def test_as_many_particles_as_the_budget_pays_for():
    graph = Graph.mixture("CONST", sampler_name="euler_ancestral", steps=12)
    image = graph.search(ParticleSearch(), candidates=7).report["images"][0]
    assert image["settings"]["count"] == 7 and "7 particles" in image["plan"]
    with pytest.raises(BudgetTooSmall, match="9 particles cost"):
        graph.search(ParticleSearch(9), candidates=7)


@pytest.mark.parametrize(
    "sampler, churn, forward, warned",
    [
        ("euler", 0, 0.0, True),
        ("dpmpp_2m", 0, 0.0, True),
        ("res_multistep", 0, 0.0, True),  # it can draw noise, and does not
        ("euler", 0, 0.1, False),
        ("euler", 0.4, 0.0, False),
        ("euler_ancestral", 0, 0.0, False),
        ("dpmpp_sde", 0, 0.0, False),
    ],
)
@torch.inference_mode()
def test_without_noise_on_the_way_it_warns(sampler, churn, forward, warned):
    graph = Graph.mixture("CONST", sampler_name=sampler)
    if churn:
        graph.own_sampler = reinject_noise(comfy.samplers.sampler_object(sampler), churn)
    found = graph.search(ParticleSearch(forward=forward), candidates=4)
    assert (NO_CHANCE in found.report["notes"]) == warned
    assert (NO_CHANCE in found.report["images"][0]["plan"]) == warned


@pytest.mark.slow
@torch.inference_mode()
def test_noise_on_the_way_makes_it_better_than_the_best_of_n_and_its_lack_makes_it_worse():
    """24 seeds of the mixture with all its modes open, 8 samples' cost; random search with the same sampler is the control."""
    search = ParticleSearch(looks=6, strength=8.0, threshold=1.0)
    for sampler in ("euler", "euler_ancestral"):
        gains = []
        for seed in range(24):
            graph = Graph.mixture("CONST", uncond(), steps=10, sampler_name=sampler, cfg=1.0)
            steered, plain = (
                graph.search(settings, seed=1000 * seed, candidates=8).scores[0]
                for settings in (search, None)
            )
            gains.append(steered - plain)
        gains = torch.tensor(gains)
        clear = 2 * gains.std() / len(gains) ** 0.5
        if sampler == "euler":  # the same seeds, of which some were lost to copies of others
            assert gains.mean() < -clear and gains.max() < 1e-5
        else:
            assert gains.mean() > clear


@torch.inference_mode()
def test_a_schedule_of_one_step_is_a_random_search():
    graph = Graph.mixture("CONST", steps=1, sampler_name="euler_ancestral")
    found = graph.search(ParticleSearch(), candidates=4)
    assert any("one step" in note for note in found.report["notes"])
    assert found.report["totals"]["nfe"] == 4


def test_models_whose_levels_are_unknown_are_told_what_to_do(monkeypatch):
    monkeypatch.setattr(FakeEvaluator, "levels", ())
    evaluator = FakeEvaluator()
    with pytest.raises(ValueError, match="random search"):
        ParticleSearch().plan(terms(evaluator, Limits(100)))
