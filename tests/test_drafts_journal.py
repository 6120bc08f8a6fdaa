"""Drafts and the journal: nothing is paid twice, and what searches show of drafts is kept for each model, sampler, size and judge."""

import json

import folder_paths
import pytest
import torch
from closed_form import PixelVAE, ScaledLatents, TargetVerifier
from graphs import some_latent
from noisesearch.search.algorithms import Replay
from noisesearch.search.recovered import RECOVERED
from noisesearch.session import pictures
from noisesearch.session import journaling
from noisesearch.session.evidence import Evidence
from noisesearch.session.journaling import clear_journal, the_journal
from noisesearch.session.live import Live, Viewer
from test_drafts import STEPS, VIDEO, StopsAfter, graph_of, with_steps
from test_journaling import origin, restarted, same, searched, user  # noqa: F401
from test_winner_again import pretend_gpu  # noqa: F401

WISHES = {"draft_steps": 4, "verify_top": 2}


@pytest.mark.parametrize("restart", [False, True])
@torch.inference_mode()
def test_the_same_drafts_again_cost_nothing(restart):
    graph = graph_of()
    plain = graph.search(candidates=8, keep_top=2, **WISHES)
    first, paid = searched(graph, **WISHES)
    assert paid == 2 * first.report["totals"]["nfe"] == 2 * 96
    if restart:
        restarted()
    again, rows = searched(graph, **WISHES)
    assert rows == 2 * again.report["totals"]["check_nfe"] == (8 if restart else 0)  # two of each schedule
    same(first, plain)
    same(again, first)
    assert again.report["images"][0]["drafts"] == first.report["images"][0]["drafts"]


@torch.inference_mode()
def test_a_stopped_search_of_drafts_goes_on_where_it_was():
    graph = graph_of()
    whole = graph.search(candidates=8, keep_top=2, batch_size=2, **WISHES)
    first, paid = searched(graph, stopper=StopsAfter(graph, 40), batch_size=2, **WISHES)
    assert len(first.report["images"][0]["candidates"]) < 10
    again, rows = searched(graph, batch_size=2, **WISHES)
    same(again, whole)
    finals = {one["draft"] for one in again.report["images"][0]["drafts"]["finals"]}
    early = {one["draft"] for one in first.report["images"][0]["drafts"]["finals"]} - finals
    assert paid + rows == 2 * (96 + STEPS * len(early))


@torch.inference_mode()
def test_a_final_render_is_a_sample_of_the_plain_search():
    graph = graph_of()
    drafted, _ = searched(graph, **WISHES)
    seeds = {one.root.seed for one in drafted.found[0].top_recipes}
    _, rows = searched(graph, candidates=24)
    assert seeds <= set(range(11, 35)) and rows == 2 * STEPS * (24 - len(seeds))


@torch.inference_mode()
def test_the_panel_shows_finals_of_other_steps_in_pictures_of_their_own(tmp_path, monkeypatch):
    """The drafts of both searches are the same ones."""
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    boards = []
    for steps in (STEPS, STEPS + 6):
        graph, panel = graph_of(steps=steps), Live(Viewer(None, "workflow", "prompt", "3", str(steps)))
        drafts = with_steps(graph, 4).sigmas
        wishes = {**WISHES, "budget_nfe": 2 * steps + 32, "keep_top": 8}
        found, _ = searched(graph, shorter=lambda _: drafts, panel=panel, **wishes)
        finals = {one["draft"] for one in found.report["images"][0]["drafts"]["finals"]}
        board = panel.ui([], False)["noise_search_state"][0]["searches"][0]["board"]
        boards.append({one["id"]: one["picture"] for one in board})
        for id, image in zip(found.found[0].top_ids, found.found[0].images):
            pictures.write("expected.jpg", pictures.small(image[0]))
            shown, expected = (pictures.folder() / name for name in (boards[-1][id], "expected.jpg"))
            assert shown.read_bytes() == expected.read_bytes()
    same_pictures = {id for id in boards[0] if boards[0][id] == boards[1].get(id)}
    assert len(boards[0]) == 8 and len(finals) == 2 and len(same_pictures) >= 4
    assert not same_pictures & finals


