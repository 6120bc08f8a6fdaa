"""The evaluator beyond whole runs: pieces, counting, memory, videos."""

import comfy.model_management as mm
import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, PixelVAE, TargetVerifier, cond, make_model, one_hot, uncond
from graphs import Graph, evaluated, half_mask, some_latent
from hypothesis import given, settings
from hypothesis import strategies as st
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

COUNTED = ["euler", "heun", "dpm_2", "dpmpp_2m", "dpmpp_sde", "uni_pc", "euler_ancestral"]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("preview", ["extra evaluation", "free"])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_run_split_in_two_equals_the_unsplit_one(family, sampler, preview, masked):
    latent = {"samples": some_latent(), "noise_mask": half_mask()} if masked else None
    graph = Graph.mixture(family, sampler_name=sampler, latent=latent)
    evaluator = graph.evaluator(rows=2, preview=preview)
    middle = float(evaluator.schedule.times[3])
    first = [Rollout(NoiseRecipe(7 + i), stop=middle, score=preview == "extra evaluation") for i in range(2)]
    spent = [o.nfe for o in evaluated(evaluator, first)]
    spent += [o.nfe for o in evaluated(evaluator, [Rollout(parent=i) for i in range(2)], first=2)]
    whole = graph.evaluator(rows=2)
    outcomes = evaluated(whole, [fresh(7), fresh(8)])
    for i in range(2):
        torch.testing.assert_close(evaluator.shelf[2 + i].latent, whole.shelf[i].latent, atol=1e-5, rtol=0)
    assert (
        spent[0] + spent[2] == outcomes[0].nfe
    )  # the preview's evaluation is the next piece's first, not paid twice
    assert evaluator.ledger.nfe == sum(spent)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler", COUNTED)
@torch.inference_mode()
def test_the_report_counts_what_the_network_saw(sampler, cfg):
    for final_steps in (None, 9):
        graph = Graph.mixture("CONST", sampler_name=sampler, cfg=cfg)
        final = (
            None
            if final_steps is None
            else Graph.mixture("CONST", sampler_name=sampler, steps=final_steps).sigmas
        )
        found = graph.search(RandomSearch(), candidates=5, batch_size=2, final_sigmas=final)
        totals, image = found.report["totals"], found.report["images"][0]
        spy = graph.model.spy
        assert totals["network_rows"] == spy.rows
        assert totals["nfe"] == spy.rows // (1 if cfg == 1.0 else 2)
        assert (
            totals["nfe"] == image["search_nfe"] + image["final_nfe"] == image["budget_nfe"]
        )  # predicted = counted
        assert (image["final_nfe"] > 0) == (final is not None)
        assert image["search_nfe"] == sum(c["nfe"] for c in image["candidates"])


@given(
    budget=st.integers(1, 60),
    rows=st.integers(1, 4),
    sampler=st.sampled_from(["euler", "heun", "dpmpp_2m", "euler_ancestral"]),
    steps=st.integers(1, 5),
    search=st.sampled_from([RandomSearch(), ZeroOrder(2, 0.8), ZeroOrder(3, 0.9, "restart when stuck")]),
    final=st.booleans(),
)
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_the_budget_is_never_exceeded(budget, rows, sampler, steps, search, final):
    graph = Graph.mixture("CONST", sampler_name=sampler, steps=steps)
    sigmas = Graph.mixture("CONST", sampler_name=sampler, steps=steps + 2).sigmas if final else None
    try:
        found = graph.search(search, budget_nfe=budget, batch_size=rows, final_sigmas=sigmas)
    except BudgetTooSmall as error:
        assert str(budget) in str(error)
        assert graph.model.spy.calls == 0
        return
    image = found.report["images"][0]
    assert graph.model.spy.rows == 2 * found.report["totals"]["nfe"]
    assert image["search_nfe"] + image["final_nfe"] <= budget


@pytest.mark.parametrize("preview", ["extra evaluation", "free"])
@torch.inference_mode()
def test_renoised_children_cost_what_was_said(preview):
    graph = Graph.mixture("EPS", sampler_name="heun")
    evaluator = graph.evaluator(rows=3, preview=preview)
    rollouts = [
        Rollout(NoiseRecipe(1), stop=0.5),
        *(Rollout(NoiseRecipe(10 + i), 0, 0.7, 0.3, steps=2) for i in range(3)),
        Rollout(parent=2),
    ]
    for i, rollout in enumerate(rollouts):
        parent = None if rollout.parent is None else rollouts[rollout.parent]
        assert evaluated(evaluator, [rollout], first=i)[0].nfe == evaluator.cost(rollout, parent)
    assert graph.model.spy.rows == 2 * evaluator.ledger.nfe


