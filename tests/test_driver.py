"""The driver: a hard budget, clean ends, nothing lost."""

import math
import time
from dataclasses import dataclass

import pytest
import torch
from fake_evaluator import FakeEvaluator, HalfWay, Renoise
from hypothesis import given, settings
from hypothesis import strategies as st
from noisesearch.search.algorithms import RandomSearch, ZeroOrder
from noisesearch.search.driver import BudgetTooSmall, Limits, run
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.selection import METHODS, Comparison

ONE = Comparison()


class Cancelled(BaseException):
    """Like KeyboardInterrupt."""


class Interrupted(Exception):
    """Like ComfyUI's InterruptProcessingException."""


@dataclass(frozen=True)
class Script:
    """A search that asks for what it is given, one request after the other, and remembers how it went."""

    requests: tuple
    name = "script"
    keeps = 1000  # it may build on any of them

    def begin(self, seed, best):
        told, self.log["ended"] = [], "closed"
        try:
            for request in self.requests:
                told += yield request(told) if callable(request) else list(request)
            self.log["ended"] = "ran out"
        finally:
            self.log["closed"] = True

    @property
    def log(self):
        return self.__dict__.setdefault("_log", {})


class Keepless(Script):
    keeps = 0


def whole(*seeds, steps=None):
    return tuple(Rollout(NoiseRecipe(seed), steps=steps) for seed in seeds)


def half(*seeds, stop=0.5, score=True):
    return tuple(Rollout(NoiseRecipe(seed), stop=stop, score=score) for seed in seeds)


def search(requests, nfe=1000, evaluator=None, comparison=ONE, **options):
    evaluator = evaluator or FakeEvaluator()
    limits = Limits(
        nfe,
        **{name: options.pop(name) for name in ("reserve", "seconds", "score", "keep") if name in options},
    )
    return run(Script(tuple(requests)), 0, evaluator, comparison, limits, **options)


# -- the budget ----------------------------------------------------------------------------------------------------------


@st.composite
def requests(draw):
    """Requests of any kind, one after the other: fresh noises, pieces that go on or go back up, scored or not, finished or not."""

    def piece(told, kind, which, seed, start, stop, steps, score):
        parent = told[which % len(told)] if told and kind != "fresh" else None
        noise = None if kind == "go on" else NoiseRecipe(seed)
        if kind == "go on" and (parent is None or parent.finished):
            noise, parent = NoiseRecipe(seed), None
        if parent is None:
            return Rollout(noise, stop=stop, steps=steps, score=score or not stop)
        if noise is None:
            stop = stop if stop < parent.rollout.stop else 0.0
            return Rollout(None, parent.id, None, stop, steps, score or not stop)
        start = max(start, parent.rollout.stop + 0.05)
        return Rollout(
            noise,
            parent.id,
            start,
            stop if stop < start else 0.0,
            steps,
            score or not (stop < start and stop),
        )

    levels = st.sampled_from(
        [0.1, 0.5, 0.9, *[0.0] * draw(st.integers(0, 2))]
    )  # often no sample gets finished: what the reserve is for
    kinds = st.sampled_from(["fresh", "go on", "go up"])
    specs = st.tuples(
        kinds,
        st.integers(0, 9),
        st.integers(0, 99),
        st.sampled_from([0.4, 0.6, 0.95]),
        levels,
        st.sampled_from([None, None, 1, 5]),
        st.booleans(),
    )
    rounds = draw(st.lists(st.lists(specs, min_size=1, max_size=4), min_size=1, max_size=4))
    return tuple(lambda told, specs=specs: [piece(told, *spec) for spec in specs] for specs in rounds)


