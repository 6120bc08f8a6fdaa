"""Schedules that come in through a socket, and dry runs of samplers: refused beforehand, in little time, and cancelled like the rest."""

import time

import comfy.model_management as mm
import pytest
import torch
from comfy.samplers import KSAMPLER, sampler_object
from graphs import Graph

from noisesearch.sampling.schedule import Schedule
from noisesearch.sampling.solvers import Solver, count_evaluations
from noisesearch.sampling.stock import ksampler_sigmas
from noisesearch.search.algorithms import SearchOverPaths

NO_SCHEDULE = {
    "none": (torch.tensor([]), "at least 2 sigmas"),
    "two axes": (torch.ones(2, 2), "at least 2 sigmas"),
    "rising": (torch.tensor([0.2, 0.5, 0.0]), "fall from step to step, but got 0.2, 0.5, 0"),
    "NaN": (torch.tensor([1.0, torch.nan, 0.0]), "fall from step to step"),
    "NaN first": (torch.tensor([torch.nan, 0.5, 0.0]), "fall from step to step"),
    "zeros": (torch.zeros(5), "begin with some noise, but got 0, 0, 0"),
    "infinite": (torch.tensor([torch.inf, 1.0, 0.0]), "at most 1000000"),
    "1e30": (torch.tensor([1e30, 1.0, 0.0]), "at most 1000000 .* but got 1e.30"),
    "negative": (torch.tensor([1.0, 0.5, -0.5]), "to 0 or above"),
    "2 000 000 steps": (
        torch.linspace(1, 0, 2_000_001),
        "at most 10000 steps, but these sigmas have 2000000",
    ),
    "a rise in a long one": (
        torch.cat([torch.linspace(1, 0, 9_000), torch.ones(1)]),
        "fall from step to step",
    ),
}


@pytest.mark.parametrize("name", NO_SCHEDULE)
@pytest.mark.parametrize("entrance", ["sigmas", "final_sigmas"])
@torch.inference_mode()
def test_sigmas_that_are_no_schedule(name, entrance):
    sigmas, message = NO_SCHEDULE[name]
    graph = Graph.mixture("CONST")
    start = time.monotonic()
    with pytest.raises(ValueError, match=message) as refused:
        graph.search(candidates=2, **{entrance: sigmas})
    assert time.monotonic() - start < 2 and len(str(refused.value)) < 400
    assert graph.model.spy.calls == 0


@pytest.mark.parametrize("top", [0.7, 80.0, 5000.0])
def test_sigmas_that_are_one(top):
    sigmas = torch.linspace(top, 0, 10_001, dtype=torch.float64)
    assert torch.equal(Schedule(sigmas, None).sigmas, sigmas.float())
    assert Schedule(torch.tensor([top, top, top / 2]), None).sigmas[-1] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "beta57"}, "no scheduler 'beta57'. There are: .*simple"),
        ({"sampler_name": "eulr"}, "no sampler 'eulr'"),
        ({"denoise": 1e-9}, "the end of a schedule of 6e.09 steps; at most 1000000"),
    ],
)
def test_a_ksampler_schedule_that_cannot_be_made(change, message):
    graph = Graph.mixture("CONST")
    given = {"steps": 6, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        ksampler_sigmas(graph.model, **given)


def upscaling(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As samplers with a high-resolution fix: the last steps are taken on a larger latent."""
    for i in range(len(sigmas) - 1):
        if i == len(sigmas) // 2:
            x = torch.nn.functional.interpolate(x, scale_factor=2)
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **extra_args)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


@torch.inference_mode()
def test_a_sampler_that_changes_the_size_is_refused_for_pieces():
    graph = Graph.mixture("CONST", own_sampler=KSAMPLER(upscaling))
    with pytest.raises(
        ValueError, match="upscaling changes the size .*, from .1, 1, 64, 64. to .1, 1, 128, 128."
    ):
        graph.search(SearchOverPaths(2, 2, 0.6, 0.2, 0.4), budget_nfe=200)
    assert graph.model.spy.calls == 0
    sampling = graph.model.get_model_object("model_sampling")
    assert count_evaluations(Solver(graph.sampler), graph.sigmas, sampling) == graph.steps


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde"])
def test_a_dry_run_can_be_cancelled(name):
    sampling = Graph.mixture("CONST").model.get_model_object("model_sampling")
    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        count_evaluations(Solver(sampler_object(name)), torch.linspace(1, 0, 10_001), sampling)
    assert not mm.processing_interrupted()
