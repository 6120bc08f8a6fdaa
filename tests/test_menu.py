"""The sampler's menu: a plain sampler becomes a search in its place, and back. web/menu/swap.js runs in node on a stand-in for LiteGraph."""

import pytest
from page_scripts import told_by


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return told_by("menu_swap", tmp_path_factory.mktemp("menu"))


KEPT = {"model": "Loader", "positive": "Text", "negative": "Other", "latent_image": "Other"}


def test_a_ksampler_becomes_a_search_in_its_place(told):
    made = told["ksampler"]
    assert made["type"] == "NoiseSearchKSampler"
    assert made["wiring"] == {**KEPT, "vae": "Other", "verifier": "NoiseSearchLoadVerifier"}
    kept = {"seed": 42, "steps": 7, "cfg": 3, "sampler_name": "heun", "scheduler": "karras", "denoise": 0.6}
    assert made["values"].items() >= {**kept, "control_after_generate": "randomize", "candidates": 8}.items()
    assert made["look"] == {
        "title": "My sampler",
        "color": "#123",
        "bgcolor": "#456",
        "mode": 4,
        "pos": [30, 40],
    }
    assert made["behind"] == ["VAEDecode"]
    assert "KSampler" not in made["types"] and made["types"].count("NoiseSearchLoadVerifier") == 1


def test_a_ksampler_advanced_that_samples_all_steps(told):
    made = told["advanced"]
    assert made["wiring"] == {**KEPT, "vae": "Other", "verifier": "NoiseSearchLoadVerifier"}
    assert made["values"]["seed"] == 43 and made["values"]["steps"] == 7 and made["values"]["denoise"] == 1
    assert told["linkedSeed"]["seed"] == "Int"


def test_a_sampler_custom_gets_a_noise_and_a_guider(told):
    made = told["custom"]
    assert made["type"] == "NoiseSearchSampler"
    assert made["wiring"] == {
        "noise": "RandomNoise", "guider": "CFGGuider", "sampler": "Other", "sigmas": "Other", "latent_image": "Other",
        "vae": "Other", "verifier": "NoiseSearchLoadVerifier",
    }  # fmt: skip
    noise, guider = made["sources"]
    assert noise["values"]["noise_seed"] == 44 and guider["values"]["cfg"] == 2.5
    assert guider["wiring"] == {"model": "Loader", "positive": "Text", "negative": "Other"}


def test_a_sampler_custom_advanced_keeps_its_noise(told):
    made = told["customAdvanced"]
    assert made["type"] == "NoiseSearchSampler" and made["wiring"]["noise"] == "RandomNoise"
    assert made["types"].count("RandomNoise") == 1 and "SamplerCustomAdvanced" not in made["types"]


def test_the_vae_is_that_of_the_decode_or_of_the_loader(told):
    assert told["reroute"]["wiring"]["vae"] == "Other" and told["reroute"]["behind"] == ["Reroute"]
    assert told["loader"]["wiring"]["vae"] == "Checkpoint:2"
    assert "vae" not in told["noVae"]["wiring"]


def test_the_judge_that_is_added_has_its_file(told):
    ready, instead, there, neither = told["judges"]
    assert ready == ["ImageReward", None]
    assert instead == ["Other", ["Other", "ImageReward"]]
    assert there == ["ImageReward", None], "a judge that was in the graph was changed"
    assert neither == ["ImageReward", ["ImageReward", "ImageReward"]]


def test_inside_a_subgraph_the_wires_to_its_edge_stay(told):
    made = told["subgraph"]
    assert made["wiring"]["model"] == "-10" and sorted(map(str, made["behind"])) == ["-20", "VAEDecode"]


def test_back_to_a_plain_sampler_with_the_winners_seed(told):
    made = told["back"]
    assert made["type"] == "KSampler" and made["wiring"] == KEPT
    assert made["values"]["seed"] == 2**53 - 1 and made["values"]["steps"] == 9
    assert made["values"]["control_after_generate"] == "fixed"
    assert (made["title"], made["color"]) == ("My search", "#abc")
    assert not any(name.startswith("NoiseSearch") for name in made["types"])


def test_back_with_its_image_in_use_it_is_decoded(told):
    made = told["backImages"]
    assert made["save"] == {"images": "VAEDecode"} and made["values"]["seed"] == 12


def test_back_the_judge_stays_where_another_search_uses_it(told):
    made = told["backShared"]
    assert "NoiseSearchLoadVerifier" in made["types"] and made["values"]["seed"] == 5


def test_back_to_sampler_custom_advanced_the_seed_is_the_noises(told):
    made = told["backSampler"]
    assert made["type"] == "SamplerCustomAdvanced" and made["noise"]["noise_seed"] == 12
    assert made["wiring"]["noise"] == "RandomNoise"


def test_there_and_back_is_what_it_was(told):
    before, after = told["roundTrip"]
    assert after == before


def test_what_cannot_search_says_why(told):
    words = {
        "noise": "adds no noise",
        "late": "starts after the first step",
        "early": "ends before the last step",
        "leftover": "leaves noise in",
        "linked": "start_at_step comes from another node",
        "custom": "adds no noise",
        "disabled": "noise is disabled",
        "other": "no sampler",
    }
    assert set(told["refused"]) == set(words)
    for name, (why, thrown) in told["refused"].items():
        assert words[name] in why and thrown == why


def test_a_winner_without_a_seed_of_its_own_says_why(told):
    assert told["seeds"][:2] == ["", ""] and "recipe" in told["seeds"][2]
    assert told["kinds"] == [[True, False], [False, True], [False, False]]