@settings(deadline=None, max_examples=250)
@given(
    requests(),
    st.integers(1, 40),
    st.sampled_from([0, 3]),
    st.sampled_from([1, 5, 10]),
    st.integers(1, 4),
    st.none() | st.integers(0, 3),
)
def test_the_budget_is_never_exceeded_and_there_is_always_a_result(
    script, budget, reserve, steps, wave, stop_after
):
    evaluator = FakeEvaluator(steps=steps, wave=wave)
    try:
        result = search(
            script,
            budget,
            evaluator,
            reserve=reserve,
            should_stop=lambda: stop_after is not None and evaluator.waves > stop_after,
        )
    except BudgetTooSmall:
        assert not evaluator.asked
    else:
        assert result.nfe == sum(outcome.nfe for outcome in evaluator.outcomes.values()) <= budget - reserve
        assert result.ranking and all(outcome.finished for outcome in result.ranking)
    assert not evaluator.running


@settings(deadline=None)
@given(
    st.sampled_from([RandomSearch(), ZeroOrder(), ZeroOrder(7), HalfWay(), Renoise()]),
    st.integers(40, 400),
    st.integers(1, 30),
    st.integers(1, 70),
)
def test_the_budget_is_used_up_to_what_one_more_would_cost(algorithm, budget, steps, wave):
    evaluator = FakeEvaluator(steps=steps, wave=wave)
    result = run(algorithm, 0, evaluator, ONE, Limits(budget))
    whole_path = (
        3 * steps + 3
    )  # more than any rollout of these searches costs, with what it takes to finish it
    assert result.nfe > budget - whole_path or result.stopped == "the search came to its end"


@pytest.mark.parametrize(
    "request_one, need", [(whole(1), 10), (half(1), 10), (half(1, score=False), 10), (whole(1, steps=3), 3)]
)
@pytest.mark.parametrize("reserve", [0, 7])
def test_a_budget_below_one_image_is_refused_before_anything_runs(request_one, need, reserve):
    seen = []
    evaluator, script = FakeEvaluator(), Script((request_one,))
    with pytest.raises(
        BudgetTooSmall, match=f"budget of {need + reserve - 1} NFE .* takes {need + reserve} here"
    ):
        run(script, 0, evaluator, ONE, Limits(need + reserve - 1, reserve), on_progress=seen.append)
    assert not evaluator.asked and not seen and script.log["closed"]
    assert search([request_one], need + reserve, reserve=reserve).winner.finished


def test_the_last_request_is_trimmed_to_the_budget():
    evaluator = FakeEvaluator()
    result = search([whole(1, 2, 3), whole(4, 5, 6)], 59, evaluator)
    assert [len(asked) for asked in evaluator.asked] == [3, 2] and result.nfe == 50
    assert result.rounds == [[0, 1, 2], [3, 4]] and result.stopped == "the budget is spent"


def test_a_request_that_does_not_fit_at_all_ends_the_search():
    evaluator = FakeEvaluator()
    result = search([whole(1, 2), whole(3)], 29, evaluator)
    assert len(evaluator.asked) == 1 and result.nfe == 20 and result.stopped == "the budget is spent"


def test_the_reserve_is_left_to_the_caller():
    assert search([whole(1, 2, 3)], 30).nfe == 30
    assert search([whole(1, 2, 3)], 30, reserve=1).nfe == 20


# -- unfinished searches -------------------------------------------------------------------------------------------------


def go_on(told):
    return [Rollout(parent=outcome.id) for outcome in told]


@pytest.mark.parametrize("budget, finished", [(20, 2), (19, 1), (16, 1)])
def test_halves_are_completed_while_the_budget_lasts(budget, finished):
    """Each half costs 5 and its preview 1; going on from there 4, since the preview was the first of its 5 evaluations."""
    result = search([half(1, 2), go_on], budget)
    assert len(result.ranking) == finished and result.nfe <= budget
    assert all(result.outcomes[outcome.rollout.parent].rollout.stop == 0.5 for outcome in result.ranking)


