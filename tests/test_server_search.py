"""Searches through the real server: winners come back with stock nodes, in other batches, after other prompts, in another process."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from test_recipe_limits import moved, nested

from comfy_server import ComfyServer, ServerError, base_directory

MODEL, POSITIVE, NEGATIVE, LATENT = ["1", 0], ["2", 0], ["3", 0], ["4", 0]
SAMPLING = {"steps": 12, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def base(text="digit three"):
    return {
        "1": {"class_type": "NoiseSearchLoadDemoModel", "inputs": {"world": "digits"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": text}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
        "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {
            "class_type": "NoiseSearchLoadVerifier",
            "inputs": {
                "scorer": "digit classifier (demo)",
                "file": "auto",
                "device": "auto",
                "architecture": "auto",
                "frames": 8,
                "over_frames": "mean",
            },
        },
    }


def searching(search=None, text="digit three", **inputs):
    """A graph that searches and saves the winner; `search`: a settings node, or None."""
    graph = base(text) | {
        "10": {
            "class_type": "NoiseSearchKSampler",
            "inputs": {
                "model": MODEL,
                "seed": 5,
                **SAMPLING,
                "positive": POSITIVE,
                "negative": NEGATIVE,
                "latent_image": LATENT,
                "vae": ["1", 2],
                "verifier": ["5", 0],
                "candidates": 12,
                "keep_top": 2,
                **inputs,
            },
        },
        "11": {"class_type": "SaveImage", "inputs": {"images": ["10", 1], "filename_prefix": "winner"}},
        "12": {"class_type": "PreviewAny", "inputs": {"source": ["10", 7]}},
    }
    if search:
        graph["9"] = search
        graph["10"]["inputs"]["search"] = ["9", 0]
    return graph


def stock(seed, text="digit three"):
    return base(text) | {
        "10": {
            "class_type": "KSampler",
            "inputs": {
                "model": MODEL,
                "seed": seed,
                **SAMPLING,
                "positive": POSITIVE,
                "negative": NEGATIVE,
                "latent_image": LATENT,
            },
        },
        "11": {"class_type": "VAEDecode", "inputs": {"samples": ["10", 0], "vae": ["1", 2]}},
        "12": {"class_type": "SaveImage", "inputs": {"images": ["11", 0], "filename_prefix": "stock"}},
    }


def picture(server, entry, node):
    return np.asarray(Image.open(io.BytesIO(server.images(entry)[node][0])).convert("RGB"), dtype=int)


def run_search(server, *args, **kwargs):
    """(report, picture) of a searching graph."""
    entry = server.run(searching(*args, **kwargs))
    return entry["outputs"]["10"]["noise_search"][0], picture(server, entry, "11")


ZERO_ORDER = {
    "class_type": "NoiseSearchZeroOrder",
    "inputs": {"neighbours": 3, "similarity": 0.7, "pivot": "keep best"},
}
PATHS = {
    "class_type": "NoiseSearchPaths",
    "inputs": {
        "paths": 2,
        "width": 0,
        "preset": "local",
        "start": 0.5,
        "forward": 0.1,
        "backward": 0.2,
        "steps_per_round": 3,
        "preview": "extra evaluation",
    },
}

PRUNING = {
    "class_type": "NoiseSearchPruneSeeds",
    "inputs": {
        "seeds": 0,
        "first_cut": 0.35,
        "second_cut": 0.575,
        "kept_first": 0.43,
        "kept_second": 0.29,
        "preview": "free",
        "decoder": "the VAE",
    },
}
PARTICLES = {
    "class_type": "NoiseSearchParticles",
    "inputs": {
        "particles": 0,
        "looks": 3,
        "strength": 4.0,
        "potential": "difference",
        "forward": 0.0,
        "resampling": "ssp",
        "threshold": 1.0,
        "preview": "extra evaluation",
        "decoder": "the VAE",
    },
}


def on_the_seed(report):
    """What the report says when the seed output alone is not the winner."""
    return [note for note in report["notes"] if "only the seed that the winner started from" in note]


def test_the_winners_seed_in_a_stock_graph_gives_the_winner(server):
    report, winner = run_search(server)
    image = report["images"][0]
    assert image["search_nfe"] == image["budget_nfe"] == 12 * 12
    assert report["prompt"] == "digit three"  # found behind the conditioning
    assert image["winner"]["seed"] != 5, "the first candidate won: nothing was shown"
    assert not on_the_seed(report)
    entry = server.run(stock(image["winner"]["seed"]))
    assert abs(picture(server, entry, "12") - winner).max() <= 1


def test_a_pruned_winners_seed_in_a_stock_graph_gives_the_winner(server):
    report, winner = run_search(server, PRUNING)
    image = report["images"][0]
    assert image["search_nfe"] <= 12 * 12 and len(image["rounds"]) == 3 and len(image["rounds"][0]) > 12
    assert image["winner"]["seed"] != 5 and len(image["winner"]["recipe"]["pieces"]) == 1
    entry = server.run(stock(image["winner"]["seed"]))
    assert abs(picture(server, entry, "12") - winner).max() <= 1


def test_a_zero_order_winner_through_its_recipe_and_stock_nodes(server):
    report, winner = run_search(server, ZERO_ORDER)
    recipe = report["images"][0]["winner"]["recipe"]
    assert recipe["pieces"][0]["noise"]["moves"]
    assert (
        on_the_seed(report) and recipe["pieces"][0]["noise"]["seed"] == report["images"][0]["winner"]["seed"]
    )
    entry = server.run(stock(report["images"][0]["winner"]["seed"]))
    assert abs(picture(server, entry, "12") - winner).max() > 1, (
        "the seed alone is another image, as the note says"
    )
    graph = base() | {
        "20": {"class_type": "NoiseSearchFromRecipe", "inputs": {"recipe": json.dumps(recipe)}},
        "21": {
            "class_type": "CFGGuider",
            "inputs": {"model": MODEL, "positive": POSITIVE, "negative": NEGATIVE, "cfg": 1.0},
        },
        "22": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "23": {
            "class_type": "BasicScheduler",
            "inputs": {"model": MODEL, "scheduler": "simple", "steps": 12, "denoise": 1.0},
        },
        "24": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["20", 0],
                "guider": ["21", 0],
                "sampler": ["22", 0],
                "sigmas": ["23", 0],
                "latent_image": LATENT,
            },
        },
        "25": {"class_type": "VAEDecode", "inputs": {"samples": ["24", 0], "vae": ["1", 2]}},
        "26": {"class_type": "SaveImage", "inputs": {"images": ["25", 0], "filename_prefix": "again"}},
    }
    assert abs(picture(server, server.run(graph), "26") - winner).max() <= 1


@pytest.mark.parametrize(
    "search, sampler", [(PATHS, "euler"), (PARTICLES, "euler_ancestral"), (PRUNING, "dpmpp_2m")]
)
def test_a_winner_of_several_pieces_replays_without_a_verifier(server, search, sampler):
    report, winner = run_search(server, search, sampler_name=sampler)
    assert on_the_seed(report)
    recipe = json.dumps(report["images"][0]["winner"]["recipe"])
    graph = searching({"class_type": "NoiseSearchReplay", "inputs": {"recipe": recipe}}, sampler_name=sampler)
    del graph["10"]["inputs"]["verifier"]
    entry = server.run(graph)
    assert abs(picture(server, entry, "11") - winner).max() <= 1
    assert entry["outputs"]["10"]["noise_search"][0]["totals"]["verifier_calls"] == 0


@pytest.mark.parametrize(
    ("search", "change", "message"),
    [
        (PATHS, {"preset": "custom", "forward": 0.3, "backward": 0.3}, "must be larger than forward"),
        (PATHS, {"preset": "custom", "forward": 0.3, "backward": 0.2}, "must be larger than forward"),
        (PATHS, {"preset": "global"}, "no preset"),
        (PRUNING, {"first_cut": 0.6}, "must be larger than first_cut"),
        (PRUNING, {"kept_second": 0.5}, "cannot be more than kept_first"),
        (PARTICLES, {"potential": "min"}, "no potential"),
    ],
)
def test_a_search_that_cannot_be_is_not_even_queued(server, search, change, message):
    with pytest.raises(ServerError, match=message) as refused:
        run_search(server, {**search, "inputs": {**search["inputs"], **change}})
    assert "HTTP 400" in str(refused.value)  # by the queue, not by a node that ran


@pytest.mark.parametrize("search", [None, ZERO_ORDER], ids=["random", "zero-order"])
def test_the_same_winner_in_other_batches_and_after_other_prompts(server, search):
    first, winner = run_search(server, search, batch_size=16)
    run_search(server, search, text="digit eight")
    for rows in (1, 3):
        again, other = run_search(server, search, batch_size=rows)
        assert again["images"][0]["winner"]["recipe"] == first["images"][0]["winner"]["recipe"]
        assert abs(other - winner).max() <= 1


@pytest.mark.slow
def test_the_same_winner_in_a_new_process(server, comfyui, tmp_path):
    first, winner = run_search(server, ZERO_ORDER)
    with ComfyServer(comfyui, base_directory(tmp_path / "base"), log=tmp_path / "server.log") as other:
        again, same = run_search(other, ZERO_ORDER)
    assert again["images"][0]["winner"]["recipe"] == first["images"][0]["winner"]["recipe"]
    assert abs(same - winner).max() <= 1


def test_cancel_ends_the_search_and_the_next_prompt_runs(server):
    server.run(
        stock(1)
    )  # everything the search builds on is loaded and cached now: what is interrupted is the search
    prompt = server.queue(searching(candidates=10_000))
    time.sleep(1.0)
    with pytest.raises(ServerError, match="interrupted at node 10"):
        while True:
            server.interrupt()
            try:
                server.wait(prompt, timeout=0.5)
            except ServerError as error:
                if "did not finish" not in str(error):
                    raise
    run_search(server)


def test_a_prompt_that_cannot_be_found_is_an_error_that_says_what_to_do(server):
    graph = searching()
    graph["6"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "digit four"}}
    graph["7"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["2", 0], "conditioning_2": ["6", 0]},
    }
    graph["10"]["inputs"]["positive"] = ["7", 0]
    with pytest.raises(ServerError, match="2 different texts.*prompt input"):
        server.run(graph)
    graph["10"]["inputs"]["prompt"] = "digit four"
    server.run(graph)


def test_score_images_with_nothing_kept_or_rejected(server):
    graph = stock(3) | {
        "20": {
            "class_type": "NoiseSearchScoreImages",
            "inputs": {
                "images": ["11", 0],
                "verifier": ["5", 0],
                "prompt": "digit three",
                "keep_top": 0,
                "min_score": -1e6,
            },
        },
        "21": {"class_type": "SaveImage", "inputs": {"images": ["20", 0], "filename_prefix": "kept"}},
        "22": {"class_type": "SaveImage", "inputs": {"images": ["20", 2], "filename_prefix": "rejected"}},
    }
    ran = set(server.images(server.run(graph)))
    assert "21" in ran and "22" not in ran
    graph["20"]["inputs"]["min_score"] = 1.0
    ran = set(server.images(server.run(graph)))
    assert "22" in ran and "21" not in ran


@pytest.mark.parametrize(
    "text, inputs, problem",
    [
        (nested(220), {}, "nested in noises more than 8 deep"),
        (nested(8), {"sampler_name": "dpm_adaptive"}, "dpm_adaptive"),
        (moved(10_000), {"sampler_name": "dpm_adaptive"}, "dpm_adaptive"),
    ],
    ids=["too deep", "deep, and the sampler node fails", "long, and the sampler node fails"],
)
def test_a_strangers_recipe_is_an_error_and_the_server_goes_on(server, text, inputs, problem):
    """ComfyUI writes down what lies on the sockets of a node that fails; its worker died of nested noises."""
    graph = searching({"class_type": "NoiseSearchReplay", "inputs": {"recipe": text}}, **inputs)
    with pytest.raises(ServerError, match=problem) as caught:
        server.run(graph)
    assert "did not finish" not in str(caught.value)
    server.run(searching(candidates=1))


def test_a_draft_that_wins_is_the_stock_image_of_its_seed_with_all_steps(server):
    report, drawn = run_search(server, draft_steps=4, verify_top=2, candidates=6)
    image = report["images"][0]
    drafts = image["drafts"]
    assert (drafts["draft_steps"], drafts["steps"], len(drafts["finals"])) == (4, SAMPLING["steps"], 2)
    assert len(image["candidates"]) == (6 - 2) * SAMPLING["steps"] // 4
    entry = server.run(stock(image["winner"]["seed"]))
    assert (picture(server, entry, "12") == drawn).all()
    report, _ = run_search(
        server, {"class_type": "NoiseSearchAuto", "inputs": {}}, "digit four", candidates=5
    )
    assert any(note.startswith("Search: Auto took search over paths") for note in report["notes"])
    assert report["images"][0]["search_nfe"] <= 5 * SAMPLING["steps"]


@pytest.mark.parametrize("steps, said", [(2, "at least 3"), (12, "fewer steps than the final image")])
def test_drafts_that_cannot_be_are_refused_when_they_are_queued(server, steps, said):
    with pytest.raises(ServerError, match=said):
        server.run(searching(draft_steps=steps))
