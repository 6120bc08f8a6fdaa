"""Rollouts, lineages, and recipes that strangers send."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Recipe, Rollout, lineage, recipes_from_json, recipes_to_json

NOISE = NoiseRecipe(7).move(9, 0.5)
times = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def pieces(draw):
    """The pieces of a lineage down to a finished sample."""
    made = []
    for last in [False] * draw(st.integers(0, 3)) + [True]:
        stop = 0.0 if last else draw(st.floats(0.01, 0.9))
        start = draw(st.none() | st.floats(stop, 1.0, exclude_min=True))
        noise = NOISE if not made else draw(st.none() | st.integers(0, 99).map(NoiseRecipe))
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


@given(st.lists(recipes, min_size=1, max_size=3))
def test_json_round_trip(many):
    again = recipes_from_json(recipes_to_json(many))
    assert again == many
    assert recipes_to_json(again) == recipes_to_json(many)


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
        (text(noise_search=2), "version 2"),
        (text(pieces=7), "damaged"),
        (text(pieces=[]), "at least one piece"),
        (text(pieces=[{}]), "noise"),
        (text(pieces="abc"), "damaged"),
        (text(index="first"), "damaged"),
        (text(index=1.5), "damaged"),
        (text(index=math.inf), "damaged"),
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


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_noises_nested_too_deeply_are_refused(depth):
    noise = '{"seed": 2, "moves": [[' * depth + '{"seed": 1}' + ", 0.5]]}" * depth
    text = '{"noise_search": 1, "pieces": [{"noise": NOISE}]}'.replace("NOISE", noise)
    with pytest.raises(ValueError, match="damaged|not JSON"):
        recipes_from_json(text)


names = st.sampled_from(["seed", "moves", "noise", "stop", "start", "steps", "index"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**308, 10**310)
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


def check_reading(text):
    """What reads is a recipe that writes and reads again; what does not is a ValueError that says why. Any other error fails the test."""
    try:
        recipes = recipes_from_json(text)
    except ValueError as error:
        assert len(str(error)) > 20
    else:
        assert recipes_from_json(recipes_to_json(recipes)) == recipes


@given(st.text() | anything.map(json.dumps))
def test_text_of_strangers_reads_or_is_refused(text):
    check_reading(text)


@given(recipes, st.data())
def test_recipes_changed_by_strangers_read_or_are_refused(recipe, data):
    entry = recipe.to_dict()
    target = data.draw(
        st.sampled_from(
            [entry, *entry["pieces"], *(piece["noise"] for piece in entry["pieces"] if "noise" in piece)]
        )
    )
    target[data.draw(st.sampled_from([*target, "index", "moves", "steps", "start", "noise"]))] = data.draw(
        anything
    )
    check_reading(json.dumps(entry))
