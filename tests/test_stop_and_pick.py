"""Stop and keep the best; a pick; what a picture carries. On the model whose samples are known."""

import json
import threading
import time
from types import SimpleNamespace

import comfyui_version
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent

from noisesearch.nodes.search import NoiseSearchKSampler
from noisesearch.nodes.searching import needed, stops_of
from noisesearch.sampling.flight import GivenUp
from noisesearch.search.algorithms import (
    Evolution,
    ParticleSearch,
    RandomSearch,
    SearchOverPaths,
    SeedPruning,
    ZeroOrder,
)
from noisesearch.search.algorithms.auto import PATHS
from noisesearch.session import carry
from noisesearch.session.provenance import Origin
from noisesearch.session.pick import read_pick
from noisesearch.session.run import Wishes, search_images
from noisesearch.session.stop import Stopper, running, stop

SEARCHES = [
    RandomSearch(),
    ZeroOrder(),
    SearchOverPaths(),
    PATHS,
    SeedPruning(),
    ParticleSearch(),
    Evolution(4, 2, 2),
]
every = pytest.mark.parametrize(
    "settings", SEARCHES, ids=lambda one: "one step a round" if one is PATHS else one.name
)


class StopsAt(Stopper):
    """Told to stop once `graph`'s network has run so many rows."""

    def __init__(self, graph, rows, hurried=False):
        super().__init__("test")
        self.graph, self.rows, self.twice = graph, rows, hurried

    @property
    def stopped(self):
        return self.graph.model.spy.rows >= self.rows

    @property
    def hurried(self):
        return self.twice and self.stopped


def slow(graph, seconds):
    """Each call of its network takes that long."""
    graph.model.spy.delay = seconds


def greedy(graph):
    """Attach what eats ordinary exceptions on their way out, as some packs do."""
    from comfy.patcher_extension import WrappersMP

    def eat(executor, *args, **kwargs):
        try:
            return executor(*args, **kwargs)
        except Exception:
            return args[0] * 0

    graph.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "greedy", eat)


def searched(graph, settings, stopper, batch=1, **wishes):
    vae = PixelVAE()
    target = TargetVerifier(vae.decode(some_latent(seed=1))[0])
    return search_images(
        graph.guider, graph.sampler, graph.sigmas, graph.latent, 11, settings, target, vae, "",
        Wishes(**{"candidates": 12, "batch_size": batch, **wishes}), stopper=stopper,
    )  # fmt: skip


@every
@pytest.mark.parametrize("rows", [1, 20, 60])
@torch.inference_mode()
def test_stopped_it_keeps_what_it_has(settings, rows):
    graph = Graph.mixture("CONST")
    found = searched(graph, settings, StopsAt(graph, rows))
    image = found.report["images"][0]
    assert image["stopped"] == "stopped by hand"
    assert graph.model.spy.rows < rows + 2 * 40  # one batch, and one sample completed
    scored = [one["scores"][0] for one in image["candidates"] if one["stop"] == 0]
    assert scored and image["winner"]["scores"][0] == max(scored)
    totals = found.report["totals"]
    assert graph.model.spy.rows == 2 * (totals["nfe"] + totals["lost_nfe"])


@torch.inference_mode()
def test_a_batch_far_from_its_end_is_given_up_and_counted(monkeypatch):
    """Four candidates are done; the next batch of four has just begun when the stop comes, and would take 3 seconds more."""
    graph = Graph.mixture("CONST", steps=30)
    slow(graph, 0.1)
    found = searched(graph, RandomSearch(), StopsAt(graph, 2 * 4 * 30 + 2 * 4 * 5), batch=4, candidates=16)
    image, totals = found.report["images"][0], found.report["totals"]
    assert len(image["candidates"]) == 4 and totals["lost_nfe"] == 4 * 5 and totals["nfe"] == 4 * 30


@torch.inference_mode()
def test_a_batch_near_its_end_is_finished():
    graph = Graph.mixture("CONST", steps=30)
    slow(graph, 0.01)
    found = searched(graph, RandomSearch(), StopsAt(graph, 2 * 4 * 30 + 2 * 4 * 5), batch=4, candidates=16)
    assert len(found.report["images"][0]["candidates"]) == 8 and found.report["totals"]["lost_nfe"] == 0


