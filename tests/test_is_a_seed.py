"""Whether a seed gives an image in a stock sampler: the recipe, the report and the panel in the browser say the same of all recipes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Recipe, Rollout
from noisesearch.session.summary import made_from, name_of

ROOT = Path(__file__).resolve().parent.parent
ONE = NoiseRecipe(3)
RECIPES = {
    "seed": (Rollout(ONE),),
    "moved": (Rollout(ONE.move(4, 0.5)),),
    "mix": (Rollout(NoiseRecipe(3, mix=((3, 0.6), (4, 0.8)))),),
    "varied": (Rollout(NoiseRecipe(3, vary=(0.3, 0.5))),),
    "begun lower": (Rollout(ONE, start=0.8),),
    "other steps": (Rollout(ONE, steps=3),),
    "cut": (Rollout(ONE, stop=0.5), Rollout(parent=0)),
    "noise put back": (Rollout(ONE, stop=0.5), Rollout(NoiseRecipe(4), parent=0, start=0.7)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_and_the_report_say_so(name):
    recipe, plain = Recipe(RECIPES[name]), name == "seed"
    assert recipe.is_a_seed is plain
    assert made_from(recipe.to_dict(), 3) == ("seed 3" if plain else "found from seed 3")


@pytest.mark.parametrize("name", RECIPES)
def test_the_report_names_candidates_by_it(name):
    rollout = RECIPES[name][-1]
    told = {"id": 9, "noise": rollout.noise and rollout.noise.to_dict(), "stop": rollout.stop}
    places = {"parent": rollout.parent, "start": rollout.start, "steps": rollout.steps}
    told |= {key: value for key, value in places.items() if value is not None}
    assert name_of(told) == ("seed 3" if name == "seed" else "candidate 9")


def test_the_panel_says_so(tmp_path):
    node = shutil.which("node")
    if node is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("node is not installed")
    shutil.copy(ROOT / "web" / "panel" / "recipes.js", tmp_path / "recipes.mjs")
    damaged = [None, {}, {"pieces": []}, {"pieces": [None]}, {"pieces": [{"noise": None}]}, {"pieces": "x"}]
    asked = [Recipe(pieces).to_dict() for pieces in RECIPES.values()] + damaged
    (tmp_path / "ask.mjs").write_text(
        'import { firstSeed, isASeed } from "./recipes.mjs";\n'
        f"const asked = {json.dumps(asked)};\n"
        "console.log(JSON.stringify([asked.map(isASeed), asked.map(firstSeed)]));\n"
    )
    run = subprocess.run([node, "ask.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    plain, seeds = json.loads(run.stdout)
    assert plain == [name == "seed" for name in RECIPES] + [False] * len(damaged)
    assert seeds == [3] * len(RECIPES) + [None] * len(damaged)
