"""The self-supervised verifier: against open_clip used directly, inside a search, and where it cannot work."""

import open_clip
import pytest
import torch
from closed_form import PixelVAE
from graphs import Graph
from verifier_helpers import images, pil, write_clip_folder

from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.nodes.ensemble import NoiseSearchVerifierEnsemble
from noisesearch.nodes.feature_verifiers import NoiseSearchSelfSupervised
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.judges.self_supervised import SelfSupervised


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip_folder(tmp_path_factory.mktemp("clip") / "tiny")


class Pixels:
    """The image itself, centred, as its features."""

    def image_features(self, images):
        return images.flatten(1) - 0.5


class Watched(SelfSupervised):
    """Remembers what a search gave it."""

    def score(self, batch):
        self.batch = batch
        return super().score(batch)


@torch.no_grad()
def test_the_score_is_the_cosine_of_open_clips_features(folder):
    late, early = images(4, 60, 50, seed=1), images(4, 60, 50, seed=2)
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    seen = [
        torch.stack([network.encode_image(transform(pil(image))[None])[0] for image in batch])
        for batch in (late, early)
    ]
    expected = torch.cosine_similarity(*seen)
    judge = SelfSupervised(load_tower(folder))
    scores = judge.score(Batch(late, previews=early))
    assert (scores - expected).abs().max() < 2e-6 and expected.std() > 1e-4
    singles = torch.cat(
        [judge.score(Batch(one[None], previews=other[None])) for one, other in zip(late, early)]
    )
    assert (scores - singles).abs().max() < 1e-5
    assert (judge.score(Batch(late, previews=late.clone())) > 0.9999).all()


@pytest.mark.parametrize("search", [RandomSearch(), ZeroOrder(3, 0.8)], ids=["random", "zero-order"])
@pytest.mark.parametrize("gate", [False, True], ids=["bare", "gated"])
@torch.inference_mode()
def test_a_search_follows_it(search, gate):
    graph, judge = Graph.mixture("EPS", steps=10), Watched(Pixels())
    (verifier,) = NoiseSearchVerifierEnsemble.execute("average rank", gate, verifier_1=judge).result
    found = graph.search(search, verifier=verifier, candidates=6, batch_size=6)
    image = found.report["images"][0]
    scores = [candidate["scores"][0] for candidate in image["candidates"]]
    cosine = torch.cosine_similarity(
        Pixels().image_features(judge.batch.images), Pixels().image_features(judge.batch.previews)
    )
    assert scores[-len(cosine) :] == pytest.approx(cosine.tolist(), abs=1e-5)
    assert max(scores) == scores[image["winner"]["id"]] and max(scores) - min(scores) > 1e-3
    assert found.report["totals"]["nfe"] == 6 * 10  # the prediction was there anyway


def test_verifiers_on_one_tower_run_it_once_for_images_and_once_for_previews(folder, monkeypatch):
    tower, rows, run = load_tower(folder), [], load_tower(folder).model.run
    reference = ReferenceSimilarity(tower, images(1, seed=9))
    monkeypatch.setattr(
        tower.model,
        "run",
        lambda function, batch, *more: rows.append(len(batch)) or run(function, batch, *more),
    )
    batch = Batch(images(3, seed=1), "a cat", images(3, seed=2))
    for judge in (ClipScore(tower), SelfSupervised(tower), reference, SelfSupervised(tower)):
        judge.score(batch)
    assert rows == [3, 1, 3]  # images, the text, previews


def test_a_broken_image_or_prediction_cannot_be_judged():
    late, early = images(3, seed=1), images(3, seed=2)
    late[0, 0, 0, 0], early[2, 0, 0, 0] = torch.nan, torch.inf
    scores = SelfSupervised(Pixels()).score(Batch(late, previews=early))
    assert scores.isfinite().tolist() == [False, True, False]


def test_a_video_is_compared_frame_by_frame():
    late, early = images(8, seed=1).unflatten(0, (2, 4)), images(8, seed=2).unflatten(0, (2, 4))
    (judge,) = NoiseSearchSelfSupervised.execute(Pixels()).result
    frames = torch.cosine_similarity(
        Pixels().image_features(late.flatten(0, 1)), Pixels().image_features(early.flatten(0, 1))
    )
    assert torch.allclose(judge.score(Batch(late, previews=early)), frames.view(2, 4).mean(1), atol=1e-5)


def test_it_says_where_it_works():
    judge = SelfSupervised(Pixels())
    with pytest.raises(RuntimeError, match="preview at flow time 0.4.*inside a search only"):
        NoiseSearchScoreImages.execute([images(2)], [judge], [""], [0], [-1e6])
    with pytest.raises(ValueError, match="Use random or zero-order search"):
        Graph.mixture("CONST").search(SearchOverPaths(2), verifier=judge, vae=PixelVAE(), budget_nfe=300)
