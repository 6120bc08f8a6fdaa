"""When sampling stops and what is there is looked at: on a card too small for diffusion model, VAE and verifier at once."""

import comfy.model_management as mm
import pytest
import torch
from closed_form import PixelVAE, cond, one_hot, uncond
from graphs import Graph, evaluated
from noisesearch.sampling import waves as waves_module
from noisesearch.sampling.waves import FIRST, TIMES
from noisesearch.search.algorithms import RandomSearch
from noisesearch.search.algorithms.base import fresh
from noisesearch.verifiers.base import Batch
from stand_in_device import GB, SPEED, Device, ManagedVAE, ManagedVerifier, diffusion_model

FLUX, VAE, JUDGE = 11.9 * GB, 0.17 * GB, 2.0 * GB
NAMES = {"BaseModel": FLUX, "Autoencoder": VAE, "ScorerNetwork": JUDGE}


@pytest.fixture
def card(monkeypatch):
    """A 12 GB card with FLUX in half of its precision: 30 seconds an image."""

    def of(total=12 * GB, seconds=5.0):
        device = Device(monkeypatch, total)
        model = diffusion_model(device, FLUX, seconds)
        graph = Graph(model, cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 8, 8)})
        return device, graph, ManagedVAE(VAE), ManagedVerifier(JUDGE)

    return of


@pytest.mark.parametrize("small", [True, False], ids=["as one wave", "candidate by candidate"])
@torch.inference_mode()
def test_a_search_of_eight_moves_every_model_once(card, monkeypatch, small):
    device, graph, vae, verifier = card()
    if not small:  # what it was like
        monkeypatch.setattr(waves_module, "MOST", 1)
    found = graph.search(RandomSearch(), candidates=8, batch_size=1, vae=vae, verifier=verifier)
    assert len(found.report["images"][0]["candidates"]) == 8 and vae.decodes == 8
    assert set(device.moved_in) == set(NAMES)
    assert device.moved_out["BaseModel"] > 0.1 * FLUX  # there was something to push out
    moved = sum(device.moved_in.values()) / sum(NAMES.values())
    assert moved <= 1.25 if small else moved > 3


@torch.inference_mode()
def test_a_long_search_spends_a_twentieth_of_its_time_on_swaps(card):
    device, graph, vae, verifier = card()
    graph.search(RandomSearch(), candidates=60, batch_size=1, vae=vae, verifier=verifier)
    assert vae.decodes == 60
    swaps = (sum(device.moved_in.values()) + sum(device.moved_out.values())) / SPEED
    assert device.now == pytest.approx(60 * 6 * 5.0 + swaps)
    assert swaps <= 60 * 6 * 5.0 / TIMES
    assert device.moved_in["ScorerNetwork"] >= 3 * JUDGE  # and yet it looked several times


@torch.inference_mode()
def test_a_swap_is_measured(card):
    """Against the clock that bytes drive: from the end of sampling to sampling again."""
    device, graph, vae, verifier = card()
    sampled = []

    def decode(latents):
        sampled.append(device.now)
        return vae.decode(latents)

    def judge(images, ids, early):
        return [(score,) for score in verifier.score(Batch(images, "")).tolist()]

    evaluator = graph.evaluator(rows=1, decode=decode, judge=judge)
    waves = evaluator.evaluate([(i, fresh(i)) for i in range(FIRST + 2)])
    assert len(next(waves)) == FIRST and evaluator.swaps.seconds is None
    assert len(next(waves)) == 2  # of 30 seconds each
    assert evaluator.swaps.seconds == pytest.approx(sampled[1] - sampled[0] - 2 * 30.0, rel=0.01)
    assert 30.0 < TIMES * evaluator.swaps.seconds < 60.0


@torch.inference_mode()
def test_where_all_fits_every_batch_is_a_wave(card):
    device, graph, vae, verifier = card(total=80 * GB)
    evaluator = graph.evaluator(
        rows=2, decode=vae.decode, judge=lambda images, ids, early: [(0.0,)] * len(ids)
    )
    waves = list(evaluator.evaluate([(i, fresh(i)) for i in range(6)]))
    assert [len(wave) for wave in waves] == [2, 2, 2]
    assert evaluator.swaps.seconds == 0.0 and sum(device.moved_out.values()) == 0


@torch.inference_mode()
def test_a_wave_ends_when_the_driver_has_enough(card):
    """A limit between two batches: what was sampled is decoded, judged and handed out before another batch begins."""
    _, graph, vae, _ = card()
    evaluator = graph.evaluator(
        rows=1, decode=vae.decode, judge=lambda images, ids, early: [(1.0,)] * len(ids)
    )
    spy = graph.model.spy
    waves = evaluator.evaluate([(i, fresh(i)) for i in range(8)], lambda: spy.calls >= 3 * 6)
    assert [outcome.scores for outcome in next(waves)] == [(1.0,)] * 3
    assert spy.calls == 18


@torch.inference_mode()
def test_a_model_whose_owner_is_gone_takes_no_part(card, monkeypatch):
    """ComfyUI lists it as None until it next looks."""
    _, graph, vae, _ = card()
    listed = mm.loaded_models
    monkeypatch.setattr(mm, "loaded_models", lambda: [None, *listed()])
    evaluator = graph.evaluator(
        rows=1, decode=vae.decode, judge=lambda images, ids, early: [(1.0,)] * len(ids)
    )
    assert len(evaluated(evaluator, [fresh(i) for i in range(FIRST + 1)])) == FIRST + 1
    assert evaluator.swaps.seconds > 0


@torch.inference_mode()
def test_on_the_cpu_nothing_is_swapped():
    evaluator = Graph.mixture("CONST").evaluator(rows=3)
    assert len(evaluated(evaluator, [fresh(i) for i in range(4)])) == 4
    assert evaluator.swaps.seconds == 0.0


@torch.inference_mode()
def test_a_wave_is_decoded_before_any_of_it_is_judged():
    """So that a judge which does not fit beside the VAE comes and goes once, however large the wave is."""
    events = []

    class Decodes(PixelVAE):
        def decode(self, latent):
            events.append("decode")
            return super().decode(latent)

    class Judges:
        name = "judges"

        def score(self, batch):
            events.append("judge")
            return batch.images.mean((1, 2, 3)).cpu()

    found = Graph.mixture("CONST").search(
        RandomSearch(), candidates=40, batch_size=40, vae=Decodes(), verifier=Judges()
    )
    assert len(found.report["images"][0]["candidates"]) == 40
    assert events == ["decode"] * 3 + ["judge"] * 3