@torch.inference_mode()
def test_on_a_gpu_a_final_render_runs_alone(pretend_gpu, monkeypatch):  # noqa: F811
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "pretended")
    graph = graph_of()
    searched(graph, candidates=24, batch_size=8)  # in batches: their last digits differ
    found, rows = searched(graph, batch_size=8, **WISHES)
    image = found.report["images"][0]
    assert image["final_nfe"] == 2 * STEPS and image["search_nfe"] + image["final_nfe"] == image["budget_nfe"]
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    assert searched(graph, batch_size=8, **WISHES)[1] == 0
    for place, recipe in enumerate(found.found[0].top_recipes[:2]):
        picked, rows = searched(graph, Replay((recipe,)))
        assert rows == 0 and RECOVERED in picked.report["notes"]
        # as it was rendered alone, not as it was in a batch
        assert torch.equal(picked.latent["samples"][0], found.top_latents["samples"][place])
    restarted()
    picked, rows = searched(graph, Replay((found.recipes[0],)))
    assert rows == 2 * picked.report["totals"]["check_nfe"] == 4 and RECOVERED in picked.report["notes"]


def earlier(graph, where=None, **wishes):
    """What a search says of those before it."""
    found, _ = searched(graph, where=where, **{**WISHES, "seed": 9000, **wishes})
    return found.report["images"][0]["drafts"]["earlier"]


@torch.inference_mode()
def test_what_drafts_show_is_remembered_for_this_model_sampler_size_and_judge():
    graph, none = graph_of(), {"correlation": None, "worth_pairs": 0.0}
    for seed in range(0, 1200, 100):
        searched(graph, seed=seed, draft_steps=4, verify_top=4)
    known = earlier(graph)
    assert known["worth_pairs"] > 0 and 0.5 < known["correlation"] <= 1
    once = earlier(graph, seed=0, verify_top=4)
    assert earlier(graph, seed=0, verify_top=4) == once != known  # what is said again counts once
    assert earlier(graph, draft_steps=5) == none
    assert earlier(graph, draft_cfg=2.0) == none
    assert earlier(graph_of(sampler_name="heun"), candidates=12) == none
    assert earlier(graph, where=origin(n2__lora_name="c.safetensors")) == none
    video = graph_of(latent={"samples": torch.zeros(1, *VIDEO)}, dims=3)
    vae = PixelVAE(ScaledLatents(3))
    target = TargetVerifier(vae.decode(some_latent(shape=VIDEO))[0])
    assert earlier(video, vae=vae, verifier=target) == none
    assert earlier(graph, journal=False) == none
    found, _ = searched(graph, draft_steps=-1, seed=5000, candidates=16)
    assert any("pairs of the journal" in note for note in found.report["notes"])
    clear_journal()
    assert earlier(graph) == none


@torch.inference_mode()
def test_evidence_that_no_search_wrote_is_left_aside(monkeypatch):
    graph, keys = graph_of(), []
    seen = Evidence.seen
    monkeypatch.setattr(Evidence, "seen", lambda self: keys.append(self.key) or seen(self))
    searched(graph, **WISHES)
    for text in (
        "not json",
        "[]",
        '{"steps": "4", "pairs": []}',
        '{"steps": 4, "pairs": [[1]]}',
        '{"steps": 4, "pairs": [[1, NaN]]}',
        json.dumps({"steps": 4, "pairs": [[0, 1], [1, 2]]}),
    ):
        the_journal().add_drafts(keys[0], text)
    (first, second) = [one for one in read(keys[0]) if one.steps == 4]
    assert first.pairs == ((0.0, 1.0), (1.0, 2.0)) and len(second.pairs) == 2


def read(key):
    evidence = Evidence.__new__(Evidence)
    evidence.key = key
    return evidence.seen()


@torch.inference_mode()
def test_a_journal_that_fails_loses_no_search(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(journaling, "journal_file", lambda: tmp_path / "file" / "journal.sqlite3")
    found, _ = searched(graph_of(), **WISHES)
    assert found.report["images"][0]["drafts"]["finals"]
    assert any("goes on without it" in note for note in found.report["notes"])


def test_the_files_above_a_node():
    assert origin().files() == ["a.safetensors", "b.safetensors"]
