"""The ensemble's declaration, its node, and the sanity gate."""
import pytest
import torch
from verifier_helpers import images

from noisesearch.nodes.ensemble import NoiseSearchVerifierEnsemble
from noisesearch.verifiers.base import Batch, Verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.sanity import Gated, healthy


class Brightness(Verifier):
    name = "brightness"
    needs_prompt = True

    def score(self, batch):
        return batch.images.flatten(1).mean(1)

    def notes(self, prompt):
        return (f"read {prompt}",)


class Foreign:
    """A verifier of another pack: any object with a name and a score method."""

    name = "foreign"

    def score(self, batch):
        return torch.zeros(len(batch.images))


def ensemble(**inputs):
    (verifier,) = NoiseSearchVerifierEnsemble.execute(**{"method": "average rank", "sanity_gate": True, **inputs}).result
    return verifier


def test_the_node_gathers_what_is_connected():
    first, second, witness = Brightness(), Foreign(), Brightness()
    made = ensemble(verifier_2=first, verifier_5=second, weight_2=2.0, weight_5=0.5, weight_1=9.0, method="z-score", held_out=witness)
    assert isinstance(made, Ensemble) and made.method == "z-score" and made.weights == (2.0, 0.5)
    assert [member.name for member in made.members] == ["brightness", "foreign"] and made.name == "brightness + foreign"
    assert made.held_out is witness


def test_members_of_one_name_are_numbered_and_stay_themselves():
    made = ensemble(verifier_1=Brightness(), verifier_2=Brightness(), verifier_3=Brightness())
    assert [member.name for member in made.members] == ["brightness", "brightness 2", "brightness 3"]
    batch = Batch(images(2), "x")
    assert torch.equal(made.members[1].score(batch), Brightness().score(batch))
    assert made.members[2].needs_prompt and made.members[2].notes("a cat") == ("read a cat",)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "no verifier connected"),
        ({"verifier_1": Brightness(), "weight_1": 0.0}, "not all 0"),
        ({"verifier_1": Brightness(), "method": "vote"}, "'vote'"),
        ({"verifier_1": Ensemble((Brightness(),), (1.0,)), "sanity_gate": False}, "cannot hold another ensemble"),
        ({"verifier_1": Ensemble((Brightness(),), (1.0,)), "sanity_gate": True}, "cannot hold another ensemble"),
        ({"verifier_1": Brightness(), "held_out": Ensemble((Brightness(),), (1.0,))}, "cannot hold another ensemble"),
    ],
)
def test_bad_ensembles_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        ensemble(**inputs)


def broken_images(good):
    """Name -> an image that should never win."""
    nan = good.clone()
    nan[3, 3, 0] = torch.nan
    return {
        "black": torch.zeros_like(good),
        "white": torch.ones_like(good),
        "grey": torch.full_like(good, 0.5),
        "one pale colour": torch.tensor([0.7, 0.7, 0.68]).expand_as(good),
        "one strong colour": torch.tensor([0.9, 0.1, 0.1]).expand_as(good),
        "pure green": torch.tensor([0.0, 0.6, 0.0]).expand_as(good),
        "almost flat": 0.5 + 0.01 * (good - 0.5),
        "blown out": (good > 0.5).float(),
        "nan": nan,
        "infinite": good / 0,
    }


def test_the_gate_keeps_pictures_and_stops_broken_ones():
    good = images(1)[0]
    assert healthy(torch.stack([good, good * 0.2, 1 - good * 0.2, good.round(decimals=1)])).all()
    for name, image in broken_images(good).items():
        assert not healthy(image[None]).any(), name


def test_a_dark_digit_on_black_is_a_picture():
    digit = torch.zeros(1, 64, 64, 3)
    digit[:, 12:52, 28:36] = torch.linspace(0.1, 0.95, 8)[:, None]
    assert healthy(digit).all()


def test_a_gated_verifier_cannot_judge_broken_images():
    good = images(2)
    batch = Batch(torch.cat([good, *(image[None] for image in broken_images(good[0]).values())]), "x")
    scores = Gated(Brightness()).score(batch)
    assert torch.equal(scores[:2], Brightness().score(Batch(good, "x")))
    assert scores[2:].isnan().all()


def test_a_video_passes_when_half_of_its_frames_do():
    good = images(4)
    black = torch.zeros_like(good)
    fade_in, mostly_black = torch.cat([black[:2], good]), torch.cat([black, good[:2]])
    assert healthy(torch.stack([fade_in, mostly_black])).tolist() == [True, False]
