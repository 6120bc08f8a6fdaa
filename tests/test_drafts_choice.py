"""How many steps a draft should get: the statistics behind it against independent values, and what is chosen."""

import math

import pytest
import torch
from noisesearch.search import drafts
from noisesearch.search.drafts import (
    Seen,
    choose,
    correlation_of,
    expected_best,
    expected_maximum,
    foretold,
    rank_correlation,
    ranks,
    seen_of,
    shown,
)
from noisesearch.search.selection import Comparison

# Harter 1961, "Expected values of normal order statistics"; 2 and 3 in closed form
HARTER = {
    1: 0.0,
    2: 1 / math.sqrt(math.pi),
    3: 1.5 / math.sqrt(math.pi),
    5: 1.16296,
    10: 1.53875,
    20: 1.86748,
    50: 2.24907,
    100: 2.50759,
}


@pytest.mark.parametrize("n", HARTER)
def test_the_expected_maximum_of_normal_numbers(n):
    assert expected_maximum(n) == pytest.approx(HARTER[n], abs=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_the_expected_best_of_the_drafts_that_are_rendered(rho):
    """Against drafts and finals that are drawn one by one; and all drafts rendered are as good as no drafts."""
    x, y = normal_pairs(rho, 20_000, 12, seed=4)
    for top in (1, 3, 12):
        chosen = y.gather(1, x.topk(top, dim=1).indices).amax(1)
        assert expected_best(12, top, rho) == pytest.approx(float(chosen.mean()), abs=0.025)
    assert expected_best(12, 12, rho) == pytest.approx(expected_maximum(12), abs=0.02)


def test_there_is_no_maximum_of_nothing():
    with pytest.raises(ValueError, match="largest of 0"):
        expected_maximum(0)


def test_the_rank_correlation_is_that_of_the_textbook():
    """Kendall and Gibbons, Rank Correlation Methods: 1 - 6 sum(d^2) / (n^3 - n) without ties."""
    a, b = [7, 4, 3, 10, 6, 2, 9, 8, 1, 5], [5, 7, 3, 10, 1, 9, 6, 2, 8, 4]
    squares = sum((x - y) ** 2 for x, y in zip(a, b))
    assert rank_correlation(a, b) == pytest.approx(1 - 6 * squares / 990)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1.0, 2.0, 30.0], [0.0, 5.0, 6.0]) == pytest.approx(1)  # the order only
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 1.0, 2.0]) == pytest.approx(-0.8)
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == pytest.approx(0.5)
    assert rank_correlation([1, 1], [1, 2]) == 0
    assert math.isnan(rank_correlation([1], [1]))
    assert ranks([3, -math.inf, 3, 1, math.inf]).tolist() == [3.5, 1, 3.5, 2, 5]


def test_the_rank_correlation_of_very_many_is_no_square_of_them():
    """A square of 200 000 numbers would be 320 GB."""
    many = range(200_000)
    assert rank_correlation(many, many) == pytest.approx(1)


def lower_bound(rho, pairs):
    """Of a rank correlation that was estimated from so many pairs."""
    return drafts._bound(drafts._fisher(rho), pairs - 3)


def normal_pairs(rho, *shape, seed=0):
    """(drafts, finals), standard normal with this correlation."""
    generator = torch.Generator().manual_seed(seed)
    x, e = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * e


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_the_lower_bound_lies_below_in_nine_cases_of_ten(rho):
    true = 6 / math.pi * math.asin(rho / 2)  # Spearman's of normal numbers
    x, y = normal_pairs(rho, 600, 25)
    below = [lower_bound(rank_correlation(a, b), 25) <= true for a, b in zip(x.tolist(), y.tolist())]
    assert sum(below) / len(below) == pytest.approx(0.9, abs=0.035)


def test_the_lower_bound_of_few_pairs_says_nothing():
    assert lower_bound(0.9, 3) == -1
    assert lower_bound(0.9, 10) < lower_bound(0.9, 100) < 0.9


def searches(rho, count, drafts=24, top=4, steps=5, shift=True):
    """What `count` searches show that render their best few drafts; every prompt has a level and a scale of its own."""
    x, y = normal_pairs(rho, count, drafts, seed=1)
    found = []
    for i in range(count):
        level, scale = (3.0 * i, 1.0 + i % 5) if shift else (0.0, 1.0)
        a, b = scale * x[i] + level, scale * y[i] + level + 1.0
        best = a.argsort(descending=True)[:top].tolist()
        rows = [((float(a[j]),), (float(b[j]),)) for j in best]
        found.append(seen_of(steps, [(float(v),) for v in a], rows, Comparison()))
    return found


