"""Recipes that strangers send: refused in little time and memory, with a short message that any log can take."""

import copy
import gc
import json
import math
import random
import string
import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noisesearch.search.algorithms import SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.zero_order import ALWAYS_MOVE
from noisesearch.search.json_text import MEMORY, MOST_MEMORY, MOST_TEXT
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import (
    MOST_PIECES,
    Outcome,
    Recipe,
    Rollout,
    recipes_from_json,
    recipes_to_json,
)
from test_noise import recipes as noises
from test_rollout import newer, recipes

SECONDS, BYTES = 1.0, 64e6  # to read or refuse any text; CPU time, so that a busy machine does not matter
CANDIDATES = 10_000  # the most that the nodes offer


def seconds_of(call, most):
    """CPU time of a call; of the quickest of three where the first is above `most`: a collection of the whole heap may fall into one."""
    took = most
    for _ in range(3):
        began = time.process_time()
        call()
        took = time.process_time() - began
        if took < most:
            break
    return took


def outcome(text):
    """How many recipes are read, or why none, in words that any log can take."""
    try:
        return len(recipes_from_json(text))
    except ValueError as error:
        said = str(error)
        assert 20 < len(said) <= 1000 and said.isascii() and said.isprintable()
        return said


def refusal(text, most=SECONDS):
    """What is said about a text that is not read, in little time."""
    said = outcome(text)
    assert isinstance(said, str), "it was read"
    assert seconds_of(lambda: outcome(text), most) < most, said
    return said


def of_noise(noise, version=1):
    return f'{{"noise_search": {version}, "pieces": [{{"noise": {noise}}}]}}'


def nested(depth):
    """Directions within directions."""
    noise = '{"seed":1}'
    for i in range(depth):
        noise = f'{{"seed":{i + 2},"moves":[[{noise},0.5]]}}'
    return of_noise(noise)


def branching(depth, width=2):
    """A noise whose directions are `width` of the same kind each, and so on."""
    seeds = iter(range(2**40))

    def noise(depth):
        inner = ", ".join(f"[{noise(depth - 1)}, 0.5]" for _ in range(width)) if depth else ""
        return f'{{"seed": {next(seeds)}, "moves": [{inner}]}}'

    return of_noise(noise(depth))


def moved(count, cosine=0.9500000000000001):
    moves = ", ".join(f"[{2**52 + i}, {cosine}]" for i in range(count))
    return of_noise(f'{{"seed": 1, "moves": [{moves}]}}')


def pieces(count):
    first = '{"noise": {"seed": 1}, "stop": 0.5}'
    more = (
        f'{{"noise": {{"seed": {2**52 + i}}}, "start": 0.95, "steps": 3, "stop": 0.5}}'
        for i in range(count - 2)
    )
    return f'{{"noise_search": 1, "pieces": [{", ".join([first, *more, "{}"])}]}}'


def several(text, count):
    return f"[{', '.join([text] * count)}]"


# -- what is too much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, problem",
    [
        (nested(9), "nested in noises more than 8 deep"),
        (nested(180), "nested in noises more than 8 deep"),
        (nested(220), "nested in noises more than 8 deep"),
        (nested(900), "nested"),
        (nested(100_000), "too many entries"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (branching(14), "nested in noises more than 8 deep"),
        (branching(7, 4), "draws 21845 noises, and 10001 is the most"),
        (moved(10_001), "10000 moves at most, not 10001"),
        (moved(300_000), "bytes"),
        (moved(150_000), "10000 moves at most, not 150000"),
        (moved(100_000), "10000 moves at most, not 100000"),
        (several(moved(10_000, 0.95), 20), "more than 200000 noises"),
        (pieces(MOST_PIECES + 1), "10000 pieces at most, not 10001"),
        (pieces(20_000), "10000 pieces at most, not 20000"),
        (several(pieces(10_000), 3), "more than 20000 pieces"),
        (several(of_noise('{"seed": 7}'), 4097), "4096 recipes at most, not 4097"),
        (several(of_noise('{"seed": 7}'), 100_000), "too many entries"),
        (several(of_noise('{"seed": 7}'), 200_000), "bytes"),
        (several('{"noise_search":1}', 100_000), "4096 recipes at most, not 100000"),
        (
            of_noise(json.dumps({"seeds": list(range(10_001)), "weights": [0.01] * 10_001}), 2),
            "10000 seeds at most",
        ),
        (" " * (MOST_TEXT + 1), "8000001 bytes"),
        ("\U0001f600" * 2_000_001, "8000004 bytes"),
        ("9" * 4_000_000, "whole number of 4000000 digits"),
        (of_noise('{"seed": 1}')[:-1] + ', "index": ' + "9" * 400 + "}", "whole number of 400 digits"),
        (of_noise('{"seed": 1}')[:-1] + ', "' + "k" * 4_000_000 + '": 1}', "has the key 'kkk"),
        (of_noise('"' + "\\ud800" * 100_000 + '"'), "Not a noise recipe"),
        (of_noise("[" * 60 + "]" * 60), "Not a noise recipe"),
        (None, "not text but a value of type NoneType"),
        (b"{}", "not text but a value of type bytes"),
        ("\ud800", "not JSON"),
        ("\ufeff{}", "not JSON"),
    ],
)
def test_what_is_too_much_is_refused_at_once(text, problem):
    assert problem in refusal(text)


