"""What a search holds in memory."""

import weakref

import pytest
import torch
from graphs import Graph
from noisesearch.sampling.shelf import Kept, Shelf
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

LATENT = torch.zeros(256)  # 1 KiB


def finished(**parts):
    return Kept(latent=LATENT.clone(), image=LATENT.clone(), **parts)


def test_the_best_stay_and_images_of_fewer():
    shelf = Shelf(images=2)
    for id in range(6):
        shelf.put(id, finished())
    shelf.hold([5, 3, 1])
    assert shelf.ids() == [1, 3, 5]
    assert [id for id in shelf.ids() if shelf[id].image is not None] == [3, 5]
    with pytest.raises(RuntimeError, match="candidate 4 is no longer in memory.*keeps"):
        shelf[4]


def test_finished_parents_stay_until_the_next_round():
    shelf = Shelf(images=1)
    for id in range(4):
        shelf.put(id, finished())
    shelf.begin({1, 2})
    shelf.hold([3])
    assert shelf.ids() == [1, 2, 3]
    shelf.begin({2})
    shelf.hold([3])
    assert shelf.ids() == [2, 3]
    with pytest.raises(RuntimeError, match="candidate 1 is no longer in memory"):
        shelf.begin({3, 1})
    assert shelf.ids() == [2, 3]


def test_unfinished_samples_go_above_the_cap_but_not_those_a_round_starts_from():
    shelf = Shelf(images=1, cap=4096)
    shelf.put(0, finished())
    for id in range(1, 7):
        shelf.put(id, Kept(state=LATENT.clone()))
    assert len(shelf.ids()) == 7  # the running round is never touched
    shelf.begin({1, 4})
    assert shelf.ids() == [0, 1, 4, 5, 6]
    shelf.hold([])
    assert shelf.ids() == [1, 4, 5, 6]


@torch.inference_mode()
def test_what_is_held_does_not_grow_with_the_candidates():
    """Counted in latents that are alive after each wave, on the closed-form model."""
    alive = {}
    for count in (16, 256, 2048):
        evaluator = Graph.mixture("CONST", steps=1, cfg=1.0).evaluator(rows=16)
        tensors, most, done, best = weakref.WeakSet(), 0, 0, []
        while done < count:
            asked = [(id, fresh(id)) for id in range(done, done + 16)]
            for wave in evaluator.evaluate(asked):
                tensors.update(evaluator.shelf[outcome.id].latent for outcome in wave)
                best = sorted([*best, *(outcome.id for outcome in wave)], key=lambda id: (id * 7919) % 2048)[
                    :4
                ]
                evaluator.keep(best)
                most = max(most, len(tensors))
            done += 16
        alive[count] = most
        assert evaluator.shelf.ids() == sorted(best)
    assert alive == {16: 4, 256: 4, 2048: 4}


@torch.inference_mode()
def test_a_round_from_a_finished_sample_that_went_is_refused_before_anything_is_paid():
    graph = Graph.mixture("CONST")
    evaluator = graph.evaluator(rows=2)
    list(evaluator.evaluate([(0, fresh(1)), (1, fresh(2))]))
    evaluator.keep([1])
    spent = graph.model.spy.calls
    with pytest.raises(RuntimeError, match="candidate 0 is no longer in memory"):
        list(evaluator.evaluate([(2, Rollout(NoiseRecipe(3), 0, 0.5))]))
    assert graph.model.spy.calls == spent