@torch.inference_mode()
def test_when_nothing_is_finished_the_first_sample_is_completed():
    graph = Graph.mixture("CONST", steps=60)
    slow(graph, 0.05)
    found = searched(graph, RandomSearch(), StopsAt(graph, 2 * 8 * 2), batch=8, candidates=16)
    image = found.report["images"][0]
    assert [one["noise"]["seed"] for one in image["candidates"]] == [11]
    torch.testing.assert_close(found.latent["samples"], graph.stock(11), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_in_a_latent_batch_the_others_get_their_first_candidate():
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(3, 4, 8, 8)})
    found = searched(graph, RandomSearch(), StopsAt(graph, 2 * 6 * 3))
    counts = [len(image["candidates"]) for image in found.report["images"]]
    assert counts[0] >= 3 and counts[1:] == [1, 1]
    torch.testing.assert_close(found.latent["samples"][1:], graph.stock(11)[1:], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_last_rendering_runs_and_a_second_stop_skips_it():
    for hurried in (False, True):
        graph = Graph.mixture("CONST")
        fine = Graph.mixture("CONST", steps=12)
        vae = PixelVAE()
        target = TargetVerifier(vae.decode(some_latent(seed=1))[0])
        found = search_images(
            graph.guider, graph.sampler, graph.sigmas, graph.latent, 11, None, target, vae, "",
            Wishes(candidates=8, batch_size=1), fine.sigmas, stopper=StopsAt(graph, 30, hurried),
        )  # fmt: skip
        assert (found.report["images"][0]["final_nfe"] == 0) == hurried
        assert any("skipped" in note for note in found.report["notes"]) == hurried


@torch.inference_mode()
def test_a_replay_runs_to_its_end():
    graph = Graph.mixture("CONST")
    whole = graph.search(SearchOverPaths(2, 2), budget_nfe=200)
    graph.model.spy.reset()
    again = searched(graph, read_pick(json.dumps(whole.recipes[0].to_dict())).search, StopsAt(graph, 1))
    torch.testing.assert_close(again.latent["samples"], whole.latent["samples"], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_others_cannot_eat_what_gives_a_batch_up():
    assert not issubclass(GivenUp, Exception)
    graph = Graph.mixture("CONST", steps=30)
    greedy(graph)
    slow(graph, 0.1)
    found = searched(graph, RandomSearch(), StopsAt(graph, 2 * 30 + 2 * 5), candidates=8)
    image, totals = found.report["images"][0], found.report["totals"]
    assert len(image["candidates"]) == 1 and totals["lost_nfe"] == 5 and totals["nfe"] == 30


@torch.inference_mode()
def test_the_time_limit_looks_between_batches_and_evaluations():
    """At 20 ms an evaluation, limit 0.3 s: at most one batch and what makes one sample more."""
    for settings in SEARCHES:
        graph = Graph.mixture("CONST", steps=10)
        slow(graph, 0.02)
        began = time.monotonic()
        found = searched(graph, settings, Stopper(), batch=1, candidates=40, time_limit=0.3)
        assert time.monotonic() - began < 0.3 + 3 * 10 * 0.02 + 0.5
        assert found.report["images"][0]["stopped"] == "the time limit is reached"


# -- who may stop ----------------------------------------------------------------------------------------------------------


def test_only_who_knows_the_id_can_stop():
    with running("a key of my own, long") as one, running("a key of my own, long") as two, running() as other:
        assert stop("guessed") == stop("") == stop(None) == stop(7) == stop(["x"]) == 0
        assert stop("a key of my own, long") == 2 and one.stopped and two.stopped and not other.stopped
        assert stop(other.run) == 1 and other.stopped and not other.hurried
        assert stop(other.run) == 1 and other.hurried
        assert len({one.run, two.run, other.run}) == 3 and min(map(len, (one.run, two.run))) >= 30
    assert stop(one.run) == stop("a key of my own, long") == 0


@pytest.mark.parametrize("key", ["short", "x" * 201, None, 5, {"a": 1}])
def test_a_key_that_could_be_guessed_is_none(key):
    with running(key) as stopper:
        assert stop(key) == 0 and not stopper.stopped


def test_many_at_once_do_not_get_into_each_others_way():
    hits = []

    def one():
        with running() as stopper:
            hits.append(stop(stopper.run) == 1 and stopper.asked == 1)

    threads = [threading.Thread(target=one) for _ in range(50)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert hits == [True] * 50


# -- the node --------------------------------------------------------------------------------------------------------------


def ksampler(graph, **inputs):
    vae = PixelVAE()
    given = dict(
        model=graph.model, seed=3, steps=6, cfg=4.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        positive=graph.positive, negative=graph.negative, latent_image=graph.latent, vae=vae, keep_top=3,
        candidates=6, verifier=TargetVerifier(vae.decode(some_latent(seed=1))[0]),
    )  # fmt: skip
    return NoiseSearchKSampler.execute(**(given | inputs)).result


@pytest.mark.parametrize("search", SEARCHES, ids=lambda settings: settings.name)
@torch.inference_mode()
def test_a_picked_recipe_is_rendered_once_without_a_judge(search):
    graph = Graph.mixture("CONST")
    found = ksampler(graph, search=search, budget_nfe=150)
    top = json.loads(found[9])
    for place, recipe in enumerate(top):
        graph.model.spy.reset()
        picked = ksampler(graph, pick=json.dumps(recipe), search=search, budget_nfe=150)
        assert torch.allclose(picked[1], found[2][place : place + 1], atol=1e-5)
        assert picked[8]["totals"]["verifier_calls"] == 0
        assert graph.model.spy.rows == 2 * picked[8]["totals"]["nfe"] <= 2 * 60
        assert any("picked image" in note for note in picked[8]["notes"])


@torch.inference_mode()
def test_the_record_of_a_picture_can_be_picked_and_says_what_differs():
    graph = Graph.mixture("CONST")
    found = graph.search(candidates=6)
    made = carry.facts_of(
        graph.guider, "sample_euler", graph.sigmas, found.latent["samples"], ["a.safetensors"]
    )
    text = json.dumps(carry.record_of(found, made))
    assert ksampler(graph, pick=text)[4] == found.seed
    notes = ksampler(graph, pick=text, sampler_name="heun", steps=9)[8]["notes"]
    said = " ".join(notes)
    assert (
        "another sampler: 'sample_euler' then, 'sample_heun' now" in said
        and "another steps: 6 then, 9 now" in said
    )
    assert "latent size" not in said


@torch.inference_mode()
def test_a_pick_says_when_another_comfyui_made_the_picture(monkeypatch):
    graph = Graph.mixture("CONST")
    assert not any("written under" in note for note in ksampler(graph, pick=picture(graph))[8]["notes"])
    monkeypatch.setattr(carry, "COMFYUI", "0.0.1")
    text = picture(graph)
    for pick in (text, json.dumps(json.loads(text)["top"][1]["recipe"])):
        (said,) = [note for note in ksampler(graph, pick=pick)[8]["notes"] if "written under" in note]
        assert f"written under ComfyUI 0.0.1, and this is {comfyui_version.__version__}" in said


def picture(graph):
    """What a picture of a search carries."""
    return json.dumps(carry.record_of(graph.search(candidates=3), {}))


@pytest.mark.parametrize(
    "pick",
    ["nonsense", "{}", "[]", '{"winners": 3, "noise_search": 1}', '{"winners": [3], "noise_search": 1}', "[" * 5000,
     '{"winners": [], "noise_search": 1}', '{"noise_search": 9, "winners": []}', '{"noise_search":1,"pieces":[]}'],
)  # fmt: skip
@torch.inference_mode()
def test_a_pick_that_is_none_is_refused_before_anything_runs(pick):
    graph = Graph.mixture("CONST")
    with pytest.raises(ValueError) as error:
        ksampler(graph, pick=pick)
    assert graph.model.spy.rows == 0 and len(str(error.value)) < 1500


@torch.inference_mode()
def test_top_recipes_and_seeds_are_those_of_the_top_images():
    graph = Graph.mixture("CONST")
    found = ksampler(graph)
    seeds = found[10]
    assert len(seeds) == 3 and seeds[0] == found[4] and found[11] == f"seed_{found[4]}"
    for place, seed in enumerate(seeds):
        assert torch.allclose(found[3]["samples"][place : place + 1], graph.stock(seed), atol=1e-5)


def test_a_pick_needs_neither_judge_nor_search():
    linked = {"verifier": None, "search": None}
    assert needed("", linked) == ["verifier", "search"] and needed("", {"verifier": None}) == ["verifier"]
    assert needed('{"noise_search": 1}', linked) == []


def test_a_node_that_was_never_stopped_is_cached_as_ever():
    assert stops_of({"seed": 1}) == stops_of({"seed": 1, "model": None}) == 0


# -- the picture -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_record_is_bounded_and_finds_its_way_back():
    found = Graph.mixture("CONST").search(ZeroOrder(1), candidates=40, keep_top=40)
    record = carry.record_of(found, {})
    assert len(json.dumps(record)) <= carry.LARGEST and json.loads(json.dumps(record)) == record
    written = {**found.recipes[0].to_dict(), "comfyui": comfyui_version.__version__}
    assert record["winners"][0]["recipe"] == written
    prompt = {"1": {"class_type": "NoiseSearchKSampler", "inputs": {"model": ["2", 0], "seed": 5}},
              "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}}}  # fmt: skip
    extra = {"workflow": {"nodes": []}}
    carry.attach(extra, "1", record, prompt)
    assert extra["noise_search"]["1"] == extra["workflow"]["extra"]["noise_search"]["1"] == record
    assert carry.files_behind(prompt, "1") == ["sd.safetensors"]
    queued = carry.on_prompt({"prompt": {**prompt, "3": {"class_type": "SaveImage", "inputs": {}}}})
    assert queued["extra_data"]["extra_pnginfo"]["noise_search"]["1"] == record
    prompt["2"]["inputs"]["ckpt_name"] = "other.safetensors"
    assert carry.on_prompt({"prompt": prompt})["extra_data"]["extra_pnginfo"] == {}


@pytest.mark.parametrize("largest", [0, 4000, 4001, 6000, 200_000])
@torch.inference_mode()
def test_a_record_holds_as_many_runners_up_as_it_has_room_for(largest, monkeypatch):
    """Each is written out once to see how long it is."""
    found = Graph.mixture("CONST").search(ZeroOrder(1), candidates=12, keep_top=12)
    monkeypatch.setattr(carry, "LARGEST", 10**9)
    whole = carry.record_of(found, {})
    fits = [n for n in range(13) if len(json.dumps({**whole, "top": whole["top"][:n]})) <= largest]
    monkeypatch.setattr(carry, "LARGEST", largest)
    dumps, written = json.dumps, []
    monkeypatch.setattr(carry.json, "dumps", lambda data, **how: written.append(1) or dumps(data, **how))
    record = carry.record_of(found, {})
    assert record == {**whole, "top": whole["top"][: max(fits, default=0)]} and len(written) <= 13


def test_the_files_behind_a_node_are_the_same_whoever_asks():
    """Of a graph with a circle, a branch that meets itself, a link to nothing and nodes that are none."""
    prompt = {
        "1": {"class_type": "A", "inputs": {"a": ["2", 0], "b": ["3", 1], "c": ["9", 0], "e": ["5", 0]}},
        "2": {"class_type": "B", "inputs": {"lora_name": "b.safetensors", "back": ["1", 0], "name": "a.b"}},
        "3": {"class_type": "C", "inputs": {"ckpt_name": "a.safetensors", "too": ["2", 0], "vae_name": 3}},
        "4": {"class_type": "D", "inputs": {"ckpt_name": "not.above"}},
        "5": 7,
    }
    dynamic = SimpleNamespace(has_node=prompt.__contains__, get_node=prompt.__getitem__)
    expected = ["a.safetensors", "b.safetensors"]
    assert carry.files_behind(prompt, "1") == Origin(dynamic, "1").files() == expected
    assert carry.files_behind(None, "1") == carry.files_behind(prompt, None) == []
    key = carry.graph_key(prompt, "1")
    prompt["4"]["inputs"]["ckpt_name"] = prompt["9"] = "another"
    assert carry.graph_key(prompt, "1") == key
    prompt["3"]["inputs"]["vae_name"] = 4
    assert carry.graph_key(prompt, "1") != key


@pytest.mark.parametrize(
    "data",
    [None, 3, {}, {"prompt": 5}, {"prompt": {"1": 7}}, {"prompt": {"1": {"class_type": "NoiseSearchKSampler"}}},
     {"prompt": {"1": {"class_type": "NoiseSearchKSampler", "inputs": {"a": ["1", 0]}}}, "extra_data": 4},
     {"prompt": {"1": {"class_type": ["x"], "inputs": 3}}, "extra_data": {"extra_pnginfo": []}}],
)  # fmt: skip
def test_any_prompt_passes_the_hook(data):
    assert carry.on_prompt(data) is data


def test_pixels_are_those_that_are_saved(tmp_path):
    import hashlib

    import numpy as np
    from PIL import Image

    image = torch.rand(1, 5, 7, 3, generator=torch.Generator().manual_seed(1))
    array = np.clip(255.0 * image[0].numpy(), 0, 255).astype(np.uint8)  # ComfyUI's SaveImage
    Image.fromarray(array).save(tmp_path / "a.png")
    back = np.asarray(Image.open(tmp_path / "a.png"))
    assert carry.pixels(image) == hashlib.sha256(repr(back.shape).encode() + back.tobytes()).hexdigest()