UNITS = ("[[],[]],", '{"":0},', '"\u0113\u0113",', "257,", '{"a":[]},')


def most_of(unit):
    """As long a list of `unit` as is read at all."""
    size = sum(unit.count(mark) * size for mark, size in MEMORY.items())
    return f"[{unit * min(int(MOST_MEMORY / size) - 10, MOST_TEXT // len(unit) - 10)}0]"


def one_table():
    count = int(MOST_MEMORY / (2 * MEMORY['"'] + MEMORY[","])) - 10
    return "{" + ",".join(f'"{i:06d}":{i}' for i in range(count)) + "}"


@pytest.mark.parametrize(
    "text", [*map(most_of, UNITS), one_table(), several(moved(9_999, 0.95), 20), several(pieces(10_000), 2), branching(8, 3)],
    ids=[*UNITS, "one table", "moves", "pieces", "nested"],
)  # fmt: skip
def test_reading_takes_a_second_and_64_megabytes_at_most(text):
    said = outcome(text)
    assert seconds_of(lambda: outcome(text), SECONDS) < SECONDS
    tracemalloc.start()
    try:
        assert outcome(text) == said
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


def test_reading_leaves_the_collector_as_it_was():
    for was_on in (True, False):
        (gc.enable if was_on else gc.disable)()
        try:
            recipes_from_json(of_noise('{"seed": 7}'))
            refusal("no recipe")
            assert gc.isenabled() == was_on
        finally:
            gc.enable()


# -- what our own searches write is read ------------------------------------------------------------------------------


def walked(neighbours):
    """The last noise of a zero-order search that moves in every round, for as long as the candidates last."""
    search = ZeroOrder(neighbours, pivot=ALWAYS_MOVE).begin(7, lambda outcomes, k: outcomes[:k])
    asked, spent = next(search), 0
    while spent + len(asked) <= CANDIDATES:
        spent += len(asked)
        asked = search.send([Outcome(spent + i, rollout, (0.0,), 1) for i, rollout in enumerate(asked)])
    return asked[0].noise


