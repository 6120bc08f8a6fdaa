"""The verifiers of a search: what is asked before anything is paid, and what becomes of a search when one of them fails."""

import comfy.model_management as mm
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent
from verifier_helpers import images

from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.sampling import jobs
from noisesearch.session.decoding import decoder
from noisesearch.session.judging import FINAL, Judge
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.judges.self_supervised import EARLY, SelfSupervised, note_on_level

OUT_OF_MEMORY = mm.OOM_EXCEPTION


class Bright(Verifier):
    name = "bright"

    def score(self, batch):
        return batch.images.flatten(1).mean(1)


class Foreign:
    """Another pack's verifier, which answers as it is told."""

    name = "foreign"

    def __init__(self, answer=None, notes=(), most=None):
        self.answer, self.said, self.most, self.asked = answer, notes, most, []

    def score(self, batch):
        self.asked.append(len(batch.images))
        if self.most is not None and len(batch.images) > self.most:
            raise OUT_OF_MEMORY("no room")
        if isinstance(self.answer, Exception):
            raise self.answer
        return batch.images.flatten(1).mean(1) if self.answer is None else self.answer(batch)

    def notes(self, prompt):
        return self.said(prompt) if callable(self.said) else self.said


class Failing(Foreign):
    """Judges so many images, then fails."""

    def __init__(self, works, error=None):
        super().__init__()
        self.works, self.error = works, error or ValueError("the line is down")

    def score(self, batch):
        if self.works < len(batch.images):
            raise self.error
        self.works -= len(batch.images)
        return super().score(batch)


def fail(*arguments):
    raise KeyError("nothing here")


# -- notes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said, expected",
    [
        (fail, "foreign: its notes could not be read (KeyError: \"'nothing here'\")"),
        (None, "foreign: its notes could not be read (TypeError: "),
        (7, "foreign: its notes could not be read (TypeError: "),
        ("one note, not a list", "foreign: one note, not a list"),
        (["a", 3], "foreign: 3"),
        (["für \ud800"], "foreign: für \\ud800"),
        (["x" * 10_000_000], "foreign: " + "x" * 1000 + " ..."),
    ],
    ids=["raises", "None", "a number", "text", "a number in a list", "half a character", "10 MB"],
)
@torch.inference_mode()
def test_notes_of_any_kind_lose_nothing(said, expected):
    found = Graph.mixture("CONST").search(candidates=3, verifier=Foreign(notes=said))
    assert any(note.startswith(expected) for note in found.report["notes"]), found.report["notes"]
    assert found.report["totals"]["nfe"] == 3 * 6 and all(len(note) < 1200 for note in found.report["notes"])
    "".join(found.report["notes"]).encode()


# -- memory -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3, 16])
@torch.inference_mode()
def test_a_verifier_without_memory_gets_fewer_images_at_a_time(most):
    judge, free = Foreign(most=most), Foreign()
    pictures = images(16)
    rows = Judge(judge, "")(pictures)
    assert [row[0] for row in rows] == pytest.approx([row[0] for row in Judge(free, "")(pictures)])
    assert sum(asked for asked in judge.asked if asked <= most) == 16 and free.asked == [16]


def test_the_size_that_fitted_is_kept_and_other_members_keep_theirs():
    small, free = Foreign(most=4), Foreign()
    judge = Judge(Ensemble((small, free), (1.0, 1.0)), "")
    judge(images(16)), judge(images(16))
    assert small.asked[:3] == [16, 8, 4] and set(small.asked[3:]) == {4} and free.asked == [16, 16]


def test_a_verifier_without_memory_for_one_image_is_named_and_other_models_are_moved_out_first(monkeypatch):
    unloaded = []
    monkeypatch.setattr(mm, "unload_all_models", lambda: unloaded.append(True))
    with pytest.raises(OUT_OF_MEMORY, match='"foreign" ran out of memory, even with one image'):
        Judge(Foreign(most=0), "")(images(4))
    assert unloaded == [True]


