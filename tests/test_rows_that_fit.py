"""How many samples go through a model at once, on cards of every size: ComfyUI's classes and estimates, stand-in devices."""

from types import SimpleNamespace

import comfy.model_management as mm
import layouts
import pytest
import torch
from closed_form import make_model
from comfy.model_patcher import ModelPatcher
from graphs import Graph
from noisesearch.sampling.batches import MOST, rows_that_fit

CPU, CARD = torch.device("cpu"), torch.device("cpu", 0)
CARDS = (8, 12, 16, 24, 80)
FP8, FP16 = torch.float8_e4m3fn, torch.float16
TABLE = {  # (model, weights, pixels): rows on each card
    ("SD1.5", FP16, 512): (23, 32, 32, 32, 32),
    ("SD1.5", FP16, 1024): (5, 9, 13, 21, 32),
    ("SDXL", FP16, 1024): (3, 8, 13, 22, 32),
    ("SD3.5 Large", FP8, 1024): (1, 2, 6, 12, 32),
    ("SD3.5 Large", FP16, 1024): (1, 1, 1, 6, 32),
    ("FLUX", FP8, 1024): (1, 1, 1, 3, 21),
    ("FLUX", FP16, 1024): (1, 1, 1, 1, 17),
}
if layouts.models.SD3.memory_usage_factor == 1.6:  # newer ComfyUIs say that it needs more than 1.2
    TABLE["SD3.5 Large", FP8, 1024] = (1, 2, 4, 9, 32)
    TABLE["SD3.5 Large", FP16, 1024] = (1, 1, 1, 4, 32)


@pytest.fixture
def card(monkeypatch):
    """A card of so many GB, 5 % of it taken by the desktop, with these models on it."""

    def of(gigabytes, *there):
        monkeypatch.setattr(mm, "pytorch_attention_flash_attention", lambda: True)
        monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 400 * 2**20)
        loaded = [
            SimpleNamespace(device=CARD, model=patcher, real_model=lambda: True) for patcher in (*there, None)
        ]  # one whose owner is gone
        monkeypatch.setattr(mm, "current_loaded_models", loaded)
        free = 0.95 * gigabytes * 2**30 - sum(patcher.loaded_size() for patcher in there)
        monkeypatch.setattr(mm, "get_free_memory", lambda device: free)

    return of


def guider(name, weights):
    return SimpleNamespace(model_patcher=layouts.patcher(name, weights, CARD, CPU), original_conds={})


def loaded(patcher, share=1.0):
    patcher.model.model_loaded_weight_memory = int(share * patcher.model_size())
    return patcher


def latent(name, pixels):
    return (1, 16 if name in ("FLUX", "SD3.5 Large") else 4, pixels // 8, pixels // 8)


@pytest.mark.parametrize("model", TABLE, ids=lambda model: f"{model[0]} {model[1]} {model[2]}")
def test_rows_on_every_card(model, card):
    """The weights are still to come; and none of it depends on whether they are there, or something else is."""
    name, weights, pixels = model
    asked, rows = guider(name, weights), []
    for gigabytes in CARDS:
        asked.model_patcher.model.model_loaded_weight_memory = 0
        card(gigabytes)
        rows.append(rows_that_fit(asked, latent(name, pixels)))
        other = loaded(layouts.patcher("SD1.5", FP16, CARD, CPU))
        card(gigabytes, other)  # which makes room
        assert rows_that_fit(asked, latent(name, pixels)) == rows[-1]
        fits = 0.95 * gigabytes * 2**30 - 400 * 2**20
        card(gigabytes, loaded(asked.model_patcher, min(fits / asked.model_patcher.model_size(), 1.0)))
        assert rows_that_fit(asked, latent(name, pixels)) == rows[-1]
    assert tuple(rows) == TABLE[model]
    assert rows == sorted(rows) and 1 <= rows[0] and rows[-1] <= MOST


@pytest.mark.parametrize("model", [("SDXL", FP16), ("SD3.5 Large", FP8), ("FLUX", FP8)], ids=str)
def test_what_runs_is_what_comfyui_would_leave_room_for(model, card, monkeypatch):
    """With these rows ComfyUI loads the model whole; with half as many again it keeps weights off the card, or CFG's halves apart."""
    name, weights = model
    asked = guider(name, weights)
    card(24)
    rows = rows_that_fit(asked, latent(name, 1024))
    free = mm.get_free_memory(CARD) - asked.model_patcher.model_size() - 400 * 2**20
    base = asked.model_patcher.model

    def fits(rows):
        return base.memory_required([2 * rows, *latent(name, 1024)[1:]]) * 1.5 <= free

    assert fits(rows) and not fits(rows + 1)


def test_a_shape_too_large_for_the_card_is_still_tried(card):
    card(8)
    assert rows_that_fit(guider("FLUX", FP16), (1, 16, 512, 512)) == 1


def test_a_controlnet_takes_its_room(card):
    asked = guider("SDXL", FP16)
    card(12)
    without = rows_that_fit(asked, latent("SDXL", 1024))
    net = layouts.patcher("SD1.5", FP16, CARD, CPU)

    class Control:
        def get_models(self):
            return [net]

        def inference_memory_requirements(self, dtype):
            return 2**30

    asked.original_conds = {"positive": [{"control": Control(), "model_conds": {}}], "negative": []}
    # 1.6 GiB of weights and 1 GiB to work in, at 1.5 times 524 MiB a sample
    assert rows_that_fit(asked, latent("SDXL", 1024)) == without - 4


def test_on_the_cpu_the_weights_are_where_they_are_used(monkeypatch):
    """Nothing is to come: memory that is free is free for samples."""
    graph = Graph.mixture("CONST")
    per_row = [graph.model.model.memory_required([2 * rows, 4, 8, 8]) for rows in (1, 2)]
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0)
    for fitting in (1, 5, 40):
        free = 1.5 * (per_row[0] + (fitting - 1) * (per_row[1] - per_row[0])) + 1
        monkeypatch.setattr(mm, "get_free_memory", lambda device: free)
        assert rows_that_fit(graph.guider, (1, 4, 8, 8)) == min(fitting, MOST)
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 0)
    assert rows_that_fit(graph.guider, (1, 4, 8, 8)) == 1
    away = ModelPatcher(make_model("CONST").model, CARD, CPU)
    away.size = 2**40
    assert rows_that_fit(SimpleNamespace(model_patcher=away, original_conds={}), (1, 4, 8, 8)) == 1
