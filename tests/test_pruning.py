"""Seed pruning on the closed-form model: who goes on, what it costs, and whose seed gives the image in a stock KSampler."""

import pytest
import torch
from fake_evaluator import FakeEvaluator
from graphs import Graph, half_mask, some_latent
from noisesearch.search.algorithms import SeedPruning
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.driver import Limits, run, terms
from noisesearch.search.rollout import recipes_to_json
from noisesearch.search.selection import Comparison

CASES = {
    "text to image": {},
    "image to image": {"latent": {"samples": some_latent()}, "denoise": 0.6, "steps": 10},
    "under a mask": {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
    "without guidance": {"cfg": 1.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "family, sampler",
    [("EPS", "euler"), ("CONST", "euler"), ("CONST", "heun"), ("EPS", "dpm_2"), ("CONST", "ddim")],
)
@torch.inference_mode()
def test_with_one_step_samplers_the_winners_seed_gives_the_image_in_a_stock_ksampler(family, sampler, case):
    graph = Graph.mixture(family, sampler_name=sampler, **CASES[case])
    found = graph.search(SeedPruning(), candidates=5)
    assert len(found.report["images"][0]["rounds"]) == 3, "nothing was cut"
    assert [len(recipe.pieces) for recipe in found.recipes] == [1] and found.recipes[0].root.plain
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-5, rtol=0)
    noise = found.noise().generate_noise(graph.latent)
    assert noise.shape == graph.latent["samples"].shape


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "lms", "uni_pc", "heunpp2", "euler_ancestral", "dpmpp_sde"])
@torch.inference_mode()
def test_samplers_that_look_back_or_draw_noise_make_no_such_promise(sampler):
    graph = Graph.mixture("CONST", sampler_name=sampler, steps=10)
    found = graph.search(SeedPruning(), candidates=5)
    assert len(found.recipes[0].pieces) == 3
    with pytest.raises(ValueError, match="Remake Winner"):
        found.noise().generate_noise(graph.latent)
    assert (found.latent["samples"] - graph.stock(found.seed)).abs().max() > 1e-4


@torch.inference_mode()
def test_a_level_that_is_not_the_schedules_own_makes_no_such_promise_either():
    class Elsewhere(SeedPruning):
        def plan(self, terms):
            planned = super().plan(terms)
            return type(planned)(
                3, tuple(type(cut)(cut.level + 0.01, cut.steps, 2) for cut in planned.cuts_at)
            )

    found = Graph.mixture("CONST").search(Elsewhere(), candidates=8)
    assert len(found.recipes[0].pieces) == 3


@torch.inference_mode()
def test_final_sigmas_render_the_winners_noise_in_one_go():
    graph, fine = Graph.mixture("CONST", sampler_name="dpmpp_2m"), Graph.mixture("CONST", steps=15)
    found = graph.search(SeedPruning(), candidates=6, final_sigmas=fine.sigmas)
    image = found.report["images"][0]
    assert image["final_nfe"] == 15 and len(found.recipes[0].pieces) == 1
    fine.sampler_name = "dpmpp_2m"
    torch.testing.assert_close(found.latent["samples"], fine.stock(found.seed), atol=1e-5, rtol=0)


@pytest.mark.parametrize("candidates, counts", [(4, (7, 3, 2)), (8, (14, 6, 4)), (16, (28, 12, 8))])
def test_as_many_seeds_as_the_paper_for_the_same_evaluations(candidates, counts):
    """1.75 N seeds, cut to 0.75 N and 0.5 N after 35 % and 57.5 % of the steps, for what N whole samples cost."""
    evaluator = Graph.mixture("CONST", steps=40).evaluator(preview="free")
    planned = SeedPruning().plan(terms(evaluator, Limits(40 * candidates)))
    assert (planned.seeds, *(cut.kept for cut in planned.cuts_at)) == counts
    assert [cut.steps for cut in planned.cuts_at] == [14, 23]
    assert 39 * candidates < planned.prices(terms(evaluator, Limits(0)))[0] <= 40 * candidates


@torch.inference_mode()
def test_the_best_previews_go_on_and_are_free():
    graph = Graph.mixture("CONST", steps=20)
    image = graph.search(SeedPruning(), candidates=8).report["images"][0]
    candidates = {one["id"]: one for one in image["candidates"]}
    for before, after in zip(image["rounds"], image["rounds"][1:]):
        best = sorted(before, key=lambda id: (-candidates[id]["scores"][0], id))[: len(after)]
        assert [candidates[id]["parent"] for id in after] == best and len(after) < len(before)
    assert graph.model.spy.rows == 2 * image["search_nfe"] <= 2 * 8 * 20
    per_round = [{candidates[id]["nfe"] for id in ids} for ids in image["rounds"]]
    assert per_round == [{7}, {5}, {8}]  # of 20 steps, and not one for looking


@torch.inference_mode()
def test_what_the_pass_leaves_finishes_more_of_them():
    graph = Graph.mixture("CONST", steps=10)
    spent = graph.search(SeedPruning(4), budget_nfe=1000).report["images"][0]
    assert [len(ids) for ids in spent["rounds"]] == [4, 4, 4] and spent["search_nfe"] == 40
    with pytest.raises(BudgetTooSmall, match="4 seeds costs"):
        graph.search(SeedPruning(4), budget_nfe=20)


@pytest.mark.parametrize("steps, cuts", [(1, []), (2, [1]), (3, [1, 2]), (4, [1, 2])])
@torch.inference_mode()
def test_short_schedules(steps, cuts):
    graph = Graph.mixture("CONST", steps=steps)
    found = graph.search(SeedPruning(), candidates=6)
    image = found.report["images"][0]
    assert [cut["steps"] for cut in image["settings"]["cuts_at"]] == cuts
    assert any("one step" in note for note in found.report["notes"]) == (steps == 1)
    assert image["search_nfe"] <= 6 * steps
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-5, rtol=0)


@pytest.mark.slow
@torch.inference_mode()
def test_it_beats_random_search_for_the_same_evaluations_where_previews_tell():
    """48 seeds of the mixture; the paired mean difference lies beyond twice its standard error."""
    gains = []
    for seed in range(48):
        scores = [
            Graph.mixture("CONST", steps=20).search(search, seed=1000 * seed, candidates=4).scores[0]
            for search in (SeedPruning(), None)
        ]
        gains.append(scores[0] - scores[1])
    gains = torch.tensor(gains)
    assert gains.mean() > 2 * gains.std() / len(gains) ** 0.5


def test_models_whose_levels_are_unknown_are_told_what_to_do():
    evaluator = FakeEvaluator()
    type(evaluator).levels, own = (), type(evaluator).levels
    try:
        with pytest.raises(ValueError, match="random search"):
            run(SeedPruning(), 0, evaluator, Comparison(), Limits(100))
    finally:
        type(evaluator).levels = own


def test_recipes_are_short_where_a_seed_says_it_all():
    found = Graph.mixture("CONST").search(SeedPruning(), candidates=4)
    assert '"stop"' not in recipes_to_json(found.recipes)
