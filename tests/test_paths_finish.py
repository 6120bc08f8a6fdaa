"""Search over paths whose rounds end before the image does: from there on, the paths that are left take the schedule's own steps."""

from dataclasses import replace

import pytest
import torch
from comfy.samplers import KSAMPLER
from graphs import Graph
from noisesearch.nodes.searches import NoiseSearchPaths
from noisesearch.search.algorithms import Auto, Replay, SearchOverPaths
from noisesearch.search.algorithms.auto import PATHS
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.driver import Limits, terms
from noisesearch.search.rollout import BY_RGB, FREE

DEFAULTS = dict(
    paths=2, width=0, preset="local", start=0.5, forward=0.2, backward=0.4, steps_per_round=-1, preview=FREE
)


def graph_of(family="CONST", **settings):
    return Graph.mixture(family, **{"steps": 12, **settings})


def planned(settings, budget, graph=None):
    evaluator = (graph or graph_of()).evaluator(preview=settings.preview)
    at = terms(evaluator, Limits(budget))
    return settings.plan(at), at


@pytest.mark.parametrize("family", ["CONST", "EPS", "V_PREDICTION", "EDM"])
@pytest.mark.parametrize("paths, width", [(1, 5), (2, 3)])
@torch.inference_mode()
def test_the_paths_that_are_left_take_the_own_steps_to_the_end(family, paths, width):
    graph = graph_of(family)
    settings = SearchOverPaths(paths, width, steps=1, preview=FREE, seeds=4, finish=0.2)
    found = graph.search(settings, budget_nfe=200)
    image = found.report["images"][0]
    candidates = {one["id"]: one for one in image["candidates"]}
    *rounds, last = image["rounds"]
    before = [candidates[id] for id in rounds[-1]]
    assert [one["stop"] for one in before] == [pytest.approx(0.2)] * (paths * width)
    best = sorted(before, key=lambda one: (-one["scores"][0], one["id"]))[: len(last)]
    assert paths <= len(last) <= 4
    assert [candidates[id]["parent"] for id in last] == [one["id"] for one in best]
    whole = graph_of(family).evaluator().own_steps(0.2, 0.0)
    assert [candidates[id]["nfe"] for id in last] == [whole] * len(last) and (whole > 1 or family != "CONST")
    assert image["winner"]["id"] in last
    looks = sum(bool(one["scores"]) for one in candidates.values())
    assert f"3 rounds, from 20% noise on with the own steps; {looks} images judged" in image["plan"]
    assert image["search_nfe"] == sum(one["nfe"] for one in candidates.values())
    assert graph.model.spy.rows == 2 * image["search_nfe"]
    again = graph.search(Replay(tuple(found.recipes)))
    torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-4, rtol=0)


def test_one_step_a_round_with_free_previews_makes_a_candidate_of_every_evaluation():
    plan, at = planned(PATHS, 96)
    assert {(round.steps, round.down) for round in plan.rounds[-1:]} == {(1, 0.2)}
    looked = sum(round.width for round in plan.rounds)
    spent, need = plan.prices(at)
    start, finish = at.own_steps(at.top, plan.start), at.own_steps(plan.finish, 0.0)
    assert plan.finalists == 4 and spent == plan.seeds * start + looked + 4 * finish
    assert need <= 96 < plan.spread(looked + 1).prices(at)[1]


@pytest.mark.parametrize("budget, count", [(24, 1), (48, 2), (96, 4), (400, 4)])
@torch.inference_mode()
def test_an_eighth_of_the_budget_finishes_up_to_four(budget, count):
    """However many the user wishes to have: the winner is the same."""
    found = {keep: graph_of().search(PATHS, budget_nfe=budget, keep_top=keep) for keep in (1, 8)}
    images = [one.report["images"][0] for one in found.values()]
    assert images[0]["candidates"] == images[1]["candidates"] and found[1].recipes == found[8].recipes
    assert len([one for one in images[0]["candidates"] if one["stop"] == 0.0]) == count
    assert len(found[8].found[0].top_ids) == count and images[0]["search_nfe"] <= budget


