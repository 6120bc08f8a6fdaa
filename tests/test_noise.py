"""Noise recipes: the stock noise at the root, exact steps on its sphere, the same again from JSON."""

import json
import math

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from noisesearch.session.noises import RecipeNoise
from noisesearch.search.noise import NoiseRecipe, step_on_sphere
from noisesearch.search.rollout import Recipe, Rollout
from noisesearch.search.seeds import BROWSER_SEED, MASK, mix

SHAPES = [(1, 4, 8, 8), (1, 16, 2, 3), (1, 16, 3, 4, 4)]
seeds = st.integers(0, MASK)
cosines = st.floats(-1.0, 1.0)
recipes = st.recursive(
    seeds.map(NoiseRecipe),
    lambda inner: st.builds(
        NoiseRecipe, seeds, st.lists(st.tuples(seeds | inner, cosines), max_size=3).map(tuple)
    ),
    max_leaves=6,
)


def exact(seed, shape=(1, 4, 8, 8)):
    """float64 noise, to see errors below float32's."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stock(seed, shape=(1, 4, 8, 8), dtype=torch.float32):
    return comfy.sample.prepare_noise(torch.zeros(shape, dtype=dtype), seed)


def cosine_of(x, y):
    return float(x.flatten() @ y.flatten() / (x.norm() * y.norm()))


@pytest.mark.parametrize("seed", [0, 7, BROWSER_SEED, MASK])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_root_is_the_stock_noise_bit_for_bit(seed, dtype, shape):
    latent = torch.zeros(shape, dtype=dtype)
    expected = Noise_RandomNoise(seed).generate_noise({"samples": latent})
    assert torch.equal(NoiseRecipe(seed).noise(lambda s: stock(s, shape, dtype)), expected)
    assert torch.equal(
        RecipeNoise([Recipe((Rollout(NoiseRecipe(seed)),))]).generate_noise({"samples": latent}), expected
    )


def test_a_recipe_of_a_batch_member_is_the_stock_noise_of_that_member():
    latent = torch.zeros(1, 4, 8, 8)
    expected = Noise_RandomNoise(5).generate_noise({"samples": latent, "batch_index": [2]})
    assert torch.equal(
        expected, Noise_RandomNoise(5).generate_noise({"samples": latent.repeat(3, 1, 1, 1)})[2:]
    )
    assert torch.equal(
        RecipeNoise([Recipe((Rollout(NoiseRecipe(5)),), index=2)]).generate_noise({"samples": latent}),
        expected,
    )


@settings(deadline=None)
@given(seeds, seeds, cosines, st.sampled_from(SHAPES))
def test_a_move_keeps_the_norm_and_has_exactly_the_cosine(seed, direction, cosine, shape):
    assume(seed % 2**32 != direction % 2**32)  # torch's generator on the CPU takes 32 bits of a seed
    x, y = exact(seed, shape), NoiseRecipe(seed).move(direction, cosine).noise(lambda s: exact(s, shape))
    assert y.shape == x.shape
    assert float(y.norm()) == pytest.approx(float(x.norm()), rel=1e-12)
    assert cosine_of(x, y) == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float16, 1e-3)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_move_keeps_the_type_of_the_stock_noise(shape, dtype, tolerance):
    x, y = stock(1, shape, dtype), NoiseRecipe(1).move(2, 0.9).noise(lambda s: stock(s, shape, dtype))
    assert y.dtype == dtype and y.shape == x.shape
    assert float(y.double().norm()) == pytest.approx(float(x.double().norm()), rel=tolerance)
    assert cosine_of(x.double(), y.double()) == pytest.approx(0.9, abs=tolerance)


def test_the_ends_of_the_cosine():
    x = exact(1)
    assert torch.allclose(NoiseRecipe(1).move(2, 1.0).noise(exact), x, rtol=1e-12)
    assert torch.allclose(NoiseRecipe(1).move(2, -1.0).noise(exact), -x, rtol=1e-12)
    assert abs(cosine_of(NoiseRecipe(1).move(2, 0.0).noise(exact), x)) < 1e-12


@settings(deadline=None)
@given(st.floats(-0.999, 0.999))
def test_crossover_goes_towards_the_other_noise(cosine):
    """The child lies in the plane of its parents, on the second one's side of the first."""
    mother, father = NoiseRecipe(1).move(3, 0.5), NoiseRecipe(2).move(4, 0.7)
    x, d, y = (
        mother.noise(exact).flatten(),
        father.noise(exact).flatten(),
        mother.move(father, cosine).noise(exact).flatten(),
    )
    share = torch.linalg.lstsq(torch.stack([x, d], 1), y[:, None]).solution.flatten()
    assert torch.allclose(share[0] * x + share[1] * d, y, atol=1e-9)
    assert share[1] > 0


