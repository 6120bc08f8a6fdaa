"""Every row of a batch is what the stock KSampler gives for that seed alone, for every sampler that is not refused."""

import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, cond, one_hot
from graphs import Graph, evaluated, half_mask, some_latent
from noisesearch.search.algorithms.base import fresh

SAMPLERS = [name for name in comfy.samplers.SAMPLER_NAMES if name != "dpm_adaptive"]
SEED, ROWS = 7, 3
CASES = {
    "txt2img": {},
    "img2img": {"latent": {"samples": some_latent()}, "denoise": 0.5},
    "mask": {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
    "batched conditioning": {"positive": cond(one_hot([1, 2, 3]))},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.inference_mode()
def test_rows_equal_stock_runs(family, sampler):
    for name, case in CASES.items():
        graph = Graph.mixture(family, sampler_name=sampler, **case)
        evaluator = graph.evaluator(rows=ROWS)
        outcomes = evaluated(evaluator, [fresh(SEED + i) for i in range(ROWS)])
        assert len(outcomes) == ROWS
        assert graph.model.spy.rows == evaluator.ledger.network_rows, name
        for i in range(ROWS):
            torch.testing.assert_close(
                evaluator.shelf[i].latent,
                graph.stock(SEED + i),
                atol=1e-4,
                rtol=0,
                msg=lambda m: f"{name}, row {i}: {m}",
            )
            assert outcomes[i].nfe == evaluator.cost(fresh(SEED), None), f"{name}: predicted cost"
        assert (evaluator.shelf[0].latent - evaluator.shelf[1].latent).abs().max() > 1e-3, (
            f"{name}: different seeds, one sample"
        )


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_sde", "euler_ancestral", "ddim"])
@torch.inference_mode()
def test_samples_of_a_batch_are_searched_as_in_the_stock_batch(sampler):
    """Sample j of a latent batch has its own noise, mask and conditioning; a stock run of the whole batch shows them all."""
    masks = torch.cat([half_mask(), 1 - half_mask()])
    graph = Graph.mixture(
        "EPS",
        positive=cond(one_hot([1, 3])),
        latent={"samples": some_latent(2), "noise_mask": masks},
        sampler_name=sampler,
    )
    for j in range(2):
        alone = Graph(
            graph.model,
            cond(one_hot([1, 3][j])),
            graph.negative,
            {
                "samples": graph.latent["samples"][j : j + 1],
                "noise_mask": masks[j : j + 1],
                "batch_index": [j],
            },
            sampler,
            graph.scheduler,
        )
        evaluator = graph.evaluator(rows=2, index=j)
        evaluated(evaluator, [fresh(SEED), fresh(SEED + 1)])
        for i in range(2):
            torch.testing.assert_close(evaluator.shelf[i].latent, alone.stock(SEED + i), atol=1e-4, rtol=0)
    if sampler in ("euler", "heun", "dpmpp_2m"):  # the others draw noise for the whole batch at once
        batch = graph.stock(SEED)
        for j in range(2):
            evaluator = graph.evaluator(rows=1, index=j)
            evaluated(evaluator, [fresh(SEED)])
            torch.testing.assert_close(evaluator.shelf[0].latent, batch[j : j + 1], atol=1e-4, rtol=0)


def sample_of_another_pack(model, x, sigmas, extra_args=None, callback=None, disable=None):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **extra_args)
        x = denoised + sigmas[i + 1] * torch.randn_like(x)  # draws from torch's global generator
    return x


@pytest.mark.parametrize(
    "sampler",
    [comfy.samplers.KSAMPLER(sample_of_another_pack), comfy.samplers.ksampler("heun", {"s_churn": 3.0})],
    ids=["unknown", "churn"],
)
@torch.inference_mode()
def test_samplers_with_unknown_noise_run_row_by_row_and_equal_stock(sampler):
    graph = Graph.mixture("EPS", own_sampler=sampler)
    evaluator = graph.evaluator(rows=3)
    evaluated(evaluator, [fresh(SEED + i) for i in range(3)])
    assert max(graph.model.spy.batches) == 2  # one sample: its conditional and unconditional row
    for i in range(3):
        noise = comfy.sample.prepare_noise(graph.latent["samples"], SEED + i)
        stock = graph.guider.sample(
            noise, graph.latent["samples"], sampler, graph.sigmas, seed=SEED + i, disable_pbar=True
        )
        torch.testing.assert_close(evaluator.shelf[i].latent, stock, atol=1e-6, rtol=0)