def test_no_more_are_finished_than_there_are_nor_than_a_given_width_leaves_room_for():
    few, _ = planned(SearchOverPaths(1, 2, steps=1, preview=FREE, finish=0.2), 200)
    assert few.finalists == 4 and few.stages()[-1][0] == 2
    wide = SearchOverPaths(1, 20, steps=1, preview=FREE, finish=0.4)
    least = next(budget for budget in range(20, 120) if fits(wide, budget))
    plan, at = planned(wide, least)
    assert plan.finalists == 1 and plan.prices(at)[1] == least


def fits(settings, budget):
    try:
        return bool(planned(settings, budget))
    except BudgetTooSmall:
        return False


@pytest.mark.parametrize("budget", [24, 30, 48, 96, 192, 384])
@torch.inference_mode()
def test_what_is_planned_is_what_is_paid(budget):
    graph = graph_of()
    plan, at = planned(PATHS, budget, graph_of())
    image = graph.search(PATHS, budget_nfe=budget).report["images"][0]
    assert image["search_nfe"] == plan.prices(at)[0] <= budget
    assert graph.model.spy.rows == 2 * image["search_nfe"]


def test_a_schedule_that_begins_below_the_finish_is_finished_from_half_of_its_start():
    wished = SearchOverPaths(1, 2, finish=0.5)
    plan, _ = planned(wished, 200, graph_of(denoise=0.4))
    assert plan.start < 0.5 and plan.finish == plan.rounds[-1].down == plan.start / 2
    assert "Its rounds end at flow time 0.1" in " ".join(plan.notes(wished))
    plan, _ = planned(replace(wished, finish=1e-9), 200)
    assert plan.finish == 0.0 and plan.rounds[-1].down == 0.0


@torch.inference_mode()
def test_search_auto_leaves_a_schedule_that_begins_low_to_random_search():
    """So low that one step would be the whole of it."""
    for denoise, name in ((1.0, PATHS.name), (0.3, "random search")):
        image = graph_of(denoise=denoise).search(Auto(), candidates=4).report["images"][0]
        assert image["settings"]["name"] == name


@torch.inference_mode()
def test_search_auto_takes_random_search_where_a_score_may_end_it_and_for_videos():
    image = graph_of().search(Auto(), candidates=4, stop_at_score=9.0).report["images"][0]
    assert image["settings"]["name"] == "random search"
    latent = {"samples": torch.zeros(1, 4, 3, 8, 8)}
    video = Graph.mixture("CONST", steps=12, dims=3, latent=latent)
    assert video.search(Auto(), candidates=4).report["images"][0]["settings"]["name"] == "random search"


def test_without_a_finish_it_is_the_search_as_it_was():
    assert NoiseSearchPaths.execute(**DEFAULTS).result[0] == SearchOverPaths(2, preview=FREE)
    plan, _ = planned(SearchOverPaths(2, 2), 400)
    assert plan.finish == 0.0 and plan.rounds[-1].down == 0.0


def test_the_node_hands_on_finish_and_decoder():
    made = NoiseSearchPaths.execute(**DEFAULTS, finish=0.3, decoder=BY_RGB).result[0]
    assert (made.finish, made.decoder) == (0.3, BY_RGB)


def silent_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler that tells nobody what the model predicts."""
    ones = x.new_ones([len(x)])
    for here, there in zip(sigmas, sigmas[1:]):
        denoised = model(x, here * ones, **(extra_args or {}))
        x = x + (x - denoised) / here * (there - here)
    return x


@torch.inference_mode()
def test_a_sampler_that_reports_no_predictions_is_refused_before_anything_is_paid():
    graph = graph_of(own_sampler=KSAMPLER(silent_euler))
    with pytest.raises(ValueError, match="silent_euler reports no predictions"):
        graph.search(PATHS, budget_nfe=96)
    assert graph.model.spy.rows == 0
