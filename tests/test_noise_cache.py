"""Noises that were made before are not made again, and nothing shows it."""

import math

import comfy.sample
import comfy.samplers
import pytest
import torch
from graphs import Graph, evaluated
from hypothesis import given, settings
from hypothesis import strategies as st
from noisesearch import compat
from noisesearch.sampling.noise_cache import NoiseCache
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

SHAPE = (1, 4, 3, 3)
LATENT = torch.zeros(SHAPE)


def draw(seed):
    return compat.draw_noise(LATENT, seed, [2])


def stock(seed):
    return comfy.sample.prepare_noise(LATENT, seed, [2])


class Counting:
    def __init__(self):
        self.seeds, self.left = [], []

    def __call__(self, seed):
        self.seeds.append(seed)
        return draw(seed)


def counted(counting):
    return NoiseCache(counting, counting.left.append)


@pytest.fixture
def drawn(monkeypatch):
    """The seeds that were drawn, and those that torch's generator was left at."""
    counting, draw, prepare = Counting(), compat.draw_noise, comfy.sample.prepare_noise

    def counted_draw(latent, seed, places):
        counting.seeds.append(seed)
        return draw(latent, seed, places)

    def counted_prepare(latent, seed, *rest):
        counting.left.append(seed)
        return prepare(latent, seed, *rest)

    monkeypatch.setattr(compat, "draw_noise", counted_draw)
    monkeypatch.setattr(comfy.sample, "prepare_noise", counted_prepare)
    return counting


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5, 2**63, 2**64 - 1])
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 16, 3, 8, 8)], ids=str)
def test_a_draw_is_the_stock_noise_and_leaves_torchs_generator_alone(seed, shape, monkeypatch):
    latent = torch.zeros(shape)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for places in ([0], [3]):
        noise = compat.draw_noise(latent, seed, places)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(noise, comfy.sample.prepare_noise(latent, seed, places))
        torch.manual_seed(5)
    monkeypatch.delattr(comfy.sample, "prepare_noise_inner")  # an older ComfyUI
    monkeypatch.setattr(
        comfy.sample, "prepare_noise", lambda *given: noise if given == (latent, seed, [3]) else None
    )
    assert torch.equal(compat.draw_noise(latent, seed, [3]), noise)


def recipes(depth=2):
    """Few seeds and cosines, so that parts come again."""
    directions = st.integers(10, 13)
    if depth:
        directions |= recipes(depth - 1)
    moves = st.lists(st.tuples(directions, st.sampled_from([0.9, 0.5])), max_size=4).map(tuple)
    return st.builds(NoiseRecipe, st.integers(1, 3), moves)


@given(
    batches=st.lists(st.lists(recipes(), min_size=1, max_size=3), min_size=1, max_size=5),
    most=st.integers(1, 4),
    most_bytes=st.sampled_from([1, 300, 10**6]),
    elsewhere=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_to_the_bit_what_the_recipe_gives_the_state_of_torchs_generator_included(
    batches, most, most_bytes, elsewhere
):
    cache = NoiseCache(draw, stock, most, most_bytes)
    for batch in batches:
        try:
            expected = torch.cat([recipe.noise(stock) for recipe in batch])
        except ValueError:  # a noise moved towards itself
            with pytest.raises(ValueError, match="towards itself"):
                cache.batch(batch)
            continue
        after = torch.rand(3)
        torch.manual_seed(99 if elsewhere else 0)  # who drew in between does not matter
        assert torch.equal(cache.batch(batch), expected)
        assert torch.equal(torch.rand(3), after)


def test_a_neighbour_costs_one_draw_and_its_pivot_none():
    counting = Counting()
    cache = counted(counting)
    pivot = NoiseRecipe(7, tuple((100 + i, 0.9) for i in range(40)))
    cache(pivot)
    assert counting.seeds == [7, *range(100, 140)]
    counting.seeds.clear()
    neighbours = [pivot.move(200 + i, 0.7) for i in range(4)]
    cache.batch(neighbours)
    assert (counting.seeds, counting.left) == ([200, 201, 202, 203], [7])
    cache(neighbours[2].move(300, 0.7))
    cache(pivot)
    assert counting.seeds[4:] == [300]


def test_a_crossover_draws_nothing_when_both_parents_are_there():
    counting = Counting()
    cache = counted(counting)
    one, two = NoiseRecipe(7).move(8, 0.9), NoiseRecipe(9).move(10, 0.9)
    cache(one), cache(two)
    counting.seeds.clear()
    assert torch.equal(cache(one.move(two, 0.7)), one.move(two, 0.7).noise(draw))
    assert counting.seeds == []


def test_what_is_held_is_bounded():
    cache = NoiseCache(draw, stock, most=5, most_bytes=10**9)
    for seed in range(20):
        cache(NoiseRecipe(seed))
    assert len(cache._held) == 5 and cache._bytes == 5 * LATENT.nbytes
    small = NoiseCache(draw, stock, most=100, most_bytes=3 * LATENT.nbytes)
    for seed in range(20):
        small(NoiseRecipe(seed))
    assert len(small._held) == 3 and small._bytes == 3 * LATENT.nbytes


@pytest.mark.parametrize(
    "search",
    [ZeroOrder(4), ZeroOrder(4, pivot="restart when stuck"), RandomSearch()],
    ids=["zero-order", "with restarts", "random"],
)
@torch.inference_mode()
def test_a_candidate_is_one_draw(search, drawn):
    """65 candidates took 513 draws in zero-order search: every one its whole lineage."""
    found = Graph.mixture("CONST", steps=1).search(search, candidates=65, batch_size=4)
    image = found.report["images"][0]
    assert len(image["candidates"]) == len(drawn.seeds) == 65
    assert len(drawn.left) == sum(math.ceil(len(ids) / 4) for ids in image["rounds"])  # one a batch


@torch.inference_mode()
def test_children_take_the_noise_their_lineage_began_with_from_the_cache(drawn):
    evaluator = Graph.mixture("CONST").evaluator(rows=2)
    evaluated(evaluator, [Rollout(NoiseRecipe(1), stop=0.5), Rollout(NoiseRecipe(2), stop=0.5)])
    evaluated(
        evaluator, [Rollout(NoiseRecipe(11), 0, 0.7, 0.3), Rollout(NoiseRecipe(12), 1, 0.7, 0.3)], first=2
    )
    assert drawn.seeds == [1, 2, 11, 12]
    assert drawn.left == [2, 12, 2]


@pytest.mark.parametrize("search", [ZeroOrder(3), SearchOverPaths(2, 2)], ids=["zero-order", "paths"])
@torch.inference_mode()
def test_a_sampler_that_goes_on_from_where_the_noise_was_drawn(search, monkeypatch):
    """Another pack's, which takes torch's global generator: the same search with a cache that holds nothing, to the bit."""

    def sample_restless(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for here, there in zip(sigmas[:-1], sigmas[1:]):
            denoised = model(x, here * x.new_ones([len(x)]), **extra_args)
            x = denoised + there * torch.randn_like(x)
        return x

    graph = Graph.mixture("EPS", own_sampler=comfy.samplers.KSAMPLER(sample_restless))
    found = graph.search(search, budget_nfe=150)
    monkeypatch.setattr(
        NoiseCache, "batch", lambda self, recipes: torch.cat([r.noise(self.leave) for r in recipes])
    )
    plain = graph.search(search, budget_nfe=150)
    assert torch.equal(found.top_latents["samples"], plain.top_latents["samples"])
    assert [c["scores"] for c in found.report["images"][0]["candidates"]] == [
        c["scores"] for c in plain.report["images"][0]["candidates"]
    ]
