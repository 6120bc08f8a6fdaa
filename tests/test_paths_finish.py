"""Search over paths whose rounds end before the image does: from there on, the paths that are left take the schedule's own steps."""

from dataclasses import replace

import pytest
import torch
from comfy.samplers import KSAMPLER
from graphs import Graph
from noisesearch.nodes.searches import NoiseSearchPaths
from noisesearch.search.algorithms import Replay, SearchOverPaths
from noisesearch.search.algorithms.auto import PATHS
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
    found = graph.search(settings, budget_nfe=200, keep_top=1)
    image = found.report["images"][0]
    candidates = {one["id"]: one for one in image["candidates"]}
    *rounds, last = image["rounds"]
    before = [candidates[id] for id in rounds[-1]]
    assert [one["stop"] for one in before] == [pytest.approx(0.2)] * (paths * width)
    best = sorted(before, key=lambda one: (-one["scores"][0], one["id"]))[:paths]
    assert [candidates[id]["parent"] for id in last] == [one["id"] for one in best]
    whole = graph_of(family).evaluator().own_steps(0.2, 0.0)
    assert [candidates[id]["nfe"] for id in last] == [whole] * paths and (whole > 1 or family != "CONST")
    assert image["winner"]["id"] in last
    assert image["plan"].endswith("3 rounds, from 20% noise on with the own steps")
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
    assert spent == plan.seeds * start + looked + finish
    assert need <= 96 < plan.spread(looked + 1).prices(at)[1]


@torch.inference_mode()
def test_as_many_are_finished_as_images_are_wished_for():
    graph = graph_of()
    found = graph.search(PATHS, budget_nfe=200, keep_top=4)
    image = found.report["images"][0]
    finished = [one for one in image["candidates"] if one["stop"] == 0.0]
    assert len(finished) == len(found.found[0].top_ids) == 4 and image["search_nfe"] <= 200
    small = graph.search(PATHS, budget_nfe=24, keep_top=4).report["images"][
        0
    ]  # a tenth pays for none besides
    assert len([one for one in small["candidates"] if one["stop"] == 0.0]) == 1
    few, at = planned(SearchOverPaths(1, 2, steps=1, preview=FREE, finish=0.2), 96)
    wished = replace(few, finalists=4)  # more than the last round has
    assert wished.stages()[-1][0] == 2


@pytest.mark.parametrize("budget", [24, 30, 48, 96, 192, 384])
@torch.inference_mode()
def test_what_is_planned_is_what_is_paid(budget):
    graph = graph_of()
    plan, at = planned(PATHS, budget, graph_of())
    image = graph.search(PATHS, budget_nfe=budget, keep_top=1).report["images"][0]
    assert image["search_nfe"] == plan.prices(at)[0] <= budget
    assert graph.model.spy.rows == 2 * image["search_nfe"]


def test_a_schedule_that_begins_below_the_finish_is_searched_to_its_end():
    plan, at = planned(SearchOverPaths(1, 2, finish=0.5), 200, graph_of(denoise=0.4))
    assert plan.start < 0.5 and plan.finish == 0.0 and plan.rounds[-1].down == 0.0


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
