"""What every search algorithm owes the driver, the user and a resumed run. A new algorithm is added to SEARCHES, and to NONSENSE."""

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from fake_evaluator import FakeEvaluator, HalfWay, Renoise
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.zero_order import PIVOTS
from noisesearch.search.driver import BudgetTooSmall, Limits, run
from noisesearch.search.rollout import lineage
from noisesearch.search.selection import METHODS, Comparison

SEARCHES = {
    "random": RandomSearch(),
    **{f"zero-order, {pivot}": ZeroOrder(pivot=pivot) for pivot in PIVOTS},
    "zero-order, one far neighbour": ZeroOrder(1, -0.5),
    "paths": SearchOverPaths(),
    "paths, the schedule's steps": SearchOverPaths(steps=0),
    "paths, three steps": SearchOverPaths(steps=3),
    "paths, one narrow": SearchOverPaths(1, 1),
    "paths, the paper's": SearchOverPaths(2, 2, 0.12, 0.78, 0.81),
    "half way (the test's own)": HalfWay(),
    "renoise (the test's own)": Renoise(),
}
NONSENSE = [
    (ZeroOrder, dict(neighbours=0)),
    (ZeroOrder, dict(neighbours=-1)),
    (ZeroOrder, dict(cosine=1.0)),
    (ZeroOrder, dict(cosine=-1.0)),
    (ZeroOrder, dict(cosine=math.nan)),
    (ZeroOrder, dict(pivot="best")),
    (SearchOverPaths, dict(paths=0)),
    (SearchOverPaths, dict(width=-1)),
    (SearchOverPaths, dict(steps=-2)),
    (SearchOverPaths, dict(preview="none")),
    (SearchOverPaths, dict(start=0.0)),
    (SearchOverPaths, dict(start=1.0)),
    (SearchOverPaths, dict(start=math.nan)),
    (SearchOverPaths, dict(forward=0.0)),
    (SearchOverPaths, dict(backward=math.nan)),
    (SearchOverPaths, dict(forward=0.35, backward=0.35)),
    (SearchOverPaths, dict(forward=0.5, backward=0.35)),
]
BUDGET = 600

every = pytest.mark.parametrize("settings", SEARCHES.values(), ids=SEARCHES)
one_or_three = pytest.mark.parametrize("verifiers", [1, 3])


def search(settings, seed=7, budget=BUDGET, comparison=Comparison(), evaluator=None, **options):
    """(result, evaluator) of a search on the fake model."""
    evaluator = evaluator or FakeEvaluator(**options)
    return run(settings, seed, evaluator, comparison, Limits(budget)), evaluator


def digest(settings):
    """Of everything a search asked for."""
    return hashlib.sha256(repr(search(settings, verifiers=3)[1].asked).encode()).hexdigest()


class Watched:
    """Settings whose generators say whether they were closed."""

    def __init__(self, settings):
        self.settings, self.name, self.closed = settings, settings.name, []
        if hasattr(settings, "plan"):
            self.plan = self._plan

    def _plan(self, terms):
        self.settings = self.settings.plan(terms)
        return self

    def begin(self, seed, best):
        try:
            yield from self.settings.begin(seed, best)
        finally:
            self.closed.append(True)


# -- requests ------------------------------------------------------------------------------------------------------------


@every
@one_or_three
def test_requests_are_ones_that_a_sampler_can_run(settings, verifiers):
    """The fake evaluator refuses parents that have not run, empty pieces, and going up without a noise."""
    result, evaluator = search(settings, verifiers=verifiers)
    assert len(result.rounds) > 1 or settings == RandomSearch()
    for outcome in evaluator.outcomes.values():
        assert outcome.rollout.parent is None or outcome.rollout.parent < outcome.id
        noises = [rollout.noise for rollout in lineage(evaluator.outcomes, outcome.id) if rollout.noise]
        assert len(noises) == len(set(noises)), "the same noise twice along one path is not noise"
        assert outcome.rollout.score or not outcome.finished, (
            "a finished sample without a score cannot be compared"
        )


@every
def test_a_search_with_room_finishes_samples_by_itself(settings):
    result, evaluator = search(settings, budget=3000)
    asked = [id for request in result.rounds for id in request]
    assert any(evaluator.outcomes[id].finished for id in asked)
    assert asked == list(range(len(evaluator.outcomes)))


@every
def test_the_same_seed_and_outcomes_give_the_same_requests(settings):
    """However they come in waves."""
    first, second = search(settings, wave=1)[1], search(settings, wave=50)[1]
    assert first.asked == second.asked and len(first.outcomes) > 3


def test_a_new_process_gives_the_same_requests():
    tests = Path(__file__).resolve().parent
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1:]; from pack import load_pack; load_pack(); import test_algorithm_contract as t; "
        "print(json.dumps({name: t.digest(settings) for name, settings in t.SEARCHES.items()}))"
    )
    command = [sys.executable, "-c", code, str(tests), str(tests.parent / "tools")]
    printed = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "12345"}, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == {name: digest(settings) for name, settings in SEARCHES.items()}


@every
def test_another_seed_gives_other_requests(settings):
    """Not one noise in common, when the seeds are far apart (candidate i of a random search has seed + i)."""

    def noises(seed):
        return {
            rollout.noise
            for request in search(settings, seed)[1].asked
            for _, rollout in request
            if rollout.noise
        }

    assert noises(7) and not noises(7) & noises(10_007)


