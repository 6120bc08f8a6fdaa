"""What must stay in memory while a pool grows: by ranks, a candidate that was second can come first without being sampled again."""

import math

import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent
from hypothesis import given, settings
from hypothesis import strategies as st
from noisesearch.search import selection
from noisesearch.search.algorithms import RandomSearch
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.rollout import Outcome
from noisesearch.search.selection import METHODS, Comparison, Standing
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.ensemble import Ensemble


class Listed(Verifier):
    """Scores from a list, image by image."""

    def __init__(self, name, scores):
        self.name, self.scores = name, iter(scores)

    def score(self, batch):
        return torch.tensor([next(self.scores) for _ in batch.images])


def outcome(id, scores):
    return Outcome(id, fresh(id), tuple(scores), 1)


SCORES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, math.inf, -math.inf, math.nan])


@given(
    rows=st.integers(1, 3).flatmap(
        lambda n: st.lists(st.lists(SCORES, min_size=n, max_size=n), min_size=1, max_size=12)
    ),
    k=st.integers(1, 3),
    method=st.sampled_from(METHODS),
)
@settings(max_examples=300, deadline=None)
def test_whoever_comes_to_be_among_the_best_was_held_all_along(rows, k, method):
    standing, held = Standing(Comparison(method)), None
    for id, scores in enumerate(rows):
        standing.add([outcome(id, scores)])
        hopefuls = standing.hopefuls(k)
        assert hopefuls[:k] == standing.top(k) and len(set(hopefuls)) == len(hopefuls)
        held = set(hopefuls) if held is None else held & set(hopefuls) | {id}
        assert held.issuperset(standing.top(k))


@pytest.mark.parametrize(
    "comparison", [Comparison("weighted sum"), Comparison("average rank", (0.0, 1.0))], ids=str
)
def test_where_a_score_is_what_it_is_only_the_best_are_held(comparison):
    standing = Standing(comparison)
    generator = torch.Generator().manual_seed(1)
    for id in range(200):
        standing.add([outcome(id, torch.rand(2, generator=generator).tolist())])
        assert standing.hopefuls(3) == standing.top(3)


@pytest.mark.parametrize("verifiers", [2, 3, 8])
def test_what_is_held_is_bounded_whatever_the_verifiers(verifiers):
    standing, generator = Standing(Comparison()), torch.Generator().manual_seed(1)
    held = []
    for id in range(1000):
        standing.add([outcome(id, torch.rand(verifiers, generator=generator).tolist())])
        held.append(len(standing.hopefuls(4)))
    assert max(held) <= selection.MOST_HELD and held[0] == 1
    if verifiers == 2:  # few are beaten by nobody
        assert max(held) < 50


@pytest.mark.parametrize("keep_top", [1, 2])
@torch.inference_mode()
def test_a_candidate_that_comes_first_later_is_still_there(keep_top):
    """(3, 1) leads (1, 3) until (0.5, 2) takes a place from it by the second verifier."""
    one, two = Listed("one", [3.0, 1.0, 0.5]), Listed("two", [1.0, 3.0, 2.0])
    graph = Graph.mixture("CONST")
    found = graph.search(
        RandomSearch(),
        verifier=Ensemble((one, two), (1.0, 1.0)),
        candidates=3,
        keep_top=keep_top,
        batch_size=1,
    )
    assert found.report["images"][0]["winner"]["id"] == 1 and found.seed == 12
    torch.testing.assert_close(found.latent["samples"], graph.stock(12), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_winner_that_could_not_be_held_is_noted_and_the_next_is_handed_on(monkeypatch):
    monkeypatch.setattr(selection, "MOST_HELD", 1)
    one, two = Listed("one", [3.0, 1.0, 0.5]), Listed("two", [1.0, 3.0, 2.0])
    found = Graph.mixture("CONST").search(
        RandomSearch(), verifier=Ensemble((one, two), (1.0, 1.0)), candidates=3, keep_top=1, batch_size=1
    )
    image = found.report["images"][0]
    assert image["winner"]["id"] == 0 and image["ranking"][0] == 0
    assert any("no longer in memory" in note for note in found.report["notes"])
    judge = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    plain = Graph.mixture("CONST").search(
        RandomSearch(), verifier=judge, candidates=3, keep_top=1, batch_size=1
    )
    assert not any("no longer in memory" in note for note in plain.report["notes"])
