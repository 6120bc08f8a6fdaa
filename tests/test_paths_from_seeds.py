"""Search over paths whose starting points are looked at first, and whose number of paths follows from the budget."""

import pytest
import torch
from graphs import Graph
from noisesearch.nodes.searches import NoiseSearchPaths
from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.algorithms.paths import AUTO, WIDE
from noisesearch.search.driver import Limits, terms

DEFAULTS = dict(
    paths=2, width=0, preset="local", start=0.5, forward=0.2, backward=0.4, steps_per_round=-1
)  # what a saved workflow of the first release holds


def planned(budget, steps=12, **settings):
    at = terms(Graph.mixture("CONST", steps=steps).evaluator(), Limits(budget))
    return SearchOverPaths(**settings).plan(at), at


@torch.inference_mode()
def test_the_best_of_the_starting_points_become_the_paths():
    graph = Graph.mixture("CONST", steps=12)
    image = graph.search(SearchOverPaths(2, 3, seeds=7), budget_nfe=400).report["images"][0]
    candidates = {one["id"]: one for one in image["candidates"]}
    first, second = image["rounds"][:2]
    assert len(first) == 7 and len(second) == 6
    best = sorted(first, key=lambda id: (-candidates[id]["scores"][0], id))[:2]
    assert [candidates[id]["parent"] for id in second] == [id for id in best for _ in range(3)]
    assert "best of 7 starting points" in image["plan"]
    assert graph.model.spy.rows == 2 * image["search_nfe"]


@pytest.mark.parametrize("seeds", [0, 1, 2])
@torch.inference_mode()
def test_no_more_starting_points_than_paths_are_the_search_as_it_was(seeds):
    """Nobody looks at them, and they cost what they did."""
    searches = [SearchOverPaths(2, 2), SearchOverPaths(2, 2, seeds=seeds)]
    images = [Graph.mixture("CONST").search(one, budget_nfe=300).report["images"][0] for one in searches]
    assert images[0]["candidates"] == images[1]["candidates"] and images[0]["plan"] == images[1]["plan"]
    assert all(not one["scores"] for one in images[1]["candidates"][:2])


def test_saved_workflows_have_no_starting_points_more():
    assert NoiseSearchPaths.execute(**DEFAULTS, preview="free").result[0].seeds == 0
    assert NoiseSearchPaths.execute(**DEFAULTS, preview="free", seeds=9).result[0].seeds == 9


@pytest.mark.parametrize("budget", [60, 96, 192, 400])
@pytest.mark.parametrize("preview", ["free", "extra evaluation"])
def test_a_third_of_the_budget_goes_into_starting_points(budget, preview):
    one, at = planned(budget, paths=1, seeds=AUTO, preview=preview)
    look = at.cost(one_look(one), None)
    assert one.seeds * look <= budget // 3 < (one.seeds + 1) * look
    assert one.prices(at)[1] <= budget < one.spread(1 + sum(r.width for r in one.rounds)).prices(at)[1]


def one_look(planned):
    from noisesearch.search.noise import NoiseRecipe
    from noisesearch.search.rollout import Rollout

    return Rollout(NoiseRecipe(0), stop=planned.start)


def test_a_given_width_leaves_the_rest_to_starting_points():
    one, at = planned(300, paths=2, width=3, seeds=AUTO)
    assert [round.width for round in one.rounds] == [3, 3, 3] and one.seeds > 10
    spent = one.prices(at)[1]
    assert spent <= 300 < spent + at.cost(one_look(one), None)


def test_where_only_the_pass_fits_there_are_no_starting_points_more():
    least = planned(10_000, paths=2, width=1)
    need = least[0].prices(least[1])[1]
    one, _ = planned(need, paths=2, width=1, seeds=AUTO)
    assert max(one.seeds, 2) == 2
    with pytest.raises(BudgetTooSmall):
        planned(need - 1, paths=2, width=1, seeds=AUTO)


def test_more_paths_only_where_each_has_room():
    """One for small budgets, then two, then four (paper, figure 6)."""
    counts = {budget: planned(budget, paths=0)[0] for budget in (48, 96, 400, 800, 1600, 3200)}
    assert counts[48].paths == counts[96].paths == 1 and counts[3200].paths == 4
    numbers = [one.paths for one in counts.values()]
    assert numbers == sorted(numbers) and 2 in numbers
    for one in counts.values():
        assert one.paths == 1 or min(round.width for round in one.rounds) >= WIDE


def test_a_budget_that_is_too_small_for_one_path_says_so():
    with pytest.raises(BudgetTooSmall, match="paths = 1"):
        planned(5, paths=0)
