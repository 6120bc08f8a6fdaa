"""Evolution on the sphere, by hand: its regions narrow, move and are given up; its noises stay flat."""

import math
from itertools import count

import pytest
import torch
from graphs import Graph
from noisesearch.nodes.evolution_search import NoiseSearchEvolution
from noisesearch.search.algorithms import Evolution
from noisesearch.search.algorithms.evolution import NARROWER, NARROWEST, WIDER, WIDEST
from noisesearch.search.rollout import Outcome, recipes_from_json, recipes_to_json

HALF = math.cos(0.5)


class Highest:
    """Scores by the test's own list; higher is better."""

    def __call__(self, outcomes, k):
        return sorted(outcomes, key=lambda outcome: (-outcome.scores[0], outcome.id))[:k]


def generations(search, scores, rounds):
    """The requests of the beginning and of each generation; scores: of a request's number, from 0."""
    numbers, asking = count(), search.begin(7, Highest())
    asked, found = next(asking), []
    for _ in range(rounds):
        found.append(asked)
        ids = [next(numbers) for _ in asked]
        asked = asking.send([Outcome(i, one, (scores(i),), 1) for i, one in zip(ids, asked)])
    return [*found, asked]


def nearness(one, other):
    """Cosine of two noises of recipes, as their seeds and weights say it."""
    weights = [dict(recipe.mix or ((recipe.seed, 1.0),)) for recipe in (one, other)]
    return math.fsum(weight * weights[1].get(seed, 0.0) for seed, weight in weights[0].items())


def test_regions_narrow_around_the_best_while_nothing_is_better_and_then_begin_elsewhere():
    search = Evolution(6, 2, 2, HALF)
    first, *rounds = generations(search, lambda i: -float(i), 4)  # the earlier the better: no child ever is
    assert [rollout.noise.seed for rollout in first] == [7, 8, 9, 10, 11, 12]
    assert 0.5 * NARROWER**2 > NARROWEST > 0.5 * NARROWER**3
    for generation, asked in enumerate(rounds):
        angle = 0.5 * NARROWER**generation
        gone = angle < NARROWEST  # then the third and fourth best of the beginning, as wide as at first
        for i, rollout in enumerate(asked):
            centre = first[i // 2 + (2 if gone else 0)].noise
            assert nearness(rollout.noise, centre) == pytest.approx(math.cos(0.5 if gone else angle))


def test_a_region_without_beginnings_left_begins_again_where_it_was():
    (only,), *rounds = generations(Evolution(1, 3, 1, HALF), lambda i: -float(i), 4)
    angles = [math.acos(nearness(asked[0].noise, only.noise)) for asked in rounds]
    assert angles == pytest.approx([0.5, 0.5 * NARROWER, 0.5 * NARROWER**2, 0.5])
    assert all(len(asked) == 1 for asked in rounds)


def test_a_better_child_becomes_the_centre_and_noises_stay_flat():
    first, *rounds = generations(Evolution(2, 1, 1, HALF), float, 6)
    centres = [first[1].noise, *(child.noise for (child,) in rounds)]
    angles = [math.acos(nearness(one, next)) for one, next in zip(centres, centres[1:])]
    assert angles == pytest.approx([min(0.5 * WIDER**i, WIDEST) for i in range(6)])
    assert [len(noise.mix) for noise in centres[1:]] == [2, 3, 4, 5, 6, 7]
    assert not any(noise.moves for noise in centres)


def test_the_best_finished_sample_is_refined_from_the_middle():
    search = Evolution(2, 1, 1, refined=2, middle=0.4)
    _, (moved, *refined), (_, *again) = generations(
        search, float, 2
    )  # the last one is always the best so far
    assert moved.parent is None and moved.noise.mix
    assert [(one.parent, one.start, one.stop) for one in refined] == [(1, 0.4, 0.0)] * 2
    assert [one.parent for one in again] == [4, 4]
    assert len({one.noise.seed for one in [*refined, *again]}) == 4
    assert search.reinjects and search.cuts and search.keeps == 1
    assert not (Evolution().reinjects or Evolution().cuts or Evolution().keeps)


@torch.inference_mode()
def test_with_drafts_a_winner_comes_back_from_its_noise():
    graph = Graph.mixture("CONST", steps=12)
    found = graph.search(
        NoiseSearchEvolution.execute(4, 2, 2, 0.8, 0, 0.5).result[0], candidates=9, draft_steps=4
    )
    (recipe,) = recipes_from_json(recipes_to_json(found.recipes))
    assert recipe.root.mix and found.report["images"][0]["drafts"]["draft_steps"] == 4
    noise, latent = found.noise().generate_noise(graph.latent), graph.latent["samples"]
    again = graph.guider.sample(noise, latent, graph.sampler, graph.sigmas, disable_pbar=True)
    torch.testing.assert_close(again, found.latent["samples"], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="does not go with evolution"):
        graph.search(Evolution(refined=1), candidates=9, draft_steps=4)
