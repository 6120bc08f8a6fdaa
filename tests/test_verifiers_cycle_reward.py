"""CycleReward against its own package, on tiny weights of its layout (tools/verifier_references/cycle_reward.py made the numbers)."""

import json
from pathlib import Path

import pytest
import torch
from reward_weights import pictures, weights
from safetensors.torch import save_file
from verifier_helpers import images

from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.cycle_reward import CycleReward
from noisesearch.verifiers.judges.image_reward import ImageReward

FIXTURE = Path(__file__).parent / "fixtures" / "cycle_reward.json"
REFERENCE = json.loads(FIXTURE.read_text(encoding="utf-8"))["values"]


def state():
    return {name: torch.from_numpy(value) for name, value in weights(REFERENCE["shapes"]).items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both kinds of file that there are."""
    folder = tmp_path_factory.mktemp("cycle")
    torch.save(state(), folder / "CycleReward-Combo.pth")
    save_file(state(), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("file", ["CycleReward-Combo.pth", "model.safetensors"])
def test_scores_from_prompts_and_pictures_are_the_packages(folder, file):
    judge = CycleReward(folder / file)
    for prompt, expected in zip(REFERENCE["prompts"], REFERENCE["scores"]):
        for picture, score in zip(pictures(), expected):
            batch = ((torch.from_numpy(picture).float() + 0.5)[None] / 255).clamp(max=1)
            assert judge.score(Batch(batch, prompt)).item() == pytest.approx(score, abs=1e-6), prompt
    assert torch.tensor(REFERENCE["scores"]).std(1).min() > 0.02


def test_it_reads_far_more_of_a_prompt_than_image_reward(folder):
    judge, batch = CycleReward(folder / "CycleReward-Combo.pth"), images(2)
    long = "a cat and a dog " * 12
    assert judge.notes(long) == ()
    assert judge.notes("word " * 200) == ("reads 128 of the prompt's 202 tokens; the end is ignored",)
    changed = judge.score(Batch(batch, long + "on the moon")) - judge.score(Batch(batch, long + "in a house"))
    assert changed.abs().min() > 1e-6
    beyond = "word " * 126
    assert torch.equal(judge.score(Batch(batch, beyond + "cat")), judge.score(Batch(batch, beyond + "dog")))


def test_the_two_rewards_do_not_take_each_others_files(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"does not hold ImageReward as published .*lacks mlp.layers.7.weight"
    ):
        ImageReward(folder / "CycleReward-Combo.pth")
    other = {name.replace("layers.8.", "layers.7."): value for name, value in state().items()}
    torch.save(other, tmp_path / "ImageReward.pt")
    with pytest.raises(
        ValueError, match=r"does not hold CycleReward as published .*lacks mlp.layers.8.weight"
    ):
        CycleReward(tmp_path / "ImageReward.pt")
