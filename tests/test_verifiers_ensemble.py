"""The ensemble's declaration, its node, and the sanity gate."""

import comfy.model_management as mm
import pytest
import torch
from verifier_helpers import images

from noisesearch.nodes.ensemble import NoiseSearchVerifierEnsemble
from noisesearch.session.judging import Judge
from noisesearch.verifiers.base import Batch, Verifier
from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.verifiers.ensemble import Ensemble, gated
from noisesearch.verifiers.sanity import healthy


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
    (verifier,) = NoiseSearchVerifierEnsemble.execute(
        **{"method": "average rank", "sanity_gate": True, **inputs}
    ).result
    return verifier


def test_the_node_gathers_what_is_connected():
    first, second, witness = Brightness(), Foreign(), Brightness()
    made = ensemble(
        verifier_2=first,
        verifier_5=second,
        weight_2=2.0,
        weight_5=0.5,
        weight_1=9.0,
        method="z-score",
        held_out=witness,
    )
    assert isinstance(made, Ensemble) and made.method == "z-score" and made.weights == (2.0, 0.5)
    assert [member.name for member in made.members] == [
        "brightness",
        "foreign",
    ] and made.name == "brightness + foreign"
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
        ({"verifier_1": Brightness(), "weight_1": float("inf")}, "weight_1 is a number, not inf"),
        ({"verifier_1": "a string"}, "this str is not"),
        ({"verifier_1": Brightness(), "held_out": object()}, "this object is not"),
        ({"verifier_1": Brightness(), "method": "vote"}, "'vote'"),
        (
            {"verifier_1": Ensemble((Brightness(),), (1.0,)), "sanity_gate": False},
            "cannot hold another ensemble",
        ),
        (
            {"verifier_1": Ensemble((Brightness(),), (1.0,)), "sanity_gate": True},
            "cannot hold another ensemble",
        ),
        (
            {"verifier_1": Brightness(), "held_out": Ensemble((Brightness(),), (1.0,))},
            "cannot hold another ensemble",
        ),
    ],
)
def test_bad_ensembles_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        ensemble(**inputs)


@pytest.mark.parametrize("weights", [(float("inf"),), (float("nan"),), (-1.0,), (0.0,), (1.0, 1.0)])
def test_weights_that_cannot_be(weights):
    with pytest.raises(ValueError, match="one finite weight per verifier, none negative and not all 0"):
        Ensemble((Brightness(),), weights)


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
        **{
            f"{name} with grain": (
                level + 0.015 * torch.randn(good.shape, generator=torch.Generator().manual_seed(1))
            ).clamp(0, 1)
            for name, level in (("black", 0.0), ("grey", 0.5))
        },
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


def drawing(size=256, paper=1.0, ink=0.0, thickness=2):
    """Thin lines: hard black on white unless it says otherwise."""
    picture = torch.full((size, size, 3), paper)
    for at in (60, 90, 120):
        picture[at : at + thickness, 40:200] = ink
    return picture


def pictures_that_look_broken():
    """Name -> what a careless gate takes for black, blown out or flat."""
    generator = torch.Generator().manual_seed(0)
    disc = torch.ones(256, 256, 3)
    disc[100:130, 100:130] = torch.tensor([1.0, 0.0, 0.0])
    stars = torch.zeros(512, 512, 3)
    stars[
        torch.randint(512, (300,), generator=generator), torch.randint(512, (300,), generator=generator)
    ] = 1.0
    fog = 0.7 + 0.01 * torch.randn(32, 32, 1, generator=generator).repeat_interleave(8, 0).repeat_interleave(
        8, 1
    ).expand(-1, -1, 3)
    lamp = torch.full((256, 256, 3), 0.03)
    lamp[20:26, 30:36] = 0.6
    return {
        "black on white": drawing(),
        "white on black": drawing(paper=0.0, ink=1.0),
        "grey on white": drawing(ink=0.8),
        "a red disc on white": disc,
        "a night of stars": stars,
        "fog": fog,
        "a lamp in a dark room": lamp,
    }


@pytest.mark.parametrize("name", pictures_that_look_broken())
def test_the_gate_lets_unusual_pictures_pass(name):
    assert healthy(pictures_that_look_broken()[name][None]).all()


