"""docs/recipes.md says what is so: its examples are read and run, its numbers are those of the code."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from noisesearch.search import json_text, noise, rollout
from noisesearch.search.rollout import Recipe, recipes_from_json, recipes_to_json
from noisesearch.session.noises import RecipeNoise

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def code():
    """The page's own reading of a noise, which knows nothing of ours."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(text, names)  # noqa: S102  (a page of ours)
    return names


def test_the_page_has_examples_of_both_versions():
    versions = [json.loads(text)["noise_search"] for text in EXAMPLES]
    assert versions.count(1) >= 3 and versions.count(2) >= 2


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_read_and_written_again(text):
    (recipe,) = recipes_from_json(text)
    assert json.loads(recipes_to_json([recipe])) == json.loads(text)


@pytest.mark.parametrize("text", EXAMPLES)
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 16, 3, 4, 4)])
def test_its_noises_are_the_numbers_that_the_page_computes(text, shape, code):
    data, (recipe,) = json.loads(text), recipes_from_json(text)
    for entry, piece in zip(data["pieces"], recipe.pieces, strict=True):
        alone = replace(piece.noise, vary=None)  # what also goes into the conditioning is not in the noise
        ours = RecipeNoise([Recipe((rollout.Rollout(alone),), recipe.index)])
        expected = code["noise_of"](entry["noise"], shape, data["index"])
        assert torch.equal(ours.generate_noise({"samples": torch.zeros(shape)}), expected)


def test_the_page_names_every_key_and_every_limit():
    for key in (*rollout.RECIPE_KEYS, *rollout.PIECE_KEYS, *noise.SEED_KEYS, *noise.MIX_KEYS):
        assert f"`{key}`" in PAGE or f'"{key}"' in PAGE, key
    plain = PAGE.replace(",", "").replace(" ", "")
    limits = {
        "text": json_text.MOST_TEXT,
        "recipesinalist": rollout.ALL_RECIPES,
        "piecesofarecipe": f"{rollout.MOST_PIECES}({rollout.ALL_TOGETHER['pieces']}overalist)",
        "movesofanoiseseedsofamix": noise.MOST_MOVES,
        "noisesdrawnforarecipe": f"{rollout.MOST_DRAWS}({rollout.ALL_TOGETHER['noises']}overalist)",
        "noiseswithinnoises": noise.MOST_NESTED,
        "stepsofapiece": rollout.MOST_STEPS,
        "index": rollout.MOST_INDEX,
    }
    for what, limit in limits.items():
        assert f"|{what}|{limit}" in plain, what
    assert noise.MOST_MOVES == noise.MOST_SEEDS and f"morethan{json_text.MOST_DIGITS}digits" in plain
    assert f"upto{rollout.MOST_VERSION}plaincharacters" in plain
