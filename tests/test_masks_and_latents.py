"""Noise masks in every layout that ComfyUI takes, read as ComfyUI reads them; latents that cannot be sampled."""

import pytest
import torch
from closed_form import cond, make_model, one_hot, uncond
from graphs import Graph, evaluated, some_latent

from noisesearch.nodes.samplers import NoiseSearchCountNFE, NoiseSearchReinjectKSampler
from noisesearch.search.algorithms.base import fresh

SEED = 7
IMAGE, VIDEO = (4, 8, 8), (4, 3, 8, 8)
LAYOUTS = [  # samples, their shape, shapes of masks
    (1, IMAGE, [(64, 64), (1, 64, 64), (3, 64, 64), (1, 1, 64, 64), (1, 4, 8, 8), (1, 16, 8, 8), (2, 4, 8, 8), (1, 1, 1, 64, 64), (1, 2, 3, 8, 8)]),
    (3, IMAGE, [(64, 64), (1, 64, 64), (2, 64, 64), (3, 64, 64), (5, 64, 64), (1, 1, 64, 64), (1, 4, 8, 8), (3, 1, 8, 8), (3, 4, 8, 8), (2, 2, 8, 8)]),
    (1, VIDEO, [(64, 64), (1, 64, 64), (3, 64, 64), (7, 64, 64), (3, 1, 8, 8), (1, 3, 8, 8), (1, 1, 3, 64, 64), (1, 1, 1, 8, 8), (1, 4, 3, 8, 8), (2, 1, 3, 8, 8)]),
    (2, VIDEO, [(64, 64), (2, 64, 64), (3, 64, 64), (6, 64, 64), (2, 3, 8, 8), (2, 1, 8, 8), (1, 1, 3, 8, 8), (2, 1, 3, 64, 64), (2, 4, 3, 8, 8), (3, 1, 1, 8, 8)]),
]  # fmt: skip


def masked(samples, shape, mask):
    model = make_model("CONST", dims=len(shape) - 1)
    latent = {"samples": some_latent(samples, shape), "noise_mask": mask}
    return Graph(model, cond(one_hot(2)), uncond(), latent)


@pytest.mark.parametrize(
    ("samples", "shape", "layout"),
    [(samples, shape, layout) for samples, shape, layouts in LAYOUTS for layout in layouts],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
@torch.inference_mode()
def test_a_mask_of_every_layout_is_read_as_stock_reads_it(samples, shape, layout):
    """Two candidates of every sample of a batch at once, against stock runs of the whole batch."""
    mask = torch.rand(layout, generator=torch.Generator().manual_seed(1)).round()
    graph = masked(samples, shape, mask)
    batches = [graph.stock(SEED + k) for k in range(2)]
    assert (batches[0] - graph.latent["samples"]).abs().max() > 0.1
    for i in range(samples):
        evaluator = graph.evaluator(rows=2, index=i)
        evaluated(evaluator, [fresh(SEED), fresh(SEED + 1)])
        for k, batch in enumerate(batches):
            torch.testing.assert_close(evaluator.shelf[k].latent, batch[i : i + 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        (IMAGE, torch.ones(8)),
        (IMAGE, torch.ones(0, 8, 8)),
        (IMAGE, torch.ones(1, 8, 0)),
        (IMAGE, "a mask"),
        (VIDEO, torch.ones(8)),
        (VIDEO, torch.ones(0, 8, 8)),
        (VIDEO, torch.ones(1, 1, 1, 3, 8, 8)),
    ],
)
@torch.inference_mode()
def test_what_is_no_mask(shape, mask):
    graph = masked(1, shape, mask)
    with pytest.raises(ValueError, match=r"A noise mask is \[H, W\], .*but got"):
        graph.search(candidates=2)
    assert graph.model.spy.calls == 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(0, 4, 8, 8), "nothing to sample in this latent: its shape is .0, 4, 8, 8"),
        (torch.zeros(1, 4, 0, 8), "nothing to sample"),
        (torch.full((1, 4, 8, 8), torch.nan, dtype=torch.float16), "not numbers .NaN or infinite."),
        (torch.full((1, 4, 8, 8), torch.inf), "not numbers .NaN or infinite."),
    ],
)
@torch.inference_mode()
def test_latents_that_cannot_be_searched(samples, message):
    graph = Graph.mixture("CONST", latent={"samples": samples})
    with pytest.raises(ValueError, match=message):
        graph.search(candidates=2)
    assert graph.model.spy.calls == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_a_latent_of_half_precision_comes_out_as_stock_gives_it(dtype):
    graph = Graph.mixture("CONST", latent={"samples": some_latent().to(dtype)}, denoise=0.5)
    evaluator = graph.evaluator(rows=1)
    evaluated(evaluator, [fresh(SEED)])
    torch.testing.assert_close(evaluator.shelf[0].latent, graph.stock(SEED), atol=0, rtol=0)


@pytest.mark.parametrize("node", [NoiseSearchCountNFE, NoiseSearchReinjectKSampler])
@torch.inference_mode()
def test_denoise_0_hands_the_latent_on_as_stock_does(node):
    graph = Graph.mixture("CONST", latent={"samples": some_latent(), "kept": 1}, denoise=0.0)
    churn = () if node is NoiseSearchCountNFE else (0.3, 1.0, 0.0, 1.0)
    sampling = (
        graph.model,
        SEED,
        6,
        4.0,
        "euler",
        "simple",
        graph.positive,
        graph.negative,
        graph.latent,
        0.0,
    )
    latent, nfe, rows = node.execute(*sampling, *churn).result
    assert torch.equal(latent["samples"], graph.stock(SEED)) and latent["kept"] == 1
    assert torch.equal(latent["samples"], graph.latent["samples"]) and (nfe, rows) == (0, 0)