def test_the_best_unfinished_sample_is_completed_from_the_reserve():
    evaluator = FakeEvaluator()
    result = search([half(1, 2, 3), half(4, 5, 6)], 1000, evaluator)
    best = max((evaluator.outcomes[i] for i in range(6)), key=lambda outcome: outcome.scores)
    assert [outcome.rollout for outcome in result.ranking] == [Rollout(parent=best.id)]
    assert result.stopped == "the search came to its end" and result.winner.scores


def test_the_sample_that_is_furthest_down_is_completed():
    evaluator = FakeEvaluator()
    result = search([half(1, 2, stop=0.3), half(3, 4, 5, stop=0.7)], 1000, evaluator)
    best = max((evaluator.outcomes[i] for i in (0, 1)), key=lambda outcome: outcome.scores)
    assert result.winner.rollout.parent == best.id


def test_a_sample_without_a_score_is_completed_when_there_is_no_other():
    assert search([half(1, 2, score=False)], 20).winner.rollout.parent == 0


def test_the_completion_fits_the_budget_though_another_sample_is_scored():
    """The scored sample at 0.9 costs more to complete than the unscored one further down, which is what the budget was kept for."""
    requests = [half(1, stop=0.9), lambda told: [Rollout(parent=0, stop=0.1, score=False)], half(2)]
    result = search(requests, 11)
    assert result.nfe <= 11 and result.winner.rollout.parent == 1


def test_a_finished_sample_later_in_the_request_is_no_excuse_to_spend_the_reserve():
    """Stopped after the first wave, the cheap finished sample never comes."""
    evaluator = FakeEvaluator(wave=1)
    request = (*half(1, 2, stop=0.9), *whole(3, steps=1))
    for budget in range(1, 20):
        try:
            assert search([request], budget, FakeEvaluator(wave=1), should_stop=lambda: True).nfe <= budget
        except BudgetTooSmall:
            assert budget < 11
    assert not evaluator.asked


# -- reasons to stop -----------------------------------------------------------------------------------------------------


def test_stopped_by_hand_after_the_wave():
    evaluator = FakeEvaluator(wave=2)
    result = search([whole(*range(10))], evaluator=evaluator, should_stop=lambda: evaluator.waves == 2)
    assert (
        len(result.ranking) == 4 and result.stopped == "stopped by hand" and result.rounds == [[0, 1, 2, 3]]
    )


def test_the_time_limit_ends_the_search_after_the_wave():
    evaluator = FakeEvaluator(wave=1, before_wave=lambda number: time.sleep(0.02))
    result = search([whole(*range(50))], evaluator=evaluator, seconds=0.05)
    assert result.stopped == "the time limit is reached" and 1 <= len(result.ranking) <= 3
    assert 0.05 <= result.seconds < 1.0


def test_a_time_limit_that_is_over_at_once_still_gives_a_result():
    assert search([half(1), go_on, whole(2)], seconds=0.0).winner.finished


def test_the_search_stops_at_the_score():
    evaluator = FakeEvaluator(wave=1)
    result = search([whole(*range(100))], 10_000, evaluator, score=0.8)
    scores = [outcome.scores[0] for outcome in evaluator.outcomes.values()]
    assert result.stopped == "the score to stop at is reached"
    assert scores[-1] >= 0.8 > max(scores[:-1]) and result.winner.scores == (scores[-1],)


def test_unfinished_scores_do_not_stop_the_search():
    result = search([half(*range(20)), go_on], score=0.0)
    assert len(result.rounds[0]) == 20 and result.stopped == "the score to stop at is reached"


def test_a_nan_does_not_stop_the_search():
    assert (
        search([whole(*range(9))], evaluator=FakeEvaluator(nan=1.0), score=-1e9).stopped
        == "the search came to its end"
    )


def test_a_search_that_ends_by_itself():
    script = Script((whole(1),))
    result = run(script, 0, FakeEvaluator(), ONE, Limits(1000))
    assert result.stopped == "the search came to its end" and script.log == {
        "ended": "ran out",
        "closed": True,
    }


