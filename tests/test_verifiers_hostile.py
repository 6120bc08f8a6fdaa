"""Hostile and broken input to every verifier that runs without downloads: a clear error or NaN, never nonsense, never a payload."""
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from test_verifiers_image_reward import write
from verifier_helpers import images, write_clip_folder

from noisesearch.verifiers import files
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import DIGITS, SCENES, load_verifier, resolve
from noisesearch.verifiers.clip_score import ClipScore
from noisesearch.verifiers.clip_tower import load_tower
from noisesearch.verifiers.digits import DigitClassifier
from noisesearch.verifiers.image_reward import ImageReward
from noisesearch.verifiers.reference import ReferenceSimilarity
from noisesearch.verifiers.self_supervised import SelfSupervised

SCENE = "a red circle left of a blue star on a grey background"
PROMPTS = {"digit classifier": "digit three", "scene attributes": SCENE}
NEED_A_PROMPT = {"CLIPScore", "ImageReward", "digit classifier", "scene attributes"}


@pytest.fixture(scope="module")
def verifiers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    tower = load_tower(write_clip_folder(folder / "tiny"))
    words = {"blip.text_encoder.embeddings.word_embeddings.weight": (30524, 128)}
    made = [
        *(load_verifier(scorer) for scorer in ("digit classifier (demo)", "scene attributes (demo)", "image quality (BRISQUE)")),
        *(ClipScore(tower), ImageReward(write(folder / "ImageReward.pt", **words)), ReferenceSimilarity(tower, images(1)), SelfSupervised(tower)),
    ]
    return {verifier.name: verifier for verifier in made}


NAMES = ["digit classifier", "scene attributes", "image quality", "CLIPScore", "ImageReward", "reference similarity", "self-supervised"]


def batch(name, pictures):
    return Batch(pictures, PROMPTS.get(name, "a cat"), pictures.roll(1, 0))


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_image_is_not_judged_and_harms_no_other(verifiers, name):
    pictures = images(4)
    expected = verifiers[name].score(Batch(pictures[1:3], PROMPTS.get(name, "a cat"), pictures[1:3]))
    pictures[0, 0, 0, 0], pictures[3, 5, 5, 1] = torch.nan, torch.inf
    scores = verifiers[name].score(Batch(pictures, PROMPTS.get(name, "a cat"), pictures))
    assert scores.isnan().tolist() == [True, False, False, True]
    assert torch.allclose(scores[1:3], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape, message", [((1, 1, 100_000, 3), "100000 x 1 pixels"), ((1, 100_000, 1, 3), "1 x 100000 pixels"), ((1, 64, 64, 4), "of shape"), ((0, 64, 64, 3), "of shape")])
def test_absurd_shapes_are_refused(verifiers, name, shape, message):
    with pytest.raises(ValueError, match=message):
        verifiers[name].score(batch(name, torch.full(shape, 0.5)))


@pytest.mark.parametrize("name", NAMES)
def test_values_out_of_range_give_numbers_or_nan(verifiers, name):
    scores = verifiers[name].score(batch(name, images(3) * 6 - 2))
    assert scores.shape == (3,) and scores.dtype == torch.float32 and not scores.isinf().any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompt", ["", " \n\t "], ids=["empty", "blank"])
def test_an_empty_prompt_is_refused_where_one_is_needed(verifiers, name, prompt):
    ask = Batch(images(2), prompt, images(2, seed=1))
    if name in NEED_A_PROMPT:
        with pytest.raises(ValueError, match="prompt, which is empty"):
            verifiers[name].score(ask)
    else:
        assert verifiers[name].score(ask).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompt", ["a very long prompt " * 550, "\u0000\ud7ff\U0010ffff ((((" * 1000, "'; drop table; {}\\"], ids=["10 kB", "odd characters", "quotes"])
def test_a_monstrous_prompt_is_read_or_refused(verifiers, name, prompt):
    ask = Batch(images(2), prompt, images(2, seed=1))
    if name in PROMPTS:  # they know what a prompt must look like
        with pytest.raises(ValueError, match="digit|scene"):
            verifiers[name].score(ask)
    else:
        assert verifiers[name].score(ask).isfinite().all()
        assert all(isinstance(note, str) for note in verifiers[name].notes(prompt))


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_demo_classifier_is_read_from_its_own_kind_of_file_only(tmp_path):
    good = (files.find(files.VERIFIERS, DIGITS.name)).read_bytes()
    (tmp_path / "short.safetensors").write_bytes(good[:-100])
    (tmp_path / "payload.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "torch.pt")
    settings = {"architecture": "plain", "width": 8, "heads": [10], "size": 32, "grey": True}
    for name, metadata in {
        "plain": None,
        "unknown": {"classifier": json.dumps({**settings, "architecture": "tree"})},
        "more": {"classifier": json.dumps({**settings, "colour": 1})},
        "other": {"classifier": json.dumps(settings)},
    }.items():
        save_file({"weight": torch.zeros(2)}, tmp_path / f"{name}.safetensors", metadata)
    for name, message in {
        "short.safetensors": "not a whole safetensors file",
        "payload.pt": "was refused",
        "torch.pt": "no 'classifier' entry",
        "plain.safetensors": "no 'classifier' entry",
        "unknown.safetensors": "settings that make no classifier",
        "more.safetensors": "settings that make no classifier",
        "other.safetensors": "does not hold the weights of the classifier that its settings describe",
    }.items():
        with pytest.raises(ValueError, match=message):
            DigitClassifier(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match=r"a classifier for something else.*\[10\] are needed"):
        DigitClassifier(resolve("test", files.VERIFIERS, "auto", (SCENES,)))
