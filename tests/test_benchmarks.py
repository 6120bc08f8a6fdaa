"""The benchmarks of our own cost: that they compare what they say, and run."""

import dataclasses
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import comfy.sample
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent
from noisesearch.demo.grammar import parse_scene
from noisesearch.demo.worlds import random_scene
from noisesearch.search.algorithms import RandomSearch, ZeroOrder
from noisesearch.verifiers.base import Batch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    """A module of benchmarks/, by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def of(name):
        module = __import__(name)
        monkeypatch.delitem(sys.modules, name)
        return module

    return of


def naive(benchmark, graph, verifier):
    return benchmark("_naive").Naive(
        graph.guider,
        graph.sampler,
        graph.sigmas,
        graph.latent["samples"],
        PixelVAE().decode,
        lambda images: verifier.score(Batch(images, "")),
    )


@torch.inference_mode()
def test_the_plain_random_search_finds_what_ours_finds_one_by_one(benchmark):
    graph, verifier = Graph.mixture("CONST"), TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    plain = naive(benchmark, graph, verifier)
    best = plain.random(11, 6)
    assert set(graph.model.spy.batches) == {2} and graph.model.spy.calls == 6 * 6
    assert verifier.calls == 6 == len(plain.images) == len(plain.latents)
    found = graph.search(RandomSearch(), verifier=verifier, candidates=6)
    assert found.scores[0] == pytest.approx(best, abs=1e-5)
    assert [c["scores"][0] for c in found.report["images"][0]["candidates"]] == pytest.approx(
        plain.scores, abs=1e-5
    )


@torch.inference_mode()
def test_the_plain_zero_order_search_pays_its_pivot_again_in_each_round(benchmark):
    graph, verifier = Graph.mixture("CONST"), TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    plain = naive(benchmark, graph, verifier)
    best = plain.zero_order(11, rounds=3, neighbours=4, cosine=0.7)
    assert len(plain.scores) == 3 * 5 == graph.model.spy.calls // 6
    assert plain.scores[5] == pytest.approx(max(plain.scores[:5])) and best == max(plain.scores)
    pivot, neighbour = plain.noises[0], plain.noises[1]
    assert float(torch.cosine_similarity(pivot.flatten(), neighbour.flatten(), 0)) == pytest.approx(
        0.7, abs=1e-5
    )
    assert torch.equal(pivot, comfy.sample.prepare_noise(graph.latent["samples"], 11))
    ours = graph.search(ZeroOrder(4, 0.7), verifier=verifier, candidates=13)
    assert len(ours.report["images"][0]["candidates"]) == 1 + 3 * 4


def test_host_and_device_meet_where_a_number_is_read_back(benchmark):
    gpu, number = benchmark("gpu"), torch.ones(1)

    def run(inside):
        number.item()
        with torch.profiler.record_function(gpu.LOOP):
            for _ in range(inside):
                float(number + 1)
        bool(number > 0)

    for inside in (0, 3):
        assert gpu.meetings_in(gpu.LOOP, lambda: run(inside), torch.device("cpu")) == inside


def test_random_weights_leave_deep_networks_finite_in_half_precision(benchmark):
    layers = [layer for _ in range(40) for layer in (torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))]
    network = torch.nn.Sequential(*layers).to(torch.bfloat16)
    benchmark("gpu").random_weights(network)
    out = network(torch.randn(8, 64, dtype=torch.bfloat16))
    assert bool(out.isfinite().all()) and 0.5 < float(out.detach().std()) < 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ["gpu.py --cpu --repeats 1", "overhead.py --quick digits"])
def test_they_run(command, comfyui):
    name, *options = command.split()
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *options],
        env={**os.environ, "NOISESEARCH_COMFYUI": str(comfyui), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")]
    if name == "gpu.py":
        assert [row[0] for row in rows] == ["layout", "SDXL", "FLUX"]
        for row in rows[1:]:
            assert all(math.isfinite(float(cell)) for cell in row[1:]) and float(row[9]) <= float(row[8])
    else:
        assert [row[0] for row in rows] == ["world", "digits", "world", "digits", "digits", "digits"]


def test_the_stand_in_for_a_vision_model_is_taught_the_truth(benchmark):
    reader, rng = benchmark("_reader"), random.Random(3)
    scenes = [random_scene(rng) for _ in range(200)]
    for scene in scenes:
        asked = [one for some in reader.checks(scene).values() for one in some]
        assert all(reader._true(one, scene) for one in asked)
        if scene.second is not None and scene.first != scene.second:
            turned = dataclasses.replace(scene, first=scene.second, second=scene.first)
            assert not reader._true(reader.checks(scene)["position"][0], turned)
            assert not reader._true("Is there only one thing?", scene)
    answers = {"whole": [], "single": [], "background": [], "there a": [], "is the": []}
    for text, truth in (reader.question(scene, rng) for scene in scenes * 15):
        answers["whole" if "figure" in text else "single"].append(truth)
        for part in ("background", "there a", "is the"):
            if "figure" not in text and part in text.lower():
                answers[part].append(truth)
    for part, said in answers.items():  # else one who always says yes looks as if it saw
        assert 0.3 < sum(said) / len(said) < 0.7, part
    assert reader.words_of(["Is there a red circle?", "Is it?"]).shape == (2, 5)


def test_the_stand_in_is_taught_in_the_words_that_the_judge_asks_in_and_answers_to_each_picture(benchmark):
    from noisesearch.verifiers.judges.vlm_presets import vlm_judge

    reader, rng, prompt = (
        benchmark("_reader"),
        random.Random(5),
        "a red circle left of a blue star on a white background",
    )
    scene = parse_scene(prompt)
    taught = {reader.question(scene, rng)[0] for _ in range(800)}

    def classify(images):
        return [images.mean((1, 2)).log_softmax(1)]

    pictures = torch.rand(3, 64, 64, 3)
    eyes = reader.eyes_of(classify, pictures)
    torch.manual_seed(1)
    network = reader.Reader(eyes.shape[1]).eval()
    clip = reader.stand_in(network, classify)
    checks = [one for some in reader.checks(scene).values() for one in some]
    for judge, count in (
        (vlm_judge(clip, "checks of the prompt", "\n".join(checks)), len(checks)),
        (vlm_judge(clip, "the whole prompt"), 1),
    ):
        clip.transformer.read.clear()
        judge.score(Batch(pictures, prompt))
        said = [reader.SAID.search(turn)[1] for turn in clip.transformer.read]
        assert len(said) == 3 * count and set(said) <= taught
        direct = network(eyes.repeat_interleave(count, 0), reader.words_of(said)).sigmoid().view(3, count)
        answers = torch.tensor([list(one.values()) for one in judge.answers()])
        assert torch.allclose(answers, direct, atol=1e-5) and len(direct.unique()) == 3 * count


def test_a_stand_in_that_was_trained_is_found_again_and_not_after_its_lessons_changed(
    benchmark, monkeypatch, tmp_path
):
    reader, taught = benchmark("_reader"), []

    def train(classify, captions, steps):
        taught.append(captions)
        return reader.Reader(eyes)

    def classify(images):
        return [images.mean((1, 2)).log_softmax(1)]

    eyes = reader.eyes_of(classify, torch.zeros(1, 64, 64, 3)).shape[1]
    monkeypatch.setattr(reader, "trained", train)
    first, again = (reader.kept(classify, 0.2, 5, tmp_path).state_dict() for _ in range(2))
    assert taught == [0.2] and all(torch.equal(first[name], again[name]) for name in first)
    monkeypatch.setattr(reader, "asked", lambda question, prompt: question)
    reader.kept(classify, 0.2, 5, tmp_path)
    assert taught == [0.2, 0.2]


def test_how_often_the_stand_in_is_right_is_counted_by_kind_of_question(benchmark):
    reader = benchmark("_reader")
    scene = parse_scene("an orange arrow above a blue star on a white background")
    kinds = {"shape": 1, "colour": 2, "position": 3, "count": 4, "background": 5}
    for name, questions in reader.checks(scene).items():
        assert {reader._kind(one) for one in questions} == {reader.ASKED[kinds[name]]}
    assert reader._kind(reader.filled(reader.TEMPLATE, "a blue star above")) == "the whole prompt"
    assert "Is there an arrow?" in reader.checks(scene)["shape"]

    class Yes(torch.nn.Module):
        def forward(self, eyes, words):
            return torch.ones(len(words))

    right = reader.accuracy(Yes(), lambda images: [images.mean((1, 2)).log_softmax(1)], count=300)
    assert set(right) == set(reader.ASKED) and all(0.2 < share < 0.8 for share in right.values()), right


def test_a_caption_covers_the_lower_left_corner_only(benchmark):
    reader, pictures = benchmark("_reader"), torch.rand(2, 64, 64, 3)
    changed = reader.captioned(pictures, "YES") != pictures
    rows, columns = changed.any(3).any(0).any(1).nonzero(), changed.any(3).any(0).any(0).nonzero()
    assert rows.min() >= 64 - reader.STRIP and columns.max() < 32 and changed.any()
    assert not torch.equal(reader.captioned(pictures, "YES"), reader.captioned(pictures, "NO"))
