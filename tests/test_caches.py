"""Evaluations that a cache skips: asked for, not paid, and both are said."""

import pytest
import torch
from closed_form import PixelVAE, cond, make_model, one_hot, uncond
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from graphs import Graph, evaluated
from noisesearch.search.algorithms import RandomSearch
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.rollout import Rollout
from noisesearch.search.noise import NoiseRecipe

CACHES = {"EasyCache": EasyCacheNode, "LazyCache": LazyCacheNode}


def cached(node, steps=20, cfg=4.0, threshold=0.4, **parts):
    model = node.execute(make_model("CONST"), threshold, 0.15, 0.95, False).result[0]
    return Graph(
        model, cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 8, 8)}, steps=steps, cfg=cfg, **parts
    )


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("node", CACHES.values(), ids=CACHES)
@torch.inference_mode()
def test_paid_is_what_the_network_ran_for(node, rows, sampler, cfg):
    graph = cached(node, cfg=cfg, sampler_name=sampler)
    evaluator = graph.evaluator(rows=rows)
    price = evaluator.cost(fresh(0), None)
    outcomes = evaluated(evaluator, [fresh(7 + i) for i in range(3)])
    ledger, per_row = evaluator.ledger, 1 if cfg == 1.0 else 2
    assert ledger.network_rows == graph.model.spy.rows == per_row * ledger.nfe
    assert ledger.nfe == sum(outcome.nfe for outcome in outcomes) < 3 * price
    assert ledger.asked_nfe == 3 * price
    assert all(0 < outcome.nfe < price for outcome in outcomes)


@pytest.mark.parametrize("node", CACHES.values(), ids=CACHES)
@torch.inference_mode()
def test_pieces_and_previews_under_a_cache(node):
    graph = cached(node)
    evaluator = graph.evaluator(rows=2)
    asked = [Rollout(NoiseRecipe(1), stop=0.5), Rollout(NoiseRecipe(2), stop=0.5)]
    outcomes = evaluated(evaluator, asked)
    outcomes += evaluated(evaluator, [Rollout(parent=0), Rollout(NoiseRecipe(3), 1, 0.7)], first=2)
    prices = [evaluator.cost(o.rollout, None if o.rollout.parent is None else asked[0]) for o in outcomes]
    assert evaluator.ledger.asked_nfe == sum(prices)
    assert graph.model.spy.rows == 2 * evaluator.ledger.nfe == 2 * sum(outcome.nfe for outcome in outcomes)
    assert evaluator.ledger.nfe < sum(prices)


@torch.inference_mode()
def test_without_a_cache_all_that_is_asked_is_paid():
    graph = Graph.mixture("EPS")
    evaluator = graph.evaluator(rows=2, decode=PixelVAE().decode)
    evaluated(evaluator, [fresh(1), fresh(2), Rollout(NoiseRecipe(3), stop=0.5)])
    assert evaluator.ledger.asked_nfe == evaluator.ledger.nfe == graph.model.spy.rows // 2


@pytest.mark.parametrize("node", CACHES.values(), ids=CACHES)
@torch.inference_mode()
def test_a_network_that_tells_of_no_forward_is_paid_whenever_it_is_called(node, monkeypatch):
    """LazyCache works with any network; EasyCache not with one that has no such wrappers."""
    graph = cached(node)
    network = graph.model.model.diffusion_model
    monkeypatch.setattr(
        network,
        "forward",
        lambda x, timesteps, context=None, *, transformer_options, **_: network._forward(
            x, timesteps, context, transformer_options
        ),
    )
    evaluator = graph.evaluator(rows=1)
    outcome = evaluated(evaluator, [fresh(7)])[0]
    assert evaluator.ledger.network_rows == graph.model.spy.rows == 2 * outcome.nfe
    assert (outcome.nfe < 20) == (node is LazyCacheNode)
    assert evaluator.ledger.asked_nfe == 20


@torch.inference_mode()
def test_a_wrapper_in_the_models_options_is_inside_what_is_asked():
    """Some packs write their wrappers into the options, which ComfyUI runs before those of the patcher."""
    graph = Graph.mixture("CONST", steps=4)
    skipped = []

    def every_other(executor, x, *args, **kwargs):
        skipped.append(len(skipped) % 2)
        return x if skipped[-1] else executor(x, *args, **kwargs)

    graph.model.model_options["transformer_options"]["wrappers"] = {
        "predict_noise": {"a pack": [every_other]}
    }
    evaluator = graph.evaluator(rows=1)
    assert evaluated(evaluator, [fresh(7)])[0].nfe == 2 == graph.model.spy.calls
    assert evaluator.ledger.asked_nfe == 4


@pytest.mark.parametrize("node", CACHES.values(), ids=CACHES)
@torch.inference_mode()
def test_the_budget_is_spent_on_what_is_paid(node):
    """Four candidates of 20 steps: what a cache skips pays for more of them, and the report says how much that was."""
    graph = cached(node)
    report = graph.search(RandomSearch(), candidates=4).report
    image, totals = report["images"][0], report["totals"]
    assert image["stopped"] == "the budget is spent" and image["budget_nfe"] == 80
    assert 80 - 20 < image["search_nfe"] <= 80 and len(image["candidates"]) > 4
    assert totals["nfe"] == image["search_nfe"] == graph.model.spy.rows // 2
    assert totals["asked_nfe"] == 20 * len(image["candidates"])
    skipped = totals["asked_nfe"] - totals["nfe"]
    assert f"A cache answered {skipped} of {totals['asked_nfe']} evaluations" in " ".join(report["notes"])
    plain = Graph.mixture("CONST").search(RandomSearch(), candidates=2).report
    assert not any("cache" in note for note in plain["notes"])
