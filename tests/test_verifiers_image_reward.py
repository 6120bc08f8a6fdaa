"""ImageReward in transformers' modules against the package's own, on tiny weights of its layout.

The package's rewards are computed by tools/verifier_references: once for tests/fixtures/image_reward.json, and anew on the machine of the test.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from reward_weights import ALL_WORDS, PROMPTS, inputs, pictures, published_shapes, weights
from verifier_helpers import images
from verifier_references import make

from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.image_reward import TOKENS, ImageReward, load_network, load_tokenizer

REFERENCE = json.loads(
    (Path(__file__).parent / "fixtures" / "image_reward.json").read_text(encoding="utf-8")
)["values"]


def write(path, **changes):
    state = {
        name: torch.from_numpy(value) for name, value in weights({**REFERENCE["shapes"], **changes}).items()
    }
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(64)[
        None
    ]  # in the published file, unused
    state["blip.vision_proj.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """A tiny ImageReward that knows all of BERT's words."""
    words = "blip.text_encoder.embeddings.word_embeddings.weight"
    return ImageReward(
        write(
            tmp_path_factory.mktemp("reward") / "ImageReward.pt",
            **{words: (ALL_WORDS, REFERENCE["shapes"][words][1])},
        )
    )


@pytest.fixture(scope="module")
def packages():
    """What the package computes on this machine: the same bits are to be had on one machine only."""
    return make.values("image_reward")


@pytest.fixture
def network(tmp_path):
    return load_network(write(tmp_path / "ImageReward.pt")).train(False)


@torch.no_grad()
def rewards(network):
    """[prompts, images], one by one."""
    pixels, ids, mask = map(torch.from_numpy, inputs())
    return torch.stack(
        [torch.cat([network(image[None], *words) for image in pixels]) for words in zip(ids, mask)]
    )


@torch.no_grad()
def test_rewards_equal_the_packages(network):
    expected = torch.tensor(REFERENCE["rewards"])
    assert (rewards(network) - expected).abs().max() < 1e-6
    assert expected.std(1).min() > 0.1
    pixels, ids, mask = map(torch.from_numpy, inputs())
    assert max((network(pixels, *words) - row).abs().max() for *words, row in zip(ids, mask, expected)) < 1e-5


def test_rewards_are_the_packages_to_the_last_bit(network, packages):
    assert torch.equal(rewards(network), torch.tensor(packages["rewards"]))


def test_scores_from_prompts_and_pictures_are_the_packages_to_the_last_bit(verifier, packages):
    """Its own `score`: Pillow, torchvision, BERT's tokenizer and what it cuts off, the network."""
    assert torch.tensor(packages["scores"]).std(1).min() > 0.05
    for prompt, expected in zip(PROMPTS, packages["scores"]):
        for picture, score in zip(pictures(), expected):
            batch = ((torch.from_numpy(picture).float() + 0.5)[None] / 255).clamp(
                max=1
            )  # which ComfyUI's truncation turns back into the same bytes
            assert torch.equal(verifier.score(Batch(batch, prompt)), torch.tensor([score])), (
                prompt,
                picture.shape,
            )


def test_a_batch_equals_its_images_one_by_one_and_the_prompt_matters(verifier):
    batch = images(5, 50, 40)
    scores = verifier.score(Batch(batch, "a cat"))
    assert (
        scores - torch.cat([verifier.score(Batch(image[None], "a cat")) for image in batch])
    ).abs().max() < 1e-5
    assert (scores - verifier.score(Batch(batch, "a dog on the moon"))).abs().max() > 1e-3


def test_tokens_are_those_of_transformers_bert_tokenizer(verifier, tmp_path):
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_bytes(
        (Path(__file__).parent.parent / "models" / "verifiers" / "bert_vocab.txt").read_bytes()
    )
    theirs = BertTokenizer.from_pretrained(str(tmp_path))
    theirs.add_special_tokens({"bos_token": "[DEC]"})
    theirs.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    for prompt in (
        "A painting of a cat",
        "Café, naïve; 東京 — 3.5x 'zoom'!",
        "supercalifragilistic " * 20,
        "x",
        "a [ENC] in a [DEC]",
    ):
        expected = theirs(prompt, padding="max_length", truncation=True, max_length=TOKENS)
        ids, mask = verifier.tokens(prompt)
        assert ids.tolist() == expected["input_ids"] and mask.tolist() == expected["attention_mask"], prompt
    assert load_tokenizer().encode("A painting of a cat").ids == [101, 1037, 4169, 1997, 1037, 4937, 102]


def test_text_that_is_cut_off_is_reported(verifier):
    assert verifier.notes("a short prompt") == ()
    assert verifier.notes("word " * 40) == ("reads 35 of the prompt's 42 tokens; the end is ignored",)
    assert verifier.score(Batch(images(1), "many words " * 1000)).isfinite().all()


def test_other_files_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt does not hold ImageReward as published"):
        load_network(tmp_path / "other.pt")
    shape = REFERENCE["shapes"]["mlp.layers.2.weight"]
    with pytest.raises(ValueError, match="does not hold the weights of ImageReward.*head.2.weight"):
        load_network(write(tmp_path / "odd.pt", **{"mlp.layers.2.weight": (shape[0], shape[1] + 1)}))


def test_scoring_needs_no_package_of_imagerewards_own(verifier):
    verifier.score(Batch(images(1), "a cat"))
    assert not {"ImageReward", "fairscale", "diffusers", "datasets"} & set(sys.modules)


@pytest.mark.slow
def test_the_published_shapes_load(tmp_path):
    """The true sizes (446 million weights, 1.79 GB): keys and shapes of the published file."""
    state = {name: torch.zeros(shape) for name, shape in published_shapes(REFERENCE["shapes"]).items()}
    assert sum(value.numel() for value in state.values()) == pytest.approx(446.2e6, rel=0.002)
    torch.save(state, tmp_path / "ImageReward.pt")
    del state
    verifier = ImageReward(tmp_path / "ImageReward.pt")
    assert verifier.preprocess.size == 224
    assert verifier.score(Batch(images(1), "a cat")).isfinite().all()
