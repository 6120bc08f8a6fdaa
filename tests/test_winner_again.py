"""The winner once more: rendered alone or with other sigmas, from its recipe, within the budget."""

import time

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent
from noisesearch.nodes.candidates import NoiseSearchFromRecipe
from noisesearch.search.algorithms import RandomSearch, Replay, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.base import BudgetTooSmall, Terms
from noisesearch.verifiers.ensemble import Ensemble


@pytest.fixture
def pretend_gpu(monkeypatch):
    """What happens on a GPU, as far as the budget goes: the search takes the model's device for one."""
    import noisesearch.session.plan as plan_module

    class Gpu:
        type = "cuda"

    real = plan_module._plan

    def pretend(task, *args, **kwargs):
        patcher = task.guider.model_patcher
        patcher.load_device, own = Gpu(), patcher.load_device
        try:
            plan = real(task, *args, **kwargs)
        finally:
            patcher.load_device = own
        for evaluator in filter(None, (plan.evaluator, plan.renderer)):
            evaluator.watched.model_patcher.load_device = own
        return plan

    monkeypatch.setattr(plan_module, "_plan", pretend)


@torch.inference_mode()
def test_on_the_cpu_a_batch_is_exact_enough():
    assert Graph.mixture("CONST").search(candidates=4, batch_size=4).report["images"][0]["final_nfe"] == 0


@torch.inference_mode()
def test_exact_rendering_is_part_of_the_budget(pretend_gpu):
    graph = Graph.mixture("CONST")
    found = graph.search(candidates=4, batch_size=4)
    image = found.report["images"][0]
    assert (image["search_nfe"], image["final_nfe"], image["budget_nfe"]) == (24, 6, 30)
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    assert graph.search(candidates=4, batch_size=4, exact=False).report["images"][0]["final_nfe"] == 0


@torch.inference_mode()
def test_final_sigmas_render_the_winner_with_more_steps():
    graph = Graph.mixture("CONST", steps=3)
    fine = Graph.mixture("CONST", steps=12)
    found = graph.search(candidates=6, final_sigmas=fine.sigmas)
    torch.testing.assert_close(found.latent["samples"], fine.stock(found.seed), atol=1e-4, rtol=0)
    assert found.report["images"][0]["final_nfe"] == 12


@torch.inference_mode()
def test_a_winner_rendered_once_more_is_judged_and_witnessed_anew():
    judge = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    found = Graph.mixture("CONST", steps=3).search(
        candidates=6,
        final_sigmas=Graph.mixture("CONST", steps=12).sigmas,
        verifier=Ensemble((judge,), (1.0,), held_out=judge),
    )
    image = found.report["images"][0]
    searched = image["candidates"][image["winner"]["id"]]
    assert (
        image["winner"]["held_out"]
        == image["winner"]["scores"][0]
        == found.scores[0]
        != searched["scores"][0]
    )
    assert searched["held_out"] == searched["scores"][0]


@torch.inference_mode()
def test_a_budget_that_does_not_pay_for_the_final_rendering():
    graph = Graph.mixture("CONST", steps=3)
    with pytest.raises(BudgetTooSmall, match="takes 15"):
        graph.search(budget_nfe=14, final_sigmas=Graph.mixture("CONST", steps=12).sigmas)


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize(
    "search",
    [RandomSearch(), ZeroOrder(3, 0.8), SearchOverPaths(2), SearchOverPaths(2, steps=2)],
    ids=["random", "zero-order", "paths", "paths, 2 steps"],
)
@torch.inference_mode()
def test_what_a_gpu_renders_again_stays_within_the_budget(pretend_gpu, search, denoise):
    graph = Graph.mixture("CONST", latent={"samples": some_latent()}, denoise=denoise)
    for budget in (40, 120, 200):
        try:
            found = graph.search(search, budget_nfe=budget, batch_size=4)
        except BudgetTooSmall:
            continue
        image = found.report["images"][0]
        assert image["final_nfe"] > 0 and image["search_nfe"] + image["final_nfe"] <= budget
        again = graph.search(Replay(tuple(found.recipes)), batch_size=1)
        torch.testing.assert_close(found.latent["samples"], again.latent["samples"], atol=1e-5, rtol=0)
    assert graph.search(search, budget_nfe=400, batch_size=4).report["images"][0]["final_nfe"] > 0


@torch.inference_mode()
def test_a_gpu_does_not_render_a_lone_candidate_twice(pretend_gpu):
    graph = Graph.mixture("CONST")
    for wishes in ({"candidates": 1}, {"budget_nfe": 6}, {"budget_nfe": 12}):
        assert graph.search(batch_size=4, **wishes).report["images"][0]["final_nfe"] == 0


