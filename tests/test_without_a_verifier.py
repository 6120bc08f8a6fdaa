"""One candidate needs no verifier: both search nodes are then the stock samplers. What compares asks for one, when it is queued."""

import pytest
import torch
from closed_form import PixelVAE
from graphs import Graph, some_latent

from noisesearch.nodes.search import NoiseSearchKSampler, NoiseSearchSampler
from noisesearch.nodes.searching import UNCONNECTED, has_judge
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder


def ksampler(graph, **inputs):
    given = dict(steps=6, cfg=4.0, sampler_name=graph.sampler_name, scheduler="simple", denoise=graph.denoise)
    given |= dict(model=graph.model, positive=graph.positive, negative=graph.negative, seed=3, keep_top=4)
    return NoiseSearchKSampler.execute(**given, latent_image=graph.latent, vae=PixelVAE(), **inputs)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize("search", [None, RandomSearch(), ZeroOrder()], ids=["none", "random", "zero-order"])
@torch.inference_mode()
def test_one_candidate_is_the_stock_ksampler(sampler, search):
    graph = Graph.mixture("CONST", latent={"samples": some_latent(1)}, denoise=0.7, sampler_name=sampler)
    outputs = ksampler(graph, candidates=1, search=search, stop_at_score=0.5, time_limit=1.0).result
    latent, image, score, report = (outputs[i] for i in (0, 1, 5, 8))
    assert torch.equal(latent["samples"], graph.stock(3))
    assert image.shape == (1, 8, 8, 3) and score != score
    assert report["totals"]["nfe"] == 6 and report["images"][0]["winner"]["scores"] in ((), [])


@torch.inference_mode()
def test_one_candidate_is_the_stock_custom_sampler():
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    graph = Graph.mixture("CONST", latent={"samples": some_latent(1)})
    given = dict(noise=Noise_RandomNoise(3), guider=graph.guider, sampler=graph.sampler, sigmas=graph.sigmas)
    given |= dict(latent_image=graph.latent, vae=PixelVAE(), candidates=1, keep_top=1)
    latent, denoised, *_ = NoiseSearchSampler.execute(**given).result
    assert torch.equal(latent["samples"], graph.stock(3))
    assert denoised["samples"].shape == latent["samples"].shape


@pytest.mark.parametrize(
    "inputs",
    [
        {"candidates": 2},
        {"candidates": 1, "budget_nfe": 100},
        {"candidates": 1, "search": SearchOverPaths(2, 2, 0.6, 0.2, 0.4)},
    ],
    ids=["two", "a budget", "paths"],
)
@torch.inference_mode()
def test_what_compares_needs_one(inputs):
    graph = Graph.mixture("CONST")
    with pytest.raises(ValueError, match="A search needs a verifier: connect Load Judge"):
        ksampler(graph, **inputs)
    assert graph.model.spy.calls == 0


@pytest.mark.parametrize(
    ("candidates", "budget_nfe", "search", "verifier", "pick", "fine"),
    [
        (8, 0, UNCONNECTED, UNCONNECTED, "", False),
        (8, 0, UNCONNECTED, UNCONNECTED, " ", False),
        (1, 100, UNCONNECTED, UNCONNECTED, "", False),
        (1, 0, UNCONNECTED, UNCONNECTED, "", True),
        (1, None, UNCONNECTED, UNCONNECTED, "", True),  # linked: not known yet
        (None, 0, UNCONNECTED, UNCONNECTED, "", True),
        (8, 0, None, UNCONNECTED, "", True),  # linked: it may be a replay
        (8, 0, UNCONNECTED, None, "", True),  # linked
        (8, 0, UNCONNECTED, UNCONNECTED, None, True),  # linked
        (8, 0, UNCONNECTED, UNCONNECTED, "a recipe", True),
    ],
)
def test_a_missing_verifier_is_found_when_queued(candidates, budget_nfe, search, verifier, pick, fine):
    said = has_judge(candidates, budget_nfe, search, verifier, pick)
    assert said is True if fine else said.startswith("A search needs a verifier")