class PickyVAE(PixelVAE):
    """Has memory for so many latents."""

    def __init__(self, most, error=None):
        super().__init__()
        self.most, self.error, self.sizes = most, error, []

    def decode(self, latents):
        self.sizes.append(len(latents))
        if len(latents) > self.most:
            raise self.error or OUT_OF_MEMORY("no room")
        return super().decode(latents)


@torch.inference_mode()
def test_a_vae_without_memory_gets_fewer_latents_at_a_time():
    latents, vae = some_latent(7), PickyVAE(2)
    decode = decoder(vae)
    assert torch.equal(decode(latents), PixelVAE().decode(latents))
    assert vae.sizes == [7, 4, 2, 2, 2, 1]
    found = Graph.mixture("CONST").search(candidates=8, batch_size=8, vae=PickyVAE(1))
    assert found.recipes == Graph.mixture("CONST").search(candidates=8, batch_size=8).recipes


@pytest.mark.parametrize(
    "vae, kind, message",
    [
        (PickyVAE(0), OUT_OF_MEMORY, "The VAE ran out of memory, even with one image. no room"),
        (
            PickyVAE(0, ValueError("wrong channels \ud800")),
            RuntimeError,
            r"The VAE failed: wrong channels \\ud800",
        ),
        (PickyVAE(0, KeyError()), RuntimeError, "The VAE failed: KeyError"),
    ],
)
@torch.inference_mode()
def test_a_vae_that_fails_is_named(vae, kind, message):
    with pytest.raises(kind, match=message):
        Graph.mixture("CONST").search(candidates=2, vae=vae, verifier=Bright())


def test_cancelling_while_decoding_is_a_cancel():
    with pytest.raises(mm.InterruptProcessingException):
        decoder(PickyVAE(0, mm.InterruptProcessingException()))(some_latent(2))


# -- verifiers that fail ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ValueError("the line is down"), OUT_OF_MEMORY("no room"), KeyError(), RecursionError()],
    ids=lambda error: type(error).__name__,
)
def test_a_verifier_that_fails_after_it_has_judged_loses_nothing(error, monkeypatch):
    monkeypatch.setattr(mm, "unload_all_models", lambda: None)
    judge = Judge(Failing(3, error), "")
    first = judge(images(3), [0, 1, 2])
    assert judge(images(3, seed=1), [3, 4, 5]) == [(pytest.approx(torch.nan, nan_ok=True),)] * 3
    assert all(row[0] > 0 for row in first)
    fault, missing = judge.notes()
    assert fault.startswith('The verifier "foreign"') and fault.endswith(
        "Its scores of 3 images are missing."
    )
    assert missing == "3 of 6 candidates could not be judged (NaN) and rank last."


@torch.inference_mode()
def test_an_image_that_a_verifier_trips_over_does_not_cost_the_others():
    """Nor the search: all of it is paid before the verifier sees the first image."""

    def answer(batch):
        if (batch.images.flatten(1).mean(1) > middle).any():
            raise ValueError("too bright for me")
        return batch.images.flatten(1).mean(1)

    graph = Graph.mixture("CONST")
    plain = graph.search(candidates=6, verifier=Bright()).report["images"][0]
    scores = [candidate["scores"][0] for candidate in plain["candidates"]]
    middle = sorted(scores)[4] + 1e-4  # one is above
    found = graph.search(candidates=6, verifier=Foreign(answer))
    image = found.report["images"][0]
    assert found.report["totals"]["nfe"] == 6 * 6 and found.report["totals"]["verifier_calls"] == 5
    assert [c["scores"][0] for c in image["candidates"]] == [
        pytest.approx(score, abs=1e-4) if score < middle else None for score in scores
    ]
    assert image["winner"]["scores"] == [pytest.approx(sorted(scores)[4], abs=1e-4)]
    assert (
        'The verifier "foreign" failed: too bright for me Its scores of 1 images are missing.'
        in (found.report["notes"])
    )


def test_a_verifier_that_is_down_is_not_asked_for_every_image():
    judge = Foreign(ValueError("no line"))
    with pytest.raises(RuntimeError, match="no line"):
        Judge(judge, "")(images(16))
    assert judge.asked == [16, 1, 1]