@every
@one_or_three
def test_recorded_outcomes_replayed_give_the_same_requests(settings, verifiers):
    """A resumed search is told what a journal kept: equal outcomes, other objects."""
    result, evaluator = search(settings, verifiers=verifiers)
    told = {}

    def best(candidates, k):
        pool = [outcome for outcome in told.values() if outcome.finished]
        return Comparison().best(
            candidates, k, pool if all(outcome.finished for outcome in candidates) else None
        )

    generator, answer = result.settings.begin(7, best), None
    for request in evaluator.asked:
        if len(told) == sum(map(len, result.rounds)):
            break
        asked = generator.send(answer)
        assert asked[: len(request)] == [rollout for _, rollout in request]
        answer = [replace(evaluator.outcomes[id]) for id, _ in request]
        told |= {outcome.id: outcome for outcome in answer}
    generator.close()
    assert told.keys() == evaluator.outcomes.keys()


# -- the budget ----------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("steps, wave", [(10, 4), (3, 2), (30, 64)])
def test_the_budget_is_respected(settings, steps, wave):
    refused = 0
    for budget in [*range(1, 50), 77, 123, 290]:
        evaluator = FakeEvaluator(steps=steps, wave=wave)
        try:
            result, _ = search(settings, budget=budget, evaluator=evaluator)
        except BudgetTooSmall:
            refused += 1
            assert not evaluator.asked
        else:
            assert result.nfe == sum(outcome.nfe for outcome in evaluator.outcomes.values()) <= budget
            assert result.winner.finished
    assert refused >= steps - 1


# -- results -------------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("levels", [10**9, 4])
def test_the_winner_is_the_best_of_all_finished_samples(settings, levels):
    result, evaluator = search(settings, grades=levels)
    finished = [outcome for outcome in evaluator.outcomes.values() if outcome.finished]
    assert result.winner.scores[0] == max(outcome.scores[0] for outcome in finished)
    assert result.winner.id == min(
        outcome.id for outcome in finished if outcome.scores == result.winner.scores
    )
    assert {outcome.id for outcome in result.ranking} == {outcome.id for outcome in finished}


@every
@pytest.mark.parametrize("method", METHODS)
def test_three_verifiers_agree_on_the_winner_over_all_finished_samples(settings, method):
    comparison = Comparison(method, (1.0, 2.0, 0.5))
    result, evaluator = search(settings, comparison=comparison, verifiers=3)
    finished = [outcome for outcome in evaluator.outcomes.values() if outcome.finished]
    assert result.ranking == comparison.best(finished, len(finished))


@every
def test_the_best_so_far_only_gets_better_with_one_verifier(settings):
    result, _ = search(settings, wave=1)
    spent, scores = [nfe for nfe, _ in result.curve], [outcome.scores[0] for _, outcome in result.curve]
    assert spent == sorted(spent) and scores == sorted(set(scores)) and result.curve[-1][1] is result.winner


@every
@one_or_three
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_scores_that_are_nan(settings, verifiers, share):
    result, evaluator = search(settings, verifiers=verifiers, nan=share)
    assert result.winner.finished and result.nfe <= BUDGET
    judged = [
        outcome
        for outcome in evaluator.outcomes.values()
        if outcome.finished and not any(map(math.isnan, outcome.scores))
    ]
    assert share < 1.0 or not judged
    if judged and verifiers == 1:
        assert result.winner.scores[0] == max(outcome.scores[0] for outcome in judged)


# -- cancel --------------------------------------------------------------------------------------------------------------


@every
def test_cancelled_before_any_wave_it_raises_cleanly(settings):
    waves = search(settings)[1].waves
    for wave in range(waves):

        def cancel(number):
            if number == wave:
                raise KeyboardInterrupt

        evaluator, watched = FakeEvaluator(before_wave=cancel), Watched(settings)
        with pytest.raises(KeyboardInterrupt):
            search(watched, evaluator=evaluator)
        assert watched.closed == [True] and evaluator.running == 0 and evaluator.waves == wave


@every
def test_stopped_after_any_wave_it_returns_a_finished_winner(settings):
    waves = search(settings)[1].waves
    for wave in range(1, waves):
        evaluator, watched = FakeEvaluator(), Watched(settings)
        result = run(
            watched, 7, evaluator, Comparison(), Limits(BUDGET), should_stop=lambda: evaluator.waves >= wave
        )
        assert result.winner.finished and result.nfe <= BUDGET
        assert evaluator.waves <= wave + 1 and watched.closed == [True] and evaluator.running == 0


# -- settings ------------------------------------------------------------------------------------------------------------


@every
def test_settings_are_values(settings):
    """They flow over a socket, and equal ones must be the same to a cache."""
    again = replace(settings)
    assert (
        again == settings
        and hash(again) == hash(settings)
        and isinstance(settings.name, str)
        and settings.name
    )
    assert type(settings).__dataclass_params__.frozen
    for field in dataclasses.fields(settings):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, field.name, getattr(settings, field.name))


@pytest.mark.parametrize(
    "algorithm, fields", NONSENSE, ids=lambda value: str(value) if isinstance(value, dict) else value.__name__
)
def test_settings_refuse_nonsense(algorithm, fields):
    (name, value) = list(fields.items())[-1]
    with pytest.raises(ValueError, match=str(value)):
        algorithm(**fields)


def test_every_published_algorithm_is_held_to_the_contract():
    from noisesearch.search import algorithms

    held = {type(settings).__name__ for settings in SEARCHES.values()}
    assert (
        set(algorithms.__all__) - {"Replay"} <= held
    )  # Replay is no search: it asks for one lineage, without scores