class Recording(Brightness):
    def __init__(self):
        self.seen = []

    def score(self, batch):
        self.seen.append(batch.images)
        return super().score(batch)


def test_behind_the_gate_nobody_is_shown_broken_images():
    good, member, witness = images(2), Recording(), Recording()
    batch = torch.cat([good, *(image[None] for image in broken_images(good[0]).values())])
    judge = Judge(ensemble(verifier_1=member, verifier_2=member, held_out=witness), "x")
    rows = torch.tensor(judge(batch, range(len(batch))))
    assert torch.equal(rows[:2, 0], Brightness().score(Batch(good, "x"))) and rows[2:].isnan().all()
    assert [len(shown) for shown in member.seen] == [2, 2] and member.seen[0] is member.seen[1], (
        "all are shown the same tensor"
    )
    assert len(witness.seen) == 1 and torch.equal(
        torch.tensor([judge.witness[i] for i in range(2)]), rows[:2, 0]
    )
    (note,) = [note for note in judge.notes() if "sanity gate" in note]
    assert f"rejected {len(batch) - 2} images" in note
    assert "turn its sanity_gate off" in note
    assert Judge(ensemble(verifier_1=member), "x")(batch[2:]) == [
        (pytest.approx(float("nan"), nan_ok=True),)
    ] * (len(batch) - 2)
    assert len(member.seen) == 2, "with nothing to show, nobody is asked"
    open_gate = Judge(ensemble(verifier_1=Brightness(), sanity_gate=False), "x")
    assert open_gate(batch[2:3]) == [(0.0,)]


def test_a_lone_judge_stands_behind_the_gate_too():
    """Of a judge that likes dark images a black one would win; Combine Judges can say that it is meant."""
    darkest = Foreign()
    darkest.score = lambda batch: -batch.images.flatten(1).mean(1)
    black = torch.zeros(1, *images(1).shape[1:])
    batch = torch.cat([black, images(2)])

    def order(verifier):
        node = NoiseSearchScoreImages.execute([batch], [verifier], [""], [0], [-1e6])
        return node.result[-1]["order"]

    assert order(darkest)[-1] == 0
    assert order(ensemble(verifier_1=darkest, sanity_gate=False))[0] == 0
    given = ensemble(verifier_1=darkest, sanity_gate=False)
    assert gated(None) is None and gated(given) is given and gated(darkest).sanity_gate


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize(
    "answer",
    [[0.1, 0.2, 0.3], torch.tensor([[0.1], [0.2], [0.3]]), torch.tensor([0.1, 0.2, 0.3]).double().numpy()],
    ids=["list", "column", "array"],
)
def test_verifiers_of_other_packs_may_answer_in_any_shape_of_that_many_numbers(gate, answer):
    foreign = Foreign()
    foreign.score = lambda batch: answer
    judge = Judge(ensemble(verifier_1=foreign, sanity_gate=gate), "")
    assert judge(images(3)) == [(pytest.approx(score),) for score in (0.1, 0.2, 0.3)]


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("answer", [0.5, [0.5], [0.1] * 4])
def test_verifiers_that_give_another_number_of_scores_are_refused(gate, answer):
    foreign = Foreign()
    foreign.score = lambda batch: answer
    with pytest.raises(RuntimeError, match='"foreign" gave . scores for 3 images'):
        Judge(ensemble(verifier_1=foreign, sanity_gate=gate), "")(images(3))


def test_cancel_and_missing_memory_reach_comfyui_as_they_are(monkeypatch):
    for error in (mm.InterruptProcessingException, torch.cuda.OutOfMemoryError):
        foreign = Foreign()
        foreign.score = lambda batch, error=error: (_ for _ in ()).throw(error())
        with pytest.raises(error):
            Judge(foreign, "")(images(1))
    foreign.score = lambda batch: 1 / 0
    with pytest.raises(RuntimeError, match='"foreign" failed: division by zero'):
        Judge(foreign, "")(images(1))


def test_a_video_passes_when_half_of_its_frames_do():
    good = images(4)
    black = torch.zeros_like(good)
    fade_in, mostly_black = torch.cat([black[:2], good]), torch.cat([black, good[:2]])
    assert healthy(torch.stack([fade_in, mostly_black])).tolist() == [True, False]