@pytest.mark.parametrize("neighbours, moves", [(1, 10_000), (4, 2500), (256, 40)])
def test_the_longest_walk_of_a_zero_order_search_is_read(neighbours, moves):
    recipe = Recipe((Rollout(walked(neighbours)),), index=3)
    assert len(recipe.pieces[0].noise.moves) == moves
    text = recipes_to_json([recipe], "0.3.75")
    assert recipes_from_json(text) == [recipe]
    many = [recipe] * min(64, 199_999 // moves)  # of a latent batch, or the best 64
    assert recipes_from_json(recipes_to_json(many)) == many


def test_the_longest_search_over_paths_is_read_or_not_begun():
    finest = SearchOverPaths(1, 1, 0.99, 0.01, 0.02)  # what the node's widgets allow
    start = Rollout(NoiseRecipe(1), stop=finest.start)
    rounds = [
        Rollout(NoiseRecipe(i), 0, up, down) for i, (up, down) in enumerate(finest._levels(0.99, 0.0), 2)
    ]
    recipe = Recipe((start, *rounds))
    assert len(recipe.pieces) > 90 and recipes_from_json(recipes_to_json([recipe] * 64)) == [recipe] * 64
    assert (
        len(list(SearchOverPaths(start=0.5, forward=0.2, backward=0.20006)._levels(0.5, 0.0))) < MOST_PIECES
    )
    with pytest.raises(ValueError, match="rounds to the end, and 9999 is the most"):
        SearchOverPaths(start=0.5, forward=0.2, backward=0.20004)
    with pytest.raises(ValueError, match="and 9998 is the most"):  # the finish is a piece too
        SearchOverPaths(start=0.5, forward=0.2, backward=0.2000500075, finish=0.1)


def test_a_batch_of_recipes_as_large_as_a_latent_batch_is_read():
    many = [Recipe((Rollout(NoiseRecipe(i)),), i) for i in range(4096)]
    assert recipes_from_json(recipes_to_json(many, "0.3.75")) == many


# -- what strangers change -------------------------------------------------------------------------------------------

NAMES = ["noise_search", "index", "pieces", "comfyui", "noise", "start", "stop", "steps", "seed", "moves", "seeds", "weights"]  # fmt: skip
STRANGE = [
    None, True, False, "", "1", "\ud800", [], {}, [[]], [{}], [None], -1, 0, 2, 2**53, 2**64, 10**19, -(10**19), 0.5, -0.0, 1e308, 5e-324,
    math.nan, math.inf, -math.inf, {"seed": 1}, {"seeds": [1, 2], "weights": [0.6, 0.8]}, [[1, 0.5]], [[{"seed": 1}, 0.5]],
]  # fmt: skip


def places(data):
    """Every (container, key) in it."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def deep(depth, inner):
    for i in range(depth):
        inner = {"seed": i, "moves": [[inner, 0.5]]} if i % 2 else [inner]
    return inner


def changed(data, change):
    """The recipe as text, after a few changes of the kinds that damage and attacks are made of."""
    for _ in range(change.randint(1, 3)):
        found = list(places(data))
        if not found:
            break
        (where, key), (other, place) = change.choice(found), change.choice(found)
        kind = change.choice(["delete", "replace", "replace", "add", "copy", "deepen", "repeat"])
        if kind == "delete":
            del where[key]
        elif kind == "replace":
            where[key] = copy.deepcopy(change.choice(STRANGE))
        elif kind == "add" and isinstance(where, dict):
            where[change.choice([*NAMES, "extra", "\ud800", ""])] = copy.deepcopy(change.choice(STRANGE))
        elif kind == "copy":
            where[key] = copy.deepcopy(other[place])
        elif kind == "deepen":
            where[key] = deep(change.choice([1, 5, 20, 100]), where[key])
        elif kind == "repeat" and isinstance(where, list):
            where.extend([where[key]] * change.choice([1, 3, 1000] if len(found) < 200 else [1]))
            data = json.loads(json.dumps(data))
    text = json.dumps(data)
    return _torn(text, change) if change.random() < 0.3 else text


def _torn(text, change):
    """Characters lost, doubled and replaced; a key that stands twice."""
    at = change.randrange(len(text))
    kind = change.choice(["cut", "drop", "insert", "twice"])
    if kind == "cut":
        return text[:at]
    if kind == "drop":
        return text[:at] + text[at + 1 :]
    if kind == "insert":
        return (
            text[:at]
            + change.choice([*string.printable, "\ud800", "\u00a0", "NaN", "9" * 5000, "[" * 2000])
            + text[at:]
        )
    return text.replace('"seed":', '"seed": 1, "seed":', 1)


def check_reading(text):
    """What reads is a recipe that writes and reads again; what does not is refused in little time. Any other error fails the test."""
    if isinstance(outcome(text), str):
        refusal(text, 0.2)
        return False
    found = recipes_from_json(text)
    again = recipes_from_json(recipes_to_json(found))
    assert again == found and [recipe.comfyui for recipe in again] == [recipe.comfyui for recipe in found]
    return True


@st.composite
def of_both_versions(draw):
    """A recipe of any kind; the noises of its pieces are of any kind too."""
    recipe = draw(recipes | newer)
    data = recipe.to_dict()
    data["noise_search"] = 2
    for piece in data["pieces"]:
        if "noise" in piece and draw(st.booleans()):
            piece["noise"] = draw(noises).to_dict()
    return data


@settings(deadline=None, max_examples=200)
@given(of_both_versions(), st.integers(0, 2**32))
def test_recipes_that_strangers_changed_are_read_or_refused(data, seed):
    check_reading(changed(data, random.Random(seed)))


@settings(deadline=None)
@given(of_both_versions())
def test_recipes_of_both_versions_are_read(data):
    """Unless a move goes along the noise itself."""
    try:
        (recipe,) = recipes_from_json(json.dumps(data))
    except ValueError as error:
        assert "parallel" in str(error)
    else:
        written = recipe.to_dict()
        assert Recipe.from_dict(written) == recipe
        assert written["noise_search"] in (1, 2) and {**written, "noise_search": 2} == {
            **data,
            "index": recipe.index,
        }


def test_the_changes_hit_both_what_is_read_and_what_is_refused():
    """The property above would prove nothing if all were refused for one reason."""
    change, read, said = random.Random(1), 0, set()
    data = json.dumps(
        Recipe(
            (Rollout(NoiseRecipe(7).move(9, 0.5), stop=0.5), Rollout(NoiseRecipe(8), 0, 0.7)), 3, "0.3.75"
        ).to_dict()
    )
    for _ in range(800):
        text = changed(json.loads(data), change)
        if check_reading(text):
            read += 1
        else:
            said.add(refusal(text)[30:60])
    assert read > 50 and len(said) > 20


@given(st.text() | st.recursive(st.sampled_from(STRANGE) | st.integers() | st.floats() | st.text(max_size=3),
                                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
                                max_leaves=8).map(json.dumps))  # fmt: skip
@example('{"noise_search": 1, "pieces": []}')
def test_any_text_is_read_or_refused(text):
    check_reading(text)