@torch.inference_mode()
def test_out_of_memory_halves_the_batch_and_loses_nothing(monkeypatch):
    graph = Graph.mixture("CONST")
    evaluator = graph.evaluator(rows=8)
    forward = graph.model.model.apply_model

    def short_of_memory(x, *args, **kwargs):
        if x.shape[0] > 4 and evaluator.ledger.nfe > 8:  # in the middle of a run
            raise mm.OOM_EXCEPTION("out of memory")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(graph.model.model, "apply_model", short_of_memory)
    outcomes = evaluated(evaluator, [fresh(7 + i) for i in range(8)])
    assert [o.id for o in outcomes] == list(range(8))
    assert evaluator.batch.rows == 2
    assert evaluator.ledger.nfe == sum(o.nfe for o in outcomes) == 8 * 6
    assert evaluator.ledger.lost_nfe > 0
    for i in (0, 7):
        torch.testing.assert_close(evaluator.shelf[i].latent, graph.stock(7 + i), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    graph = Graph.mixture("CONST")
    evaluator = graph.evaluator(rows=4)

    def broken(*args, **kwargs):
        raise ValueError("a broken model")

    monkeypatch.setattr(graph.model.model, "apply_model", broken)
    with pytest.raises(ValueError, match="a broken model"):
        evaluated(evaluator, [fresh(0), fresh(1)])


@torch.inference_mode()
def test_waves_report_as_they_come():
    """Where nothing needs to be swapped, every batch is one."""
    evaluator = Graph.mixture("CONST").evaluator(rows=2)
    waves = list(evaluator.evaluate([(i, fresh(i)) for i in range(5)]))
    assert [[o.id for o in wave] for wave in waves] == [[0, 1], [2, 3], [4]]


@torch.inference_mode()
def test_videos():
    """5D latents: rows equal stock, the verifier sees [B, T, H, W, 3], the frames come out as stock VAEDecode gives them."""
    model = make_model("CONST", dims=3)
    graph = Graph(model, cond(one_hot(2)), uncond(), {"samples": torch.zeros(2, 4, 3, 8, 8)})
    vae, seen = PixelVAE(), []

    class Watcher(TargetVerifier):
        def score(self, batch):
            seen.append(batch.images.shape)
            return batch.images.flatten(1).mean(1)

    found = graph.search(
        RandomSearch(),
        verifier=Watcher(torch.zeros(8, 8, 3)),
        vae=vae,
        candidates=3,
        keep_top=2,
        batch_size=2,
    )
    assert {tuple(shape[1:]) for shape in seen} == {(3, 8, 8, 3)}
    assert found.latent["samples"].shape == (2, 4, 3, 8, 8)
    assert found.images.shape == (6, 8, 8, 3) and found.top_images.shape == (12, 8, 8, 3)
    winner = found.report["images"][1]["winner"]["seed"]
    one = Graph(
        model, graph.positive, graph.negative, {"samples": torch.zeros(1, 4, 3, 8, 8), "batch_index": [1]}
    )
    torch.testing.assert_close(found.latent["samples"][1:], one.stock(winner), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_users_guider_model_and_latent_are_left_as_they_were():
    graph = Graph.mixture("CONST", latent={"samples": some_latent(), "noise_mask": half_mask()}, denoise=0.5)
    guider, before = graph.guider, graph.latent["samples"].clone()
    wrappers, options, conds = (
        str(graph.model.wrappers),
        str(graph.model.model_options),
        guider.original_conds,
    )
    graph.search(RandomSearch(), candidates=3, guider=guider)
    assert (str(graph.model.wrappers), str(graph.model.model_options)) == (wrappers, options)
    assert (
        guider.original_conds is conds
        and guider.model_patcher is graph.model
        and not hasattr(guider, "inner_model")
    )
    assert torch.equal(graph.latent["samples"], before) and set(graph.latent) == {"samples", "noise_mask"}


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "uni_pc"])
@torch.inference_mode()
def test_early_predictions_reach_the_verifier_at_no_cost(sampler):
    """What a self-supervised verifier compares: the clean prediction nearest to flow time 0.4 on the way to the very same sample."""
    graph, vae, given = Graph.mixture("EPS", sampler_name=sampler, steps=10), PixelVAE(), []

    class Watcher(TargetVerifier):
        needs_previews = True

        def score(self, batch):
            given.append(batch.previews)
            return super().score(batch)

    found = graph.search(
        RandomSearch(),
        verifier=Watcher(vae.decode(some_latent(seed=1))[0]),
        vae=vae,
        candidates=3,
        batch_size=3,
    )
    assert found.report["totals"]["nfe"] == found.report["images"][0]["budget_nfe"]
    levels = graph.evaluator().schedule
    level = float(levels.sigmas[int((levels.times[:-1] - 0.4).abs().argmin())])
    seen = []
    for i in range(3):
        noise = comfy.sample.prepare_noise(graph.latent["samples"], 11 + i)

        def watching(model, x, sigmas, extra_args=None, callback=None, disable=None):
            class Model:
                inner_model = model.inner_model

                def __call__(self, x, sigma, **kwargs):
                    denoised = model(x, sigma, **kwargs)
                    if abs(float(sigma[0]) - level) < 1e-4 * level and len(seen) == i:  # noqa: B023
                        seen.append(vae.decode(graph.model.model.process_latent_out(denoised)))
                    return denoised

            return graph.sampler.sampler_function(
                Model(), x, sigmas, extra_args=extra_args, callback=callback, disable=disable
            )

        graph.guider.sample(
            noise,
            graph.latent["samples"],
            comfy.samplers.KSAMPLER(watching),
            graph.sigmas,
            seed=11 + i,
            disable_pbar=True,
        )
    torch.testing.assert_close(given[0], torch.cat(seen), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="self-supervised"):
        graph.search(SearchOverPaths(2), verifier=Watcher(torch.zeros(8, 8, 3)), budget_nfe=300)