# -- algorithms that fail ------------------------------------------------------------------------------------------------


def broken(told):
    raise ZeroDivisionError("broken search")


def orphan(told):
    return [Rollout(NoiseRecipe(5), parent=77, start=0.5)]


FAULTY = {"nothing": (), "an error": broken, "an orphan": orphan, "no rollouts": lambda told: [None]}


@pytest.mark.parametrize("request_", FAULTY.values(), ids=FAULTY)
def test_an_algorithm_that_fails_at_once_is_an_error(request_):
    evaluator = FakeEvaluator()
    with pytest.raises(RuntimeError, match="search algorithm script failed"):
        search([request_], evaluator=evaluator)
    assert not evaluator.asked


@pytest.mark.parametrize("request_", FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("paid", [whole(1, 2), half(1, 2)], ids=["finished", "unfinished"])
def test_an_algorithm_that_fails_later_loses_nothing_that_was_paid(request_, paid):
    result = search([paid, request_])
    assert result.winner.finished and len(result.outcomes) >= 2
    assert result.stopped == "the search algorithm failed"
    assert ["script failed" in fault for fault in result.faults] == [True]


@pytest.mark.parametrize("paid", [[], [whole(1, 2)]], ids=["at once", "later"])
def test_what_a_failing_algorithm_says_is_cut_and_put_in_one_line(paid):
    def talkative(told):
        raise ValueError("no\n" * 100_000 + "end")

    try:
        (said,) = search([*paid, talkative]).faults
    except RuntimeError as error:
        said = str(error)
    assert ("no no no" in said) and len(said) < 1200 and "\n" not in said


# -- errors pass through, and all is closed ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Cancelled, Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize("wave", [0, 1, 2, 3])
def test_an_evaluator_that_raises_closes_everything(error, wave):
    def cancel(number):
        if number == wave:
            raise error("enough")

    script, evaluator = Script((half(1, 2, 3), half(4, 5))), FakeEvaluator(wave=2, before_wave=cancel)
    with pytest.raises(error, match="enough"):
        run(script, 0, evaluator, ONE, Limits(1000))
    assert evaluator.running == 0 and evaluator.waves == wave
    assert script.log == {
        "ended": "closed" if wave < 3 else "ran out",
        "closed": True,
    }  # wave 3 completes the best half


@pytest.mark.parametrize("callback", ["on_progress", "should_stop"])
def test_a_callback_that_raises_closes_everything(callback):
    asked = []

    def cancel(*_):
        asked.append(True)
        if len(asked) > (callback == "should_stop"):  # whether to stop is asked once before anything begins
            raise Interrupted("enough")

    script, evaluator = Script((whole(1, 2, 3),)), FakeEvaluator(wave=1)
    with pytest.raises(Interrupted):
        run(script, 0, evaluator, ONE, Limits(1000), **{callback: cancel})
    assert evaluator.running == 0 and evaluator.waves == 1 and script.log["closed"]


def test_an_early_stop_closes_everything():
    script, evaluator = Script((whole(*range(9)),)), FakeEvaluator(wave=1)
    run(script, 0, evaluator, ONE, Limits(1000), should_stop=lambda: evaluator.waves > 0)
    assert evaluator.running == 0 and script.log == {"ended": "closed", "closed": True}


def test_stopped_before_its_turn_it_is_given_its_first_candidate():
    script, evaluator = Script((whole(*range(9)),)), FakeEvaluator(wave=1)
    result = run(script, 77, evaluator, ONE, Limits(1000), should_stop=lambda: True)
    assert [outcome.rollout for outcome in result.ranking] == [Rollout(NoiseRecipe(77))]
    assert evaluator.waves == 1 and evaluator.running == 0 and result.stopped == "stopped by hand"


# -- the result ----------------------------------------------------------------------------------------------------------


def test_curve_and_ranking():
    evaluator = FakeEvaluator(wave=3)
    result = search([whole(*range(30))], 300, evaluator)
    scores = [evaluator.outcomes[i].scores[0] for i in range(30)]
    assert [outcome.id for outcome in result.ranking] == sorted(range(30), key=lambda i: (-scores[i], i))
    expected, best = [], -math.inf
    for end in range(3, 31, 3):
        if max(scores[:end]) > best:
            best = max(scores[:end])
            expected.append((10 * end, scores.index(best)))
    assert [(nfe, outcome.id) for nfe, outcome in result.curve] == expected and len(expected) > 1
    assert result.winner is result.ranking[0] is result.curve[-1][1]


def test_progress_is_told_after_each_wave():
    seen, evaluator = [], FakeEvaluator(wave=2)
    result = search([half(1), whole(2, 3, 4)], 50, evaluator, on_progress=seen.append)
    assert [(p.finished, p.nfe, p.budget) for p in seen] == [(0, 6, 50), (2, 26, 50), (3, 36, 50)]
    assert (
        seen[0].best is evaluator.outcomes[0] and seen[1].best.finished and seen[-1].best is result.winner
    )  # a preview, until something is finished


def test_the_evaluator_is_told_whom_to_keep_best_first():
    evaluator = FakeEvaluator(wave=2)
    result = run(Keepless((whole(*range(9)),)), 0, evaluator, ONE, Limits(1000, keep=4))
    assert evaluator.kept == [outcome.id for outcome in result.ranking[:4]]


def test_the_evaluator_keeps_what_the_search_may_still_build_on():
    class Builder(Script):
        keeps = 6

    evaluator = FakeEvaluator(wave=2)
    result = run(Builder((whole(*range(9)),)), 0, evaluator, ONE, Limits(1000, keep=2))
    assert evaluator.kept == [outcome.id for outcome in result.ranking[:6]]


def test_nothing_new_begins_once_the_time_is_over():
    """Between batches too, which the evaluator asks for."""
    evaluator = FakeEvaluator(wave=1, before_wave=lambda number: time.sleep(0.02))
    result = search([whole(*range(3)), whole(4)], evaluator=evaluator, seconds=0.03)
    assert 2 <= evaluator.waves <= 3 and result.stopped == "the time limit is reached"


def test_the_winner_is_chosen_over_the_whole_pool():
    """By average rank, a new outcome can make an older one the best."""
    overtaken = 0
    for first in range(0, 1000, 50):
        evaluator = FakeEvaluator(verifiers=3, wave=1)
        result = search([whole(*range(first, first + 50))], evaluator=evaluator)
        assert result.ranking == ONE.best(list(evaluator.outcomes.values()), 50)
        overtaken += sum(outcome.id < nfe // 10 - 1 for nfe, outcome in result.curve)
    assert overtaken, "in none of these searches did an older outcome become the best, so they show nothing"


# -- what it costs -------------------------------------------------------------------------------------------------------


class Instant:
    """Outcomes without work, one a wave, of eight verifiers."""

    top, levels, held, stochastic = 1.0, (1.0, 0.0), 0, None

    def __init__(self, count):
        generator = torch.Generator().manual_seed(1)
        self.scores = torch.rand(count, 8, generator=generator, dtype=torch.float64).tolist()

    def cost(self, rollout, parent):
        return 1

    def own_steps(self, start, stop):
        return 1

    def keep(self, best):
        self.kept = list(best)

    def evaluate(self, asked, enough):
        for id, rollout in asked:
            yield [Outcome(id, rollout, tuple(self.scores[id]), 1)]


@pytest.mark.parametrize("method", METHODS)
def test_bookkeeping_stays_under_a_millisecond_a_candidate(method):
    """Eight verifiers, one outcome a wave, 4000 of them; CPU time."""
    began = time.process_time()
    result = run(RandomSearch(), 0, Instant(4000), Comparison(method), Limits(4000, keep=4))
    assert len(result.ranking) == 4000
    assert time.process_time() - began < 4.0
