"""Noise recipes: the stock noise at the root, exact steps on its sphere, the same again from JSON."""

import json
import math
import time
import weakref

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from noisesearch.session.noises import RecipeNoise
from noisesearch.search.noise import DRAWN, MOST_NESTED, NoiseRecipe, step_on_sphere
from noisesearch.search.rollout import Recipe, Rollout
from noisesearch.search.seeds import BROWSER_SEED, MASK, mix

SHAPES = [(1, 4, 8, 8), (1, 16, 2, 3), (1, 16, 3, 4, 4)]
seeds = st.integers(0, MASK)
weights = st.floats(-1.0, 1.0).filter(lambda weight: abs(weight) > 0.01)
cosines = st.floats(-1.0, 1.0)


def bits(pair):
    return pair[0] & DRAWN


@st.composite
def mixes(draw):
    """Flat mixes of 1 to 5 seeds, of any weights of norm 1."""
    some = draw(st.lists(st.tuples(seeds, weights), min_size=1, max_size=5, unique_by=bits))
    norm = math.hypot(*(weight for _, weight in some))
    return NoiseRecipe(some[0][0], mix=tuple((seed, weight / norm) for seed, weight in some))


recipes = st.recursive(
    seeds.map(NoiseRecipe) | mixes(),
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


@pytest.mark.parametrize("recipe", [NoiseRecipe(1).move(2, 0.9), NoiseRecipe(1, mix=((1, 0.6), (2, 0.8)))])
def test_a_stock_sampler_goes_on_from_the_first_seed(recipe):
    stock(1)
    expected = torch.randn(4)
    recipe.noise(stock)
    assert torch.equal(torch.randn(4), expected)


def test_many_moves_hold_few_noises_at_a_time():
    alive, most = weakref.WeakSet(), 0

    def draw(seed):
        nonlocal most
        noise = exact(seed)
        alive.add(noise)
        most = max(most, len(alive))
        return noise

    recipe = NoiseRecipe(1, tuple((seed, 0.9) for seed in range(2, 300)))
    assert torch.equal(recipe.noise(draw), recipe.noise(exact)) and most <= 3
    most = 0
    NoiseRecipe(1, mix=tuple((seed, 0.1) for seed in range(1, 101))).noise(draw)
    assert most <= 3


# -- mixes -----------------------------------------------------------------------------------------------------------


def test_a_mix_is_the_weighted_sum_of_its_seeds():
    recipe = NoiseRecipe(7, mix=((7, 0.6), (8, -0.48), (9, 0.64)))
    expected = 0.6 * exact(7) - 0.48 * exact(8) + 0.64 * exact(9)
    torch.testing.assert_close(recipe.noise(exact), expected, rtol=0, atol=1e-14)
    single = 0.6 * stock(7).double() + (-0.48 * stock(8).double() + 0.64 * stock(9).double())
    assert torch.equal(recipe.noise(stock), single.float()), "float64 inside, rounded once"
    assert recipe.noise(lambda seed: stock(seed, dtype=torch.float16)).dtype == torch.float16


def test_a_mix_of_one_is_its_seed_or_the_mirror_of_it():
    assert torch.equal(NoiseRecipe(7, mix=((7, 1.0),)).noise(stock), stock(7))
    assert torch.equal(NoiseRecipe(7, mix=((7, -1.0),)).noise(stock), -stock(7))


def test_a_mix_draws_each_seed_once_and_may_be_moved():
    drawn = []

    def draw(seed):
        drawn.append(seed)
        return exact(seed)

    recipe = NoiseRecipe(7, mix=((7, 0.6), (8, 0.8)))
    recipe.noise(draw)
    assert sorted(drawn) == [7, 8] and recipe.draws == 2
    moved = recipe.move(5, 0.9)
    assert torch.equal(moved.noise(exact), step_on_sphere(recipe.noise(exact), exact(5), 0.9))
    assert moved.mix == recipe.mix and moved.seed == 7 and moved.draws == 3


@settings(deadline=None, max_examples=30)
@given(mixes())
def test_a_mix_is_as_gaussian_as_a_seed(recipe):
    x = recipe.noise(lambda seed: exact(seed, (1, 4, 64, 64)))
    assert abs(float(x.mean())) < 0.04 and float(x.std()) == pytest.approx(1.0, abs=0.04)


def test_crossover_is_a_flat_mix():
    mother, father = NoiseRecipe(1), NoiseRecipe(2)
    child = mother.cross(father, 0.6)
    assert child.mix == ((1, 0.6), (2, 0.8)) and child.seed == 1
    grandchild = child.cross(NoiseRecipe(3).cross(mother, 0.8), 0.6)
    assert [seed for seed, _ in grandchild.mix] == [1, 2, 3] and grandchild.nested == 0
    x = 0.6 * child.noise(exact) + 0.8 * (0.8 * exact(3) + 0.6 * exact(1))
    norm = math.hypot(0.36 + 0.48, 0.48, 0.64)
    torch.testing.assert_close(grandchild.noise(exact), x / norm, rtol=0, atol=1e-12)


def test_crossover_knows_equal_noises():
    """torch takes 32 bits of a seed, so these two are one noise."""
    assert NoiseRecipe(1).cross(NoiseRecipe(1), 0.6) == NoiseRecipe(1)
    assert NoiseRecipe(1).cross(NoiseRecipe(1 + 2**32), 0.6) == NoiseRecipe(1)
    mirrored = NoiseRecipe(1).cross(NoiseRecipe(1), -0.9)
    assert mirrored.mix == ((1, -1.0),)
    with pytest.raises(ValueError, match="cancel"):
        NoiseRecipe(1).cross(NoiseRecipe(1), -(0.5**0.5))
    with pytest.raises(ValueError, match="moved"):
        NoiseRecipe(1).move(2, 0.5).cross(NoiseRecipe(3), 0.5)
    with pytest.raises(ValueError, match=r"not at 1\.5"):
        NoiseRecipe(1).cross(NoiseRecipe(3), 1.5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), cosines), min_size=1, max_size=40))