@pytest.mark.parametrize("rho", [0.3, 0.7, 0.95])
def test_the_correlation_over_all_drafts_is_found_from_the_best_ones(rho):
    """Among the best few alone it is much lower."""
    found = searches(rho, 400)
    estimate, worth = correlation_of(found)
    assert estimate == pytest.approx(rho, abs=0.08)
    points = torch.cat([torch.tensor(one.pairs) - torch.tensor(one.pairs).mean(0) for one in found])
    naive = float(torch.corrcoef(points.T)[0, 1])
    assert naive < rho - 0.1 and 0 < worth < len(points)


def test_a_few_pairs_say_nothing():
    assert correlation_of(searches(0.9, 4, top=2)) == (0.0, 0.0)
    assert correlation_of(searches(0.9, 50, top=1)) == (0.0, 0.0)  # nothing to compare within a search


def test_what_could_not_be_judged_is_left_out():
    nan = math.nan
    drafts_, rows = [(1.0,), (2.0,), (nan,), ()], [((2.0,), (5.0,)), ((nan,), (1.0,)), ((1.0,), (nan,))]
    spread = math.sqrt(0.5)
    assert seen_of(5, drafts_, rows, Comparison()) == Seen(5, ((pytest.approx(0.5 / spread), pytest.approx(3.5 / spread)),))  # fmt: skip
    assert seen_of(5, [(1.0,), (1.0,)], [((1.0,), (2.0,))], Comparison()).pairs == ()
    assert seen_of(5, [], [], Comparison()).pairs == ()


def test_verifiers_count_by_their_weights():
    """One of weight 0 only reports; the scale of a score does not matter."""
    x, y = normal_pairs(0.8, 20, seed=3)
    one = [(float(a),) for a in x]
    rows = [((float(a),), (float(b),)) for a, b in zip(x, y)]
    both = [(100.0 * float(a), math.nan) for a in x]
    wide = [((100.0 * float(a), math.nan), (100.0 * float(b), 1.0)) for a, b in zip(x, y)]
    alone = seen_of(5, one, rows, Comparison())
    weighed = seen_of(5, both, wide, Comparison("z-score", (2.0, 0.0)))
    assert torch.tensor(weighed.pairs) == pytest.approx(torch.tensor(alone.pairs), abs=1e-9)
    assert float(torch.tensor(alone.pairs)[:, 0].std()) == pytest.approx(1.0)


def test_more_steps_foretell_more():
    bounds = [foretold(steps) for steps in drafts.TRIED]
    assert all(0 < bound < 1 for bound in bounds) and bounds == sorted(bounds)


@pytest.mark.parametrize("rho", [0.2, 0.98])
def test_what_searches_show_moves_the_prior(rho):
    many = shown(searches(rho, 300, top=6))
    estimate, worth = many[5]
    assert foretold(5, many) == pytest.approx(lower_bound(estimate, worth + 3), abs=0.03)
    near, far = (abs(foretold(steps, many) - foretold(steps)) for steps in (6, 30))
    assert near > far


COSTS = {steps: steps for steps in drafts.TRIED if steps < 20}


def test_the_choice_is_the_largest_gain():
    choice = choose(160, 20, COSTS, top=2)
    assert choice.gain == expected_best(choice.count, 2, foretold(choice.steps)) > choice.rho * expected_maximum(choice.count)  # fmt: skip
    assert choice.count == (160 - 2 * 20) // choice.steps and choice.gain > choice.without == expected_maximum(8)  # fmt: skip
    gains = [expected_best((160 - 40) // c, 2, foretold(s)) for s, c in COSTS.items() if (160 - 40) // c > 2]
    assert choice.gain >= drafts.ALIKE * max(gains)


def test_drafts_that_foretell_nothing_are_not_made():
    bad = shown(searches(0.05, 300, steps=5, top=6) + searches(0.05, 300, steps=10, top=6))
    choice = choose(160, 20, COSTS, top=2, known=bad)
    assert (choice.steps, choice.count, choice.rho) == (0, 8, 1.0)


def test_good_drafts_are_made_with_few_steps():
    good = shown(searches(0.98, 300, steps=3, top=6))
    assert choose(160, 20, COSTS, top=2, known=good).steps <= 4


@pytest.mark.parametrize("budget", [20, 40, 45])
def test_a_small_budget_buys_no_drafts(budget):
    assert choose(budget, 20, COSTS, top=2).steps == 0
