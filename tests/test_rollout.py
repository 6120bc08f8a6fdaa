"""Rollouts, lineages, and recipes that strangers send."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from fake_evaluator import FakeEvaluator
from noisesearch.search.algorithms.base import Terms, prices
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import (
    Outcome,
    Recipe,
    Rollout,
    lineage,
    note_of_version,
    recipes_from_json,
    recipes_to_json,
)

NOISE = NoiseRecipe(7).move(9, 0.5)
times = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def pieces(draw, finished=False):
    """The pieces of a lineage down to a finished sample; `finished`: samples on the way may be finished too."""
    made = []
    for last in [False] * draw(st.integers(0, 3)) + [True]:
        stop = 0.0 if last or (finished and draw(st.booleans())) else draw(st.floats(0.01, 0.9))
        below = max(made[-1].stop if made else 0.0, stop)
        start = draw(st.floats(below, 1.0, exclude_min=True))
        noise = NOISE if not made else NoiseRecipe(draw(st.integers(0, 99)))
        if not (made and made[-1].finished):
            start = draw(st.sampled_from([start, None]))
            noise = noise if not made else draw(st.sampled_from([noise, None]))
        made.append(
            Rollout(
                noise,
                len(made) - 1 if made else None,
                start,
                stop,
                draw(st.none() | st.integers(1, 50)),
                score=False,
            )
        )
    return tuple(made)


recipes = st.builds(Recipe, pieces(), st.integers(0, 63))
newer = st.builds(Recipe, pieces(finished=True), st.integers(0, 63))


@pytest.mark.parametrize(
    "fields, problem",
    [
        (dict(), "needs a noise recipe"),
        (dict(noise=NOISE, stop=-0.1), "not at -0.1"),
        (dict(noise=NOISE, stop=1.0), "not at 1.0"),
        (dict(noise=NOISE, stop=math.nan), "not at nan"),
        (dict(noise=NOISE, start=0.5, stop=0.5), "start = 0.5, stop = 0.5"),
        (dict(noise=NOISE, start=0.4, stop=0.5), "start = 0.4"),
        (dict(noise=NOISE, start=1.5), "start = 1.5"),
        (dict(noise=NOISE, start=math.nan), "start = nan"),
        (dict(noise=NOISE, steps=0), "not 0"),
        (dict(noise=NOISE, steps=-3), "not -3"),
    ],
)
def test_bad_rollouts_are_refused(fields, problem):
    with pytest.raises(ValueError, match=problem):
        Rollout(**fields)


def test_only_a_stop_at_exactly_zero_is_finished():
    assert Rollout(NOISE).finished and Outcome(0, Rollout(NOISE), (), 1).finished
    assert not Rollout(NOISE, stop=1e-9).finished


def test_rollouts_are_values():
    assert Rollout(NOISE, stop=0.5) == Rollout(NoiseRecipe(7, ((9, 0.5),)), stop=0.5)
    assert len({Rollout(NOISE), Rollout(NOISE), Rollout(NOISE, stop=0.5)}) == 2


def test_lineage_runs_from_pure_noise_to_the_outcome():
    rollouts = [
        Rollout(NOISE, stop=0.6),
        Rollout(NoiseRecipe(1), stop=0.5),
        Rollout(parent=0, stop=0.3),
        Rollout(parent=1),
        Rollout(NoiseRecipe(2), 2, start=0.7),
    ]
    outcomes = {i: Outcome(i, rollout, (), 1) for i, rollout in enumerate(rollouts)}
    assert lineage(outcomes, 4) == (rollouts[0], rollouts[2], rollouts[4])
    assert lineage(outcomes, 3) == (rollouts[1], rollouts[3])
    assert lineage(outcomes, 0) == (rollouts[0],)


def test_a_recipe_replays_its_lineage_with_parents_renumbered_and_without_verifiers():
    recipe = Recipe(
        (
            Rollout(NOISE, stop=0.6),
            Rollout(parent=12, stop=0.3, steps=4),
            Rollout(NoiseRecipe(2), 40, start=0.7),
        )
    )
    expected = [
        Rollout(NOISE, None, None, 0.6, score=False),
        Rollout(None, 0, None, 0.3, 4, score=False),
        Rollout(NoiseRecipe(2), 1, 0.7, score=False),
    ]
    assert list(recipe.pieces) == expected


@settings(deadline=None)
@given(st.lists(recipes | newer, min_size=1, max_size=3))
def test_json_round_trip(many):
    again = recipes_from_json(recipes_to_json(many))
    assert again == many
    assert recipes_to_json(again) == recipes_to_json(many)


@given(recipes)
def test_what_version_1_can_say_is_written_as_version_1(recipe):
    """Older NoiseSearch reads it."""
    assert recipe.to_dict()["noise_search"] == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (Rollout(NOISE), Rollout(NOISE, 0, 0.5)),
        (Rollout(NoiseRecipe(7, mix=((7, 0.6), (8, 0.8)))),),
        (
            Rollout(NOISE, stop=0.5),
            Rollout(NoiseRecipe(7).move(NoiseRecipe(8, mix=((8, -1.0),)), 0.5), 0, 0.7),
        ),
    ],
    ids=["from a finished sample", "a mix", "a move towards a mix"],
)
def test_what_it_cannot_say_is_version_2_and_refused_as_version_1(pieces):
    recipe = Recipe(pieces)
    data = recipe.to_dict()
    assert data["noise_search"] == 2 and Recipe.from_dict(data) == recipe
    with pytest.raises(ValueError, match="version 1"):
        Recipe.from_dict({**data, "noise_search": 1})


def test_version_2_says_all_that_version_1_can():
    data = Recipe((Rollout(NOISE),)).to_dict()
    assert Recipe.from_dict({**data, "noise_search": 2}) == Recipe((Rollout(NOISE),))


@pytest.mark.parametrize("piece", [Rollout(parent=0), Rollout(NOISE, 0), Rollout(None, 0, 0.5)])
def test_from_a_finished_sample_noise_and_start_are_given(piece):
    with pytest.raises(ValueError, match="needs a noise and the flow time"):
        Recipe((Rollout(NOISE), piece))
    assert len(Recipe((Rollout(NOISE), Rollout(NOISE, 0, 0.5), Rollout(NOISE, 1, 0.3))).pieces) == 3


def test_lineages_and_their_price_go_through_finished_samples():
    """Refining a finished image: up to 0.6, down, and once more."""
    rollouts = [Rollout(NOISE), Rollout(NoiseRecipe(1), 0, 0.6), Rollout(NoiseRecipe(2), 1, 0.4)]
    outcomes = {i: Outcome(i, rollout, (0.5,), 1) for i, rollout in enumerate(rollouts)}
    recipe = Recipe(lineage(outcomes, 2))
    assert [piece.start for piece in recipe.pieces] == [None, 0.6, 0.4]
    evaluator = FakeEvaluator()
    terms = Terms(10**6, evaluator.cost, evaluator.top, evaluator.own_steps)
    assert prices([(1, piece) for piece in recipe.pieces], terms) == (10 + 6 + 4, 10 + 6 + 4)


# -- the version of ComfyUI ------------------------------------------------------------------------------------------


def test_a_recipe_says_which_comfyui_wrote_it_and_is_the_same_recipe():
    recipe = Recipe((Rollout(NOISE),))
    assert "comfyui" not in recipe.to_dict()
    (read,) = recipes_from_json(recipes_to_json([recipe], "0.3.75"))
    assert read.comfyui == "0.3.75" and read == recipe and hash(read) == hash(recipe)
    assert '"comfyui": "0.3.75"' in recipes_to_json([read], "0.8.2"), "written then, not now"
    assert recipes_from_json(recipes_to_json([recipe]))[0].comfyui is None


def test_the_note_of_another_comfyui():
    recipe = Recipe((Rollout(NOISE),), comfyui="0.3.75")
    note = note_of_version(recipe, "0.8.2")
    assert "0.3.75" in note and "0.8.2" in note and len(note) < 400
    assert note_of_version(recipe, "0.3.75") is None
    assert note_of_version(recipe, None) is None
    assert note_of_version(Recipe((Rollout(NOISE),)), "0.8.2") is None


@pytest.mark.parametrize("text", ["", "x" * 41, "0.3\n75", "\ud800", "\u00e9", 3, ["0.3"], {}])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="comfyui is a version"):
        Recipe.from_dict({**Recipe((Rollout(NOISE),)).to_dict(), "comfyui": text})


def test_one_recipe_is_an_object_and_several_are_a_list():
    recipe = Recipe((Rollout(NOISE),))
    assert isinstance(json.loads(recipes_to_json([recipe])), dict)
    assert len(json.loads(recipes_to_json([recipe, recipe]))) == 2


@pytest.mark.parametrize(
    "pieces, index, problem",
    [
        ((), 0, "at least one piece"),
        ((Rollout(parent=0),), 0, "first piece has a noise"),
        ((Rollout(NOISE, stop=0.5),), 0, "finished"),
        ((Rollout(NOISE),), -1, "not -1"),
    ],
)
def test_recipes_that_make_no_image_are_refused(pieces, index, problem):
    with pytest.raises(ValueError, match=problem):
        Recipe(pieces, index)


def text(**changes):
    piece = {"noise": {"seed": 7}, **changes.pop("piece", {})}
    return json.dumps({"noise_search": 1, "index": 0, "pieces": [piece], **changes})


@pytest.mark.parametrize(
    "damaged, problem",
    [
        ("", "not JSON"),
        ("seed 7", "not JSON"),
        (text()[:-2], "not JSON"),
        ("9" * 5000, "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "empty list"),
        ("{}", "lacks the key"),
        ("7", "lacks the key"),
        ('["noise_search"]', "lacks the key"),
        (text(noise_search=3), "version 3; .* reads versions 1 and 2"),
        (text(noise_search=True), "version True"),
        (text(noise_search=1.0), "version 1.0"),
        (text(noise_search="1"), "version '1'"),
        (text(noise_search=None), "version None"),
        (text(note="hello"), "the key 'note'; it may have noise_search, index, pieces, comfyui"),
        (text(piece={"colour": 1}), "the key 'colour'; it may have noise, start, steps, stop"),
        (text(piece={"noise": {"seed": 1, "move": []}}), "the key 'move'; it may have seed, moves"),
        (text(piece={"noise": {"seed": 1, "moves": [[{"seed": 2, "x": 1}, 0.5]]}}), "the key 'x'"),
        (text(piece={"noise": {"seeds": [1], "weights": [1.0]}}), "version 1 has the key 'seeds'"),
        ('{"noise_search": 1, "index": 0}', "the key 'pieces' is missing"),
        ('{"noise_search": 1, "noise_search": 1, "pieces": [{"noise": {"seed": 7}}]}', "stands twice"),
        ('{"noise_search": 1, "pieces": [{"noise": {"seed": 7, "seed": 8}}]}', "'seed' stands twice"),
        ('{"noise_search": 1, "pieces": [{"noise": {"seed": 7}, "start": NaN}]}', "NaN is no number"),
        ('{"noise_search": 1, "pieces": [{"noise": {"seed": 7}, "start": 1e999}]}', "start = inf"),
        (text(pieces=[{"noise": {"seed": 7}, "stop": 0.5}, {"noise": {"seed": 8}, "start": 0.4}]), "below"),
        (text(pieces=[{"noise": {"seed": 7}}, {"noise": {"seed": 8}, "start": 0.4}]), "only version 2"),
        (text(piece={"noise": {"seed": 7, "moves": [[7, 0.5]]}}), "parallel"),
        (text(pieces=7), "damaged"),
        (text(pieces=[]), "at least one piece"),
        (text(pieces=[{}]), "noise"),
        (text(pieces="abc"), "damaged"),
        (text(index="first"), "damaged"),
        (text(index=1.5), "damaged"),
        (text(index=math.inf), "damaged"),
        (text(piece={"start": -math.inf}), "damaged"),
        (text(index=-1), "not -1"),
        (text(index=10**9), "65535 at most, not 1000000000"),
        (text(piece={"steps": 10**9}), "10000 steps at most, not 1000000000"),
        (text(piece={"noise": None}), "Not a noise recipe"),
        (text(piece={"noise": {"seed": -1}}), "not -1"),
        (text(piece={"noise": {"seed": 1, "moves": [[-1, 0.5]]}}), "not -1"),
        (text(piece={"noise": {"seed": 1, "moves": [[2, 3]]}}), "not at 3"),
        (text(piece={"stop": "half"}), "half"),
        (text(piece={"stop": 0.5}), "finished"),
        (text(piece={"stop": 2}), "not at 2"),
        (text(piece={"start": 10**400}), "damaged"),
        (text(piece={"steps": 1.5}), "damaged"),
        (text(piece={"steps": math.inf}), "damaged"),
        (text(piece={"steps": 0}), "not 0"),
    ],
)
def test_damaged_recipes_say_what_is_wrong(damaged, problem):
    with pytest.raises(ValueError, match=problem):
        recipes_from_json(damaged)
