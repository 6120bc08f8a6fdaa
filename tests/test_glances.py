"""How a running sample is shown where no finished one was to be seen for a while."""

import comfy.latent_formats
import latent_preview
import pytest
import torch
from closed_form import PixelVAE, cond, make_model, one_hot, uncond
from comfy.cli_args import LatentPreviewMethod, args
from graphs import Graph, evaluated
from noisesearch.sampling import glances
from noisesearch.search.algorithms.base import fresh


@pytest.fixture
def graph():
    model = make_model("EPS", latent_format=comfy.latent_formats.SD15())
    return Graph(model, cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 8, 8)})


def looked_at(graph, monkeypatch, method, pause=0.0):
    """(pictures, what the solver predicted for the first row), of a run of two rows."""
    monkeypatch.setattr(args, "preview_method", method)
    monkeypatch.setattr(glances, "PAUSE", pause)
    pictures, predicted = [], []
    evaluator = graph.evaluator(rows=2, glance=pictures.append)
    look = evaluator.glances.look
    monkeypatch.setattr(evaluator.glances, "look", lambda x0: (predicted.append(x0[:1].clone()), look(x0)))
    assert len(evaluated(evaluator, [fresh(1), fresh(2)])) == 2
    return pictures, predicted


@torch.inference_mode()
def test_the_first_row_is_shown_as_comfyui_shows_it(graph, monkeypatch):
    pictures, predicted = looked_at(graph, monkeypatch, LatentPreviewMethod.Latent2RGB)
    previewer = latent_preview.get_previewer(graph.model.load_device, graph.model.model.latent_format)
    assert len(pictures) == len(predicted) == graph.steps
    for (kind, image, largest), x0 in zip(pictures, predicted):
        stock = previewer.decode_latent_to_preview_image("JPEG", x0)
        assert (kind, largest) == (stock[0], stock[2])
        assert image.tobytes() == stock[1].tobytes() and image.size == (8, 8)


@torch.inference_mode()
def test_nothing_is_shown_while_there_is_something_new_to_see_or_previews_are_off(graph, monkeypatch):
    assert looked_at(graph, monkeypatch, LatentPreviewMethod.Latent2RGB, pause=60.0)[0] == []
    assert looked_at(graph, monkeypatch, LatentPreviewMethod.NoPreviews)[0] == []


@torch.inference_mode()
def test_a_picture_that_cannot_be_made_does_not_end_the_search(graph, monkeypatch, caplog):
    def broken(device, latent_format):
        raise ValueError("no such previewer")

    monkeypatch.setattr(latent_preview, "get_previewer", broken)
    pictures, predicted = looked_at(graph, monkeypatch, LatentPreviewMethod.Latent2RGB)
    assert pictures == [] and len(predicted) == graph.steps
    assert [r.getMessage() for r in caplog.records if "running samples" in r.getMessage()] == [
        "NoiseSearch: running samples cannot be shown (ValueError('no such previewer'))."
    ]


@torch.inference_mode()
def test_a_finished_one_is_left_to_be_seen_for_a_while(graph, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(glances, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    pictures = []
    evaluator = graph.evaluator(rows=1, glance=pictures.append, decode=PixelVAE().decode)
    waves = evaluator.evaluate([(0, fresh(1)), (1, fresh(2)), (2, fresh(3))])
    next(waves)
    now[0] = 60.0  # a minute later, which the driver spent with the first
    next(waves)
    assert pictures == []
    now[0] = 60.0 + glances.PAUSE
    monkeypatch.setattr(evaluator.glances, "rest", lambda: None)
    list(waves)
    assert len(pictures) == graph.steps