def test_crossover_at_the_parents_similarity_reaches_the_other_parents_direction():
    x, d = exact(1), exact(2)
    child = NoiseRecipe(1).move(2, cosine_of(x, d)).noise(exact)
    assert torch.allclose(child / child.norm(), d / d.norm(), atol=1e-12)


def test_moves_are_made_in_order_and_directions_may_be_recipes():
    inner = NoiseRecipe(3, ((4, 0.2),))
    recipe = NoiseRecipe(1).move(2, 0.9).move(inner, 0.8)
    by_hand = step_on_sphere(
        step_on_sphere(exact(1), exact(2), 0.9), step_on_sphere(exact(3), exact(4), 0.2), 0.8
    )
    assert torch.equal(recipe.noise(exact), by_hand)
    swapped = NoiseRecipe(1).move(inner, 0.8).move(2, 0.9)
    assert not torch.allclose(swapped.noise(exact), by_hand)


def test_the_global_generator_is_left_where_the_root_noise_leaves_it():
    """Stock samplers such as euler_ancestral without a noise sampler go on drawing from there."""
    stock(1)
    expected = torch.randn(4)
    NoiseRecipe(1).move(2, 0.9).move(NoiseRecipe(3).move(4, 0.5), 0.9).noise(stock)
    assert torch.equal(torch.randn(4), expected)


@settings(deadline=None)
@given(recipes)
def test_json_round_trip(recipe):
    again = NoiseRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and hash(again) == hash(recipe)


def test_a_recipe_from_json_gives_the_same_bits():
    recipe = NoiseRecipe(2**63 + 1).move(5, 0.1 + 0.2).move(NoiseRecipe(6).move(7, 1 / 3), 0.95)
    assert torch.equal(
        NoiseRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))).noise(stock), recipe.noise(stock)
    )


@pytest.mark.parametrize("draw", [stock, exact])
@pytest.mark.parametrize("direction", [1, NoiseRecipe(1), NoiseRecipe(1).move(2, -1.0)])
def test_a_noise_cannot_move_along_itself(draw, direction):
    with pytest.raises(ValueError, match="parallel"):
        NoiseRecipe(1).move(direction, 0.9).noise(draw)


@pytest.mark.parametrize(
    "make, problem",
    [
        (lambda: NoiseRecipe(-1), "0 to 2\\^64 - 1, not -1"),
        (lambda: NoiseRecipe(2**64), "not 18446744073709551616"),
        (lambda: NoiseRecipe(1).move(-5, 0.5), "not -5"),
        (lambda: NoiseRecipe(1).move(2, 1.0001), "not at 1.0001"),
        (lambda: NoiseRecipe(1).move(2, -1.0001), "not at -1.0001"),
        (lambda: NoiseRecipe(1).move(2, math.nan), "not at nan"),
    ],
)
def test_bad_recipes_are_refused(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "7",
        [],
        {},
        {"seed": "7"},
        {"seed": 1.5},
        {"seed": True},
        {"seed": -1},
        {"seed": 1, "moves": 3},
        {"seed": 1, "moves": [[2]]},
        {"seed": 1, "moves": [[2, "x"]]},
        {"seed": 1, "moves": [[2.5, 0.5]]},
        {"seed": 1, "moves": [[-2, 0.5]]},
        {"seed": 1, "moves": [[{"seed": -2}, 0.5]]},
        {"seed": 1, "moves": [[2, 10**400]]},
    ],
)
def test_dictionaries_that_are_no_recipe_are_refused(data):
    with pytest.raises(ValueError):
        NoiseRecipe.from_dict(data)


def test_mixed_seeds():
    assert mix(0) == 0xE220A8397B1DCDAF % BROWSER_SEED  # SplitMix64's published first output for seed 0
    assert mix(1, 2) != mix(2, 1) != mix(1, 2, 0)
    many = {mix(7, i, j) for i in range(50) for j in range(50)}
    assert len(many) == 2500 and all(0 <= seed < BROWSER_SEED for seed in many)
    assert max(many) > BROWSER_SEED // 2