def test_generations_of_crossover_stay_as_flat_and_small_as_their_seeds(generations):
    child = NoiseRecipe(0)
    for seed, cosine in generations:
        assume(abs(cosine + 0.5**0.5) > 1e-3)
        try:
            child = child.cross(NoiseRecipe(seed), cosine)
        except ValueError as error:
            assert "cancel" in str(error)
    assert child.draws <= 10 and child.nested == 0
    assert NoiseRecipe.from_dict(child.to_dict()) == child


@pytest.mark.parametrize(
    "seed, mix, problem",
    [
        (1, ((1, 0.5), (2, 0.5)), "norm 0.7071068"),
        (1, ((1, 1.0), (2, 2e-3)), "norm 1.000002"),
        (1, ((1, 0.6), (1, 0.8)), "lowest 32 bits"),
        (1, ((1, 0.6), (1 + 2**32, 0.8)), "lowest 32 bits"),
        (2, ((1, 0.6), (2, 0.8)), "first one, 1, not 2"),
        (1, ((1, math.nan), (2, 0.8)), "norm nan"),
        (1, ((1, math.inf), (2, 0.8)), "norm inf"),
        (1, ((1, 0.6), (-2, 0.8)), "not -2"),
    ],
)
def test_bad_mixes_are_refused(seed, mix, problem):
    with pytest.raises(ValueError, match=problem):
        NoiseRecipe(seed, mix=mix)


# -- to JSON and back ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(recipes)
def test_json_round_trip(recipe):
    again = NoiseRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and hash(again) == hash(recipe)
    assert (again.draws, again.nested, again.version) == (recipe.draws, recipe.nested, recipe.version)


@settings(deadline=None)
@given(recipes, seeds | recipes, cosines)
def test_a_move_is_what_its_constructor_makes(recipe, direction, cosine):
    moved = recipe.move(direction, cosine)
    built = NoiseRecipe(recipe.seed, (*recipe.moves, (direction, cosine)), recipe.mix)
    assert moved == built and (moved.draws, moved.nested) == (built.draws, built.nested)
    assert recipe.move(direction, cosine) == moved and len(recipe.moves) == len(moved.moves) - 1


def test_the_version_is_the_first_that_can_say_it():
    mix = NoiseRecipe(7, mix=((7, 0.6), (8, 0.8)))
    assert NoiseRecipe(1).move(2, 0.5).move(NoiseRecipe(3), 0.5).version == 1
    assert mix.version == mix.move(1, 0.5).version == NoiseRecipe(1).move(mix, 0.5).version == 2


