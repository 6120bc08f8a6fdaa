"""How outcomes are compared, against slow implementations written from the definitions."""

import math
import statistics
import time
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.selection import METHODS, Comparison, Standing

NAN = math.nan


def pool_of(*rows):
    """Outcomes 0, 1, ... with one tuple of scores each."""
    return [
        Outcome(i, Rollout(NoiseRecipe(i)), tuple(row) if isinstance(row, tuple) else (row,), 1)
        for i, row in enumerate(rows)
    ]


def ids(outcomes):
    return [outcome.id for outcome in outcomes]


values = st.integers(0, 4).map(float) | st.integers(-(10**6), 10**6).map(lambda n: n / 1000) | st.just(NAN)
weights_of = {
    n: st.just(())
    | st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.5]), min_size=n, max_size=n).filter(any).map(tuple)
    for n in range(1, 4)
}


@st.composite
def tables(draw, fewest=1):
    """(outcomes, weights): 1 to 12 rows of 1 to 3 scores, with ties and NaN."""
    n = draw(st.integers(fewest, 3))
    return pool_of(*draw(st.lists(st.tuples(*[values] * n), min_size=1, max_size=12))), draw(weights_of[n])


def slow_rank(score, column):
    """1 + how many are better + half of the others that are equal; NaN is below everything and equal to NaN."""

    def better(a, b):
        return not math.isnan(a) and (math.isnan(b) or a > b)

    above = sum(better(other, score) for other in column)
    equal = sum(not better(other, score) and not better(score, other) for other in column)
    return Fraction(above) + Fraction(equal + 1, 2)


@given(tables(fewest=2))
def test_average_rank_is_the_weighted_mean_of_the_ranks(table):
    pool, weights = table
    columns = list(zip(*(outcome.scores for outcome in pool)))
    shares = [Fraction(w) for w in weights or (1.0,) * len(columns)]
    expected = {
        o.id: math.inf
        if any(w and math.isnan(s) for w, s in zip(shares, o.scores))
        else sum(w * slow_rank(s, column) for w, s, column in zip(shares, o.scores, columns)) / sum(shares)
        for o in pool
    }
    got = Comparison("average rank", weights).utilities(pool)
    assert got == pytest.approx({id: -float(rank) for id, rank in expected.items()})
    assert ids(Comparison("average rank", weights).best(pool, len(pool))) == sorted(
        expected, key=lambda id: (expected[id], id)
    )


@given(tables(fewest=2))
def test_z_score_adds_standard_scores(table):
    pool, weights = table
    shares = weights or (1.0,) * len(pool[0].scores)
    totals = dict.fromkeys(ids(pool), 0.0)
    for weight, column in zip(shares, zip(*(outcome.scores for outcome in pool))):
        judged = [score for score in column if not math.isnan(score)]
        spread = statistics.pstdev(judged) if judged else 0.0
        for id, score in enumerate(column):
            if weight:
                totals[id] += (
                    -math.inf
                    if math.isnan(score)
                    else weight * (score - statistics.mean(judged)) / spread
                    if spread
                    else 0.0
                )
    got = Comparison("z-score", weights).utilities(pool)
    assert got == pytest.approx({id: total / sum(shares) for id, total in totals.items()}, abs=1e-6)


@given(tables(fewest=2))
def test_weighted_sum_is_the_weighted_mean_of_the_scores(table):
    pool, weights = table
    shares = weights or (1.0,) * len(pool[0].scores)
    expected = {}
    for outcome in pool:
        used = [(w, s) for w, s in zip(shares, outcome.scores) if w]
        expected[outcome.id] = (
            -math.inf if any(math.isnan(s) for _, s in used) else sum(w * s for w, s in used) / sum(shares)
        )
    assert Comparison("weighted sum", weights).utilities(pool) == pytest.approx(expected)


@given(tables(), st.sampled_from(METHODS), st.integers(0, 15))
def test_best_sorts_by_utility_then_by_id(table, method, k):
    pool, weights = table
    comparison = Comparison(method, weights)
    utility = comparison.utilities(pool)
    best = comparison.best(reversed(pool), k)
    assert ids(best) == sorted(utility, key=lambda id: (-utility[id], id))[:k]
    assert all(outcome is pool[outcome.id] for outcome in best)


def test_ranks_by_hand():
    pool = pool_of((0.1, 30.0), (0.9, 10.0), (0.9, 20.0), (NAN, 40.0))
    assert Comparison().utilities(pool) == {0: -2.5, 1: -2.75, 2: -2.25, 3: -math.inf}
    assert ids(Comparison().best(pool, 4)) == [2, 0, 1, 3]


def test_ranks_do_not_care_for_the_scale_of_a_verifier():
    rows = [(0.1, 3.0), (0.9, 1.0), (0.5, 2.5)]
    stretched = [(math.exp(50 * a), b) for a, b in rows]
    assert Comparison().utilities(pool_of(*rows)) == Comparison().utilities(pool_of(*stretched))


@pytest.mark.parametrize("method", METHODS)
def test_one_verifier_decides_alone(method):
    pool = pool_of(0.2, 0.9, NAN, -5.0, 0.9)
    assert Comparison(method).utilities(pool) == {0: 0.2, 1: 0.9, 2: -math.inf, 3: -5.0, 4: 0.9}
    assert ids(Comparison(method, (3.0,)).best(pool, 5)) == [1, 4, 0, 3, 2]