@pytest.mark.parametrize("steps", [0, 2, 5])
@torch.inference_mode()
def test_every_recipe_can_be_replayed(steps):
    graph = Graph.mixture("CONST", steps=20)
    found = graph.search(SearchOverPaths(2, 2, steps=steps), budget_nfe=600)
    again = graph.search(
        Replay(tuple(found.recipes)), budget_nfe=1
    )  # what it costs is known: no budget to give
    torch.testing.assert_close(again.images, found.images, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="final_sigmas"):
        graph.search(Replay(tuple(found.recipes)), final_sigmas=graph.sigmas)


@pytest.mark.parametrize("steps", [20, 30, 50])
@pytest.mark.parametrize(
    "search",
    [SearchOverPaths(2), SearchOverPaths(2, 2), SearchOverPaths(2, steps=3)],
    ids=["wide", "narrow", "three steps"],
)
@torch.inference_mode()
def test_on_a_gpu_the_reserve_renders_the_winner_of_a_path_search(pretend_gpu, search, steps):
    graph = Graph.mixture("CONST", steps=steps)
    image = graph.search(search, candidates=8, batch_size=4).report["images"][0]
    assert image["final_nfe"] > 0 and image["search_nfe"] + image["final_nfe"] <= image["budget_nfe"]
    assert image["final_nfe"] == sum(c["nfe"] for c in image["candidates"][:1]) + sum(
        round["steps"] for round in image["settings"]["rounds"]
    )


@torch.inference_mode()
def test_a_winner_that_could_not_be_rendered_again_is_noted(pretend_gpu):
    class Slow(TargetVerifier):
        def score(self, batch):
            time.sleep(0.2)
            return super().score(batch)

    graph, search = Graph.mixture("CONST", steps=40), SearchOverPaths(8, 1, steps=1)
    evaluator = graph.evaluator()
    terms = Terms(10_000, evaluator.cost, evaluator.top, evaluator.own_steps)
    budget = search.plan(terms).prices(terms)[1] + search.lineage_price(terms)
    target = PixelVAE().decode(some_latent(seed=1))[0]
    for verifier, noted in (
        (TargetVerifier(target), False),
        (Slow(target), True),
    ):  # stopped early, the sample is completed by many more steps than were planned
        found = graph.search(
            search, budget_nfe=budget, batch_size=8, time_limit=0.1 * noted, verifier=verifier
        )
        assert (
            (found.report["images"][0]["final_nfe"] == 0)
            == noted
            == any("not rendered once more" in note for note in found.report["notes"])
        )
        assert found.report["totals"]["nfe"] <= budget


@torch.inference_mode()
def test_a_sampler_that_draws_as_it_likes_comes_back_all_the_same():
    """One of another pack, which takes torch's global generator: row by row, each piece from a seed of its own."""
    drawn = []

    def sample_restless(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for here, there in zip(sigmas[:-1], sigmas[1:]):
            before = graph.model.spy.calls
            denoised = model(x, here * x.new_ones([len(x)]), **extra_args)
            noise = torch.randn_like(x)
            if graph.model.spy.calls > before:  # not a dry run
                drawn.append(noise)
            x = denoised + there * noise
        return x

    graph = Graph.mixture("EPS", own_sampler=comfy.samplers.KSAMPLER(sample_restless))
    found = graph.search(SearchOverPaths(2, 2), budget_nfe=400, batch_size=4)
    noises = [noise.flatten()[0].item() for noise in drawn]
    assert len(set(noises)) == len(noises) > 20
    assert found.report["images"][0]["rows_at_once"] == 1
    torch.manual_seed(99)
    again = graph.search(Replay(tuple(found.recipes)), seed=5)
    torch.testing.assert_close(again.images, found.images, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_replay_runs_to_its_end_whatever_limits_are_wished():
    graph = Graph.mixture("CONST", steps=20)
    found = graph.search(SearchOverPaths(2, 2), budget_nfe=600)
    judge = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    for wishes in (
        {"time_limit": 1e-4},
        {"stop_at_score": -1e6},
        {"stop_at_score": 0.5, "verifier": Ensemble((judge, judge), (1.0, 1.0))},
    ):
        again = graph.search(Replay(tuple(found.recipes)), **wishes)
        assert again.recipes == found.recipes
        torch.testing.assert_close(again.images, found.images, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_one_recipe_of_a_path_search_gives_every_sample_of_a_batch_its_own_noise():
    graph = Graph.mixture("CONST")
    found = graph.search(SearchOverPaths(2, 2), budget_nfe=300)
    pair = Graph(graph.model, graph.positive, graph.negative, {"samples": torch.zeros(2, 4, 8, 8)}).search(
        Replay(tuple(found.recipes))
    )
    torch.testing.assert_close(pair.images[:1], found.images, atol=1e-4, rtol=0)
    assert (pair.images[1] - pair.images[0]).abs().max() > 0.01


@torch.inference_mode()
def test_one_recipe_gives_every_sample_of_a_batch_its_own_noise():
    noise = NoiseSearchFromRecipe.execute(
        '{"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": 7}}]}'
    ).result[0]
    latent = torch.zeros(3, 4, 8, 8)
    assert torch.equal(noise.generate_noise({"samples": latent}), comfy.sample.prepare_noise(latent, 7))