def test_a_verifier_that_counts_wrong_later_loses_nothing():
    counts = iter([2, 3, 3, 3])
    judge = Judge(Foreign(lambda batch: torch.zeros(next(counts))), "")
    judge(images(2), [0, 1])
    assert judge(images(2), [2, 3])[0][0] != 0
    assert "gave 3 scores for 2 images" in judge.notes()[0]


@pytest.mark.parametrize("role", ["held out", "of weight 0"])
@torch.inference_mode()
def test_a_verifier_that_chooses_nothing_may_fail_from_the_first_image_on(role):
    target = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    bad = Foreign(ValueError("broken"))
    both = (
        Ensemble((target,), (1.0,), held_out=bad)
        if role == "held out"
        else Ensemble((bad, target), (0.0, 1.0))
    )
    found = Graph.mixture("CONST").search(candidates=4, verifier=both)
    assert found.recipes == Graph.mixture("CONST").search(candidates=4, verifier=target).recipes
    assert any(
        note == 'The verifier "foreign" failed: broken Its scores of 4 images are missing.'
        for note in found.report["notes"]
    )


@torch.inference_mode()
def test_a_verifier_that_never_works_ends_the_search_and_its_words_are_short_and_plain():
    for error in (
        ValueError("x" * 10_000_000),
        ValueError("\ud800 für"),
        type("Odd", (Exception,), {"__str__": fail})(),
    ):
        with pytest.raises(RuntimeError, match='The verifier "foreign" failed: ') as failed:
            Graph.mixture("CONST").search(verifier=Foreign(error))
        assert str(failed.value).isascii() and len(str(failed.value)) < 1200


def test_a_winner_that_cannot_be_judged_again_keeps_its_scores():
    judge = Judge(Failing(1), "")
    assert judge(images(1), [0])[0][0] > 0
    (row,) = judge(images(1), [FINAL])
    assert row[0] != row[0] and judge.seen == 1 and not judge.warning


# -- nothing could be judged ----------------------------------------------------------------------------------------------------


def not_a_number(batch):
    return torch.full((len(batch.images),), torch.nan)


class BrokenVAE(PixelVAE):
    def decode(self, latents):
        return super().decode(latents) * torch.nan


@torch.inference_mode()
def test_that_nothing_could_be_judged_is_said_and_by_whom():
    found = Graph.mixture("CONST").search(candidates=3, verifier=Foreign(not_a_number))
    assert found.report["notes"] == [
        "All 3 candidates could not be judged (NaN), so the first one is handed on as it is."
    ]
    assert found.report["images"][0]["winner"]["id"] == 0
    broken = Graph.mixture("CONST").search(candidates=3, verifier=Bright(), vae=BrokenVAE())
    assert broken.report["notes"][0] == (
        "3 of 3 images hold NaN or infinity: the model or the VAE broke them, and nobody can judge them."
    )
    assert broken.report["notes"][1].startswith("All 3 candidates could not be judged")


def test_the_warning_is_for_the_node_and_empty_when_something_was_chosen():
    judge = Judge(Ensemble((Foreign(not_a_number), Bright()), (1.0, 1.0)), "")
    assert judge.warning == ""  # nothing was asked yet
    judge(images(2), [0, 1])
    assert judge.warning.startswith("All 2 candidates could not be judged")
    judge = Judge(Ensemble((Foreign(not_a_number), Bright()), (0.0, 1.0)), "")
    judge(images(2), [0, 1])
    assert judge.warning == "" and judge.notes() == []


def test_infinite_scores_are_noted():
    judge = Judge(Foreign(lambda batch: torch.tensor([1.0, torch.inf, -torch.inf])), "")
    assert judge(images(3), [0, 1, 2]) == [(1.0,), (torch.inf,), (-torch.inf,)]
    assert judge.notes() == ["foreign: 2 of its scores are infinite, and decide whatever the others say."]


def test_score_images_says_it_too():
    report = NoiseSearchScoreImages.execute([images(2)], [Foreign(not_a_number)], [""], [0], [-1e6]).result[
        -1
    ]
    assert any("could not be judged" in note for note in report["notes"])