def test_noises_within_noises_have_a_bottom():
    """Nothing that walks through them, as `repr` and `==` do, may run out of stack."""
    recipe = NoiseRecipe(0)
    for seed in range(1, MOST_NESTED + 1):
        recipe = NoiseRecipe(seed).move(recipe, 0.5)
    assert recipe.nested == MOST_NESTED and NoiseRecipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ValueError, match=f"{MOST_NESTED + 1} deep"):
        NoiseRecipe(99).move(recipe, 0.5)
    with pytest.raises(ValueError, match=f"{MOST_NESTED + 1} deep"):
        NoiseRecipe(99, ((recipe, 0.5),))


def test_a_walk_of_many_moves_costs_little_to_describe():
    """Each move checks itself only, not all those before it."""
    began, recipe = time.process_time(), NoiseRecipe(1)
    for seed in range(5000):
        recipe = recipe.move(seed, 0.9)
    assert time.process_time() - began < 2.0 and recipe.draws == 5001


def test_a_recipe_from_json_gives_the_same_bits():
    recipe = NoiseRecipe(2**63 + 1).move(5, 0.1 + 0.2).move(NoiseRecipe(6).move(7, 1 / 3), 0.95)
    assert torch.equal(
        NoiseRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))).noise(stock), recipe.noise(stock)
    )


@pytest.mark.parametrize(
    "recipe",
    [
        NoiseRecipe(1).move(1, 0.9),
        NoiseRecipe(1).move(1 + 2**32, 0.9),
        NoiseRecipe(1).move(2, 1.0).move(3, -1.0).move(1, 0.9),
        NoiseRecipe(1).move(NoiseRecipe(1), 0.9),
        NoiseRecipe(1).move(NoiseRecipe(1, mix=((1, -1.0),)), 0.9),
        NoiseRecipe(1).move(2, 0.5).move(NoiseRecipe(1).move(2, 0.5), 0.9),
        NoiseRecipe(1).move(2, 0.5).move(NoiseRecipe(1).move(7, 1.0).move(2, 0.5).move(8, -1.0), 0.9),
        NoiseRecipe(1)
        .move(NoiseRecipe(2, mix=((2, -1.0),)), 0.5)
        .move(NoiseRecipe(1).move(7, -1.0).move(2, 0.5), 0.9),
        NoiseRecipe(1, mix=((1, 0.6), (2, 0.8))).move(NoiseRecipe(2, mix=((2, -0.8), (1, -0.6))), 0.9),
        NoiseRecipe(5).move(NoiseRecipe(1).move(1, 0.9), 0.9),
    ],
)
def test_a_move_along_the_noise_itself_is_found_without_drawing_it(recipe):
    for check in (recipe.check_turns, lambda: recipe.noise(exact)):
        with pytest.raises(ValueError, match="parallel"):
            check()


@pytest.mark.parametrize(
    "recipe",
    [
        NoiseRecipe(1).move(2, 0.5).move(2, 0.5),
        NoiseRecipe(1).move(2, 0.0).move(1, 0.5),
        NoiseRecipe(1).move(2, 0.5).move(1, 0.5),
        NoiseRecipe(1).move(NoiseRecipe(1).move(2, 0.5), 0.5),
        NoiseRecipe(1).move(2, 0.5).move(NoiseRecipe(1).move(7, -1.0).move(2, 0.5), 0.9),
        NoiseRecipe(1).move(2, 0.5).move(NoiseRecipe(1).move(NoiseRecipe(2, mix=((2, -1.0),)), 0.5), 0.9),
        NoiseRecipe(1, mix=((1, 0.6), (2, 0.8))).move(NoiseRecipe(1, mix=((1, 0.8), (2, 0.6))), 0.9),
    ],
)
def test_moves_that_only_look_like_it_pass(recipe):
    recipe.check_turns()
    assert torch.isfinite(recipe.noise(exact)).all()


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
        {"seed": 1, "moves": {"2": 0.5}},
        {"seed": 1, "moves": "ab"},
        {"seed": 1, "moves": [[True, 0.5]]},
        {"seed": 1, "moves": [[2, 0.5, 3]]},
        {"seed": 1, "weight": 1.0},
        {"seed": 1, "weights": [1.0]},
        {"seeds": [1]},
        {"seeds": [], "weights": []},
        {"seeds": [1], "weights": [0.6, 0.8]},
        {"seeds": [1, 2], "weights": [0.6]},
        {"seeds": [1, 2], "weights": [0.6, "0.8"]},
        {"seeds": [1, True], "weights": [0.6, 0.8]},
        {"seeds": 1, "weights": 1.0},
        {"seed": 1, "seeds": [1, 2], "weights": [0.6, 0.8]},
        {"seeds": [1, 2], "weights": [0.6, 0.9]},
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
