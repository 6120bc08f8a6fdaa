"""Evolution on the sphere (benchmarks/_evolution.py), which is measured and no node: against the contract, and its regions by hand."""

import math
import sys
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from _evolution import NARROWER, NARROWEST, Evolution
from noisesearch.search.rollout import Outcome
from search_contract import SearchContract


class TestEvolution(SearchContract):
    search = Evolution(first=6, regions=2, children=3, crossing=1, refined=1)


class Highest:
    """Scores by the test's own list; higher is better."""

    def __call__(self, outcomes, k):
        return sorted(outcomes, key=lambda outcome: (-outcome.scores[0], outcome.id))[:k]


def told(search, scores, generations):
    """The requests of each generation; scores: of a request's number, from 0."""
    numbers, asking = count(), search.begin(7, Highest())
    asked, rounds = next(asking), []
    for _ in range(generations):
        rounds.append(asked)
        ids = [next(numbers) for _ in asked]
        asked = asking.send([Outcome(i, one, (scores(i),), 1) for i, one in zip(ids, asked)])
    return [*rounds, asked]


def nearness(one, other):
    """Cosine of two noises of recipes, as their seeds and weights say it."""
    weights = [dict(recipe.mix or ((recipe.seed, 1.0),)) for recipe in (one, other)]
    return math.fsum(weight * weights[1].get(seed, 0.0) for seed, weight in weights[0].items())


def test_regions_narrow_around_the_best_while_nothing_is_better_and_then_begin_elsewhere():
    search = Evolution(first=6, regions=2, children=2, angle=0.5)
    first, *rounds = told(search, lambda i: -float(i), 4)  # the earlier the better: no child ever is
    for generation, asked in enumerate(rounds):
        angle = 0.5 * NARROWER**generation
        gone = angle < NARROWEST  # then the third and fourth best of the beginning, as wide as at first
        for i, rollout in enumerate(asked):
            centre = first[i // 2 + (2 if gone else 0)].noise
            expected = math.cos(0.5 if gone else angle)
            assert nearness(rollout.noise, centre) == pytest.approx(expected)
    assert 0.5 * NARROWER**2 > NARROWEST > 0.5 * NARROWER**3


def test_a_better_child_becomes_the_centre_and_noises_stay_flat():
    first, second, third = told(Evolution(first=2, regions=1, children=1, angle=0.5), float, 2)
    (child,), (grandchild,) = second, third
    assert nearness(child.noise, first[1].noise) == pytest.approx(math.cos(0.5))
    assert nearness(grandchild.noise, child.noise) == pytest.approx(math.cos(0.65))
    assert not grandchild.noise.moves and len(grandchild.noise.mix) == 3


def test_children_of_two_centres_lie_half_way():
    search = Evolution(first=2, regions=2, children=1, crossing=1)
    first, crossed = told(search, lambda i: -float(i), 1)
    for rollout in crossed:
        assert [nearness(rollout.noise, one.noise) for one in first] == pytest.approx([0.5**0.5] * 2)


def test_refined_ones_go_on_from_the_best_finished_sample():
    search = Evolution(first=2, regions=1, children=1, refined=2, middle=0.4)
    _, (moved, *refined), (_, *again) = told(search, float, 2)  # the last one is always the best so far
    assert moved.parent is None and moved.noise.mix
    assert [(one.parent, one.start, one.stop) for one in refined] == [(1, 0.4, 0.0)] * 2
    assert [one.parent for one in again] == [4, 4]
    assert len({one.noise.seed for one in [*refined, *again]}) == 4
