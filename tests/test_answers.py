"""A verifier may say what its scores are made of: that stands in the report, in Score and Sort Images' and in the node."""

import pytest
import torch
from graphs import Graph
from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.search.algorithms import RandomSearch
from noisesearch.session import progress
from noisesearch.session.judging import Judge
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.ensemble import Ensemble
from stand_in_vlm import StandIn
from verifier_helpers import images

from noisesearch.verifiers.judges.vlm_presets import vlm_judge


def judge_of(text="Is there a circle?\nIs it left of the star?", mind=None):
    mind = mind or (lambda picture, said: float(picture.mean()) * (0.5 if "of the star" in said else 1.0))
    return vlm_judge(StandIn(mind), "checks of the prompt", text, "mean")


class Plain:
    name = "plain"

    def score(self, batch):
        return batch.images.mean((1, 2, 3)).cpu()


@torch.inference_mode()
def test_answers_stand_in_the_report_and_the_winners_in_the_node(monkeypatch):
    said = []
    monkeypatch.setattr(progress.LiveProgress, "say", lambda self, text: said.append(text))
    ensemble = Ensemble((Plain(), judge_of()), (1.0, 0.0), held_out=judge_of("Is it bright?\nIs it?"))
    found = Graph.mixture("CONST").search(RandomSearch(), verifier=ensemble, candidates=3)
    image = found.report["images"][0]
    for one in image["candidates"]:
        assert list(one["answers"]) == ["VLM questions", "VLM questions (held out)"]
        own = one["answers"]["VLM questions"]
        assert list(own) == ["circle", "left of the star"]
        assert sum(own.values()) / 2 == pytest.approx(one["scores"][1], abs=1e-6)
        assert list(one["answers"]["VLM questions (held out)"]) == ["bright", "it"]
    winner = next(one for one in image["candidates"] if one["id"] == image["winner"]["id"])
    number = winner["answers"]["VLM questions"]
    assert said[-1].splitlines()[1].startswith(" · ".join(f"{name} {p:.2f}" for name, p in number.items()))
    assert any("circle 0." in text for text in said[:-1])


def test_answers_belong_to_the_images_that_were_judged():
    batch = images(4)
    batch[1, 0, 0, 0] = torch.nan
    judge = Judge(judge_of(), "")
    rows = judge(batch, [10, 11, 12, 13])
    assert set(judge.answers) == {10, 12, 13}
    for id, (score,) in zip((10, 12, 13), (rows[0], rows[2], rows[3])):
        assert sum(judge.answers[id]["VLM questions"].values()) / 2 == pytest.approx(score, abs=1e-6)


def test_what_memory_cuts_in_halves_keeps_its_answers():
    import comfy.model_management as mm

    judge = judge_of()
    score = judge.score

    def short(batch):
        if len(batch.images) > 1:
            raise mm.OOM_EXCEPTION("out of memory")
        return score(batch)

    judge.score = short
    asked = Judge(judge, "")
    rows = asked(images(3), [0, 1, 2])
    assert [sum(asked.answers[i]["VLM questions"].values()) / 2 for i in range(3)] == [
        pytest.approx(row[0], abs=1e-6) for row in rows
    ]


class Strange(Plain):
    """Scores well, and talks nonsense."""

    def __init__(self, said):
        self.said = said

    def answers(self):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    "said",
    [None, 3, [], [{}], [{"a": "no number"}] * 2, [None, None], RuntimeError("broken"), [{"a": [1]}, {}]],
    ids=str,
)
def test_a_verifier_that_tells_nonsense_loses_nothing_but_its_answers(said):
    judge = Judge(Strange(said), "")
    assert len(judge(images(2), [0, 1])) == 2 and judge.answers == {} and judge.notes() == []


def test_strange_words_are_made_short():
    judge = Judge(Strange([{"\ud800" * 500: 1, **{f"n{i}": i for i in range(100)}}] * 2), "")
    judge(images(2), [0, 1])
    (answers,) = judge.answers[0].values()
    assert len(answers) == 64 and all(len(name) < 100 and name.encode() for name in answers)


def test_score_images_says_them_too():
    shown = NoiseSearchScoreImages.execute([images(2)], [judge_of()], [""], [0], [-1e6])
    for one in shown.result[5]["images"]:
        assert sum(one["answers"]["VLM questions"].values()) / 2 == pytest.approx(one["scores"][0], abs=1e-6)
    plain = NoiseSearchScoreImages.execute([images(2)], [Plain()], [""], [0], [-1e6])
    assert all("answers" not in one for one in plain.result[5]["images"])


def test_videos_have_the_answers_of_their_frames():
    judge = judge_of()
    videos = images(6).unflatten(0, (2, 3))
    scores = judge.score(Batch(videos))
    frames = judge.score(Batch(videos[0]))
    assert float(scores[0]) == pytest.approx(float(frames.mean()), abs=1e-6)
    single = [one["circle"] for one in judge.answers()]
    judge.score(Batch(videos))
    assert judge.answers()[0]["circle"] == pytest.approx(sum(single) / 3)