@pytest.mark.parametrize("method", METHODS)
def test_what_no_verifier_could_judge_comes_last(method):
    pool = pool_of((NAN, NAN), (0.1, 0.1), (NAN, NAN), (0.2, 0.2))
    assert ids(Comparison(method).best(pool, 4)) == [3, 1, 0, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_could_not_be_judged_goes_by_id(method):
    assert ids(Comparison(method).best(reversed(pool_of(*[(NAN, NAN)] * 3)), 3)) == [0, 1, 2]


@pytest.mark.parametrize("method", ["z-score", "weighted sum"])
def test_an_infinite_score_does_not_make_up_for_one_that_is_missing(method):
    pool = pool_of((NAN, math.inf), (0.5, 0.5), (0.7, 0.7), (0.6, 0.6))
    assert ids(Comparison(method).best(pool, 4)) == [2, 3, 1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_verifier_of_weight_zero_has_no_say(method):
    pool = pool_of((0.1, NAN), (0.3, 5.0), (0.2, 9.0))
    assert ids(Comparison(method, (1.0, 0.0)).best(pool, 3)) == [1, 2, 0]


def test_weights_turn_the_tables():
    pool = pool_of((1.0, 0.0), (0.0, 1.0))
    assert ids(Comparison(weights=(2.0, 1.0)).best(pool, 1)) == [0]
    assert ids(Comparison(weights=(1.0, 2.0)).best(pool, 1)) == [1]


def test_candidates_are_compared_within_the_pool():
    """Alone the two candidates tie; the pool tells them apart."""
    pool = pool_of((0.2, 0.1), (0.1, 0.2), (0.0, 0.15), (0.0, 0.15))
    assert ids(Comparison().best(pool[:2], 1)) == [0]
    assert ids(Comparison().best(pool[:2], 1, pool)) == [1]


def test_the_pool_may_lack_the_candidates():
    pool = pool_of(0.1, 0.9, 0.5)
    assert ids(Comparison().best(pool[1:], 2, pool[:1])) == [1, 2]


def test_nothing_to_compare():
    assert Comparison().utilities([]) == {} and Comparison().best([], 3) == []


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (("best",), "not by 'best'"),
        (("z-score", (0.0, 0.0)), "not all 0"),
        (("z-score", (-1.0, 2.0)), "not negative"),
        (("z-score", (NAN, 2.0)), "finite"),
        (("z-score", (math.inf, 2.0)), "finite"),
    ],
)
def test_bad_comparisons_are_refused(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        Comparison(*arguments)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0)])
def test_there_is_one_weight_for_each_verifier(weights):
    with pytest.raises(ValueError, match=f"2 verifiers, but {len(weights)} weights"):
        Comparison(weights=weights).best(pool_of((0.1, 0.2)), 1)


# -- a pool that grows ---------------------------------------------------------------------------------------------------


@given(tables(), st.sampled_from(METHODS), st.integers(1, 5))
def test_a_pool_that_grows_is_what_it_would_be_at_once(table, method, wave):
    pool, weights = table
    comparison, standing = Comparison(method, weights), Standing(Comparison(method, weights))
    for first in range(0, len(pool), wave):
        standing.add(pool[first : first + wave])
        so_far = pool[: first + wave]
        assert dict(zip(standing.ids, standing.utilities().tolist())) == comparison.utilities(so_far)
        for k in (1, 3, len(pool)):
            assert standing.top(k) == ids(comparison.best(so_far, k))


@pytest.mark.parametrize("method", METHODS)
@given(
    first=st.lists(st.tuples(values, values), min_size=1, max_size=6),
    lost=st.tuples(values, st.just(NAN)) | st.tuples(st.just(NAN), values),
)
def test_what_a_verifier_could_not_judge_is_never_before_what_all_could(method, first, lost):
    pool = pool_of(*first, lost)
    utilities = Comparison(method).utilities(pool)
    judged = [o.id for o in pool if not any(map(math.isnan, o.scores))]
    assert utilities[len(first)] == -math.inf
    assert all(utilities[id] > -math.inf for id in judged)


@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(1, 40), st.floats(-1e3, 1e3, allow_nan=False))
def test_equal_scores_have_a_standard_score_of_exactly_zero(score, count, other):
    pool = pool_of(*[(score, other)] * count)
    assert set(Comparison("z-score").utilities(pool).values()) == {0.0}


def test_an_unscored_outcome_among_scored_ones_comes_last():
    pool = [*pool_of(0.1), Outcome(1, Rollout(NoiseRecipe(1)), (), 1), *pool_of(0.0, 0.0, 0.9)[2:]]
    assert ids(Comparison().best(pool, 3)) == [2, 0, 1]


@pytest.mark.parametrize("method", METHODS)
def test_bookkeeping_costs_a_millisecond_at_ten_thousand_candidates(method):
    """Eight verifiers, one outcome at a time, the best few asked for after each: the median CPU time of the last hundred."""
    rows = torch.rand(10_000, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tolist()
    pool = pool_of(*map(tuple, rows))
    standing = Standing(Comparison(method))
    standing.add(pool[:-100])
    seconds = []
    for outcome in pool[-100:]:
        began = time.process_time()
        standing.add([outcome])
        best = standing.top(4)
        seconds.append(time.process_time() - began)
    assert best == ids(Comparison(method).best(pool, 4))
    assert statistics.median(seconds) < 1e-3