# -- asked before anything is sampled -------------------------------------------------------------------------------------------


class Asks(Bright):
    """Wants a colour in the prompt."""

    name = "asks"
    needs_prompt = True

    def check(self, prompt):
        super().check(prompt)
        if "red" not in prompt:
            raise ValueError("name a colour, such as red")


@pytest.mark.parametrize(
    "verifier",
    [
        Asks(),
        Ensemble((Bright(), Asks()), (1.0, 1.0)),
        Ensemble((Bright(),), (1.0,), held_out=Asks()),
        Ensemble((Asks(), Asks()), (1.0, 0.0)),
    ],
    ids=["alone", "a member", "held out", "the second of a name"],
)
@torch.inference_mode()
def test_what_a_verifier_needs_of_the_prompt_is_asked_before_anything_is_sampled(verifier):
    graph = Graph.mixture("CONST")
    with pytest.raises(ValueError, match='The verifier "asks" cannot judge this: name a colour'):
        graph.search(verifier=verifier, prompt="a cat")
    assert graph.model.spy.calls == 0
    graph.search(verifier=verifier, prompt="a red cat", candidates=2)


@pytest.mark.parametrize(
    "scorer, prompt, message",
    [
        ("digit classifier (demo)", "a cat", "one digit"),
        ("scene attributes (demo)", "a cat", "Cannot read a scene"),
        ("scene attributes (demo)", "", "empty"),
    ],
)
@torch.inference_mode()
def test_the_demos_judges_ask_beforehand(scorer, prompt, message):
    graph = Graph.mixture("CONST")
    with pytest.raises(ValueError, match=message):
        graph.search(verifier=load_verifier(scorer), prompt=prompt)
    assert graph.model.spy.calls == 0


@torch.inference_mode()
def test_a_foreign_check_that_breaks_is_named_and_one_that_is_missing_is_fine():
    broken, needy = Foreign(), Foreign()
    broken.check = fail
    graph = Graph.mixture("CONST")
    with pytest.raises(RuntimeError, match='"foreign" failed to check the prompt'):
        graph.search(verifier=broken)
    assert graph.model.spy.calls == 0
    needy.needs_prompt = True
    with pytest.raises(ValueError, match='"foreign" cannot judge this: .*prompt, which is empty'):
        Judge(needy, " ")
    assert Judge(needy, "a cat")(images(1)) == [(pytest.approx(images(1).mean().item()),)]


# -- a self-supervised verifier on few steps ------------------------------------------------------------------------------------


class Pixels:
    def image_features(self, images):
        return images.flatten(1) - 0.5


@pytest.mark.parametrize(
    "steps, time", [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.5), (5, 0.4), (6, 1 / 3), (10, 0.4), (20, 0.4)]
)
@torch.inference_mode()
def test_the_level_it_compares_at_is_near_or_said_or_refused(steps, time):
    graph = Graph.mixture("CONST", steps=steps)
    if steps == 1:
        with pytest.raises(ValueError, match="nearest level is 1. Use more steps"):
            graph.search(verifier=SelfSupervised(Pixels()))
        assert graph.model.spy.calls == 0
        return
    notes = [
        note
        for note in graph.search(candidates=2, verifier=SelfSupervised(Pixels())).report["notes"]
        if "compared at" in note
    ]
    if abs(time - 0.4) < 0.05:
        assert notes == []
    else:
        (note,) = notes
        said = float(note.removeprefix("Samples are compared at flow time ").split(":")[0])
        assert said == pytest.approx(time, abs=2e-3) and "the schedule has no level nearer to 0.4" in note


@torch.inference_mode()
def test_a_sample_that_begins_near_its_end_is_refused():
    graph = Graph.mixture("CONST", steps=4, denoise=0.1, latent={"samples": some_latent()})
    with pytest.raises(ValueError, match="a higher denoise"):
        graph.search(verifier=SelfSupervised(Pixels()))


def test_both_rooms_mean_the_same_level():
    """The search takes its predictions where the verifier compares them."""
    assert jobs.EARLY == EARLY and note_on_level(EARLY) == ""
