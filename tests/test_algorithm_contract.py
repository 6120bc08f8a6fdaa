"""Every search algorithm against the contract (testing/search_contract.py). A new one is added to SEARCHES, and to NONSENSE."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from fake_evaluator import HalfWay, Particles, Refine, Renoise
from noisesearch.search.algorithms import (
    Auto,
    Evolution,
    ParticleSearch,
    RandomSearch,
    SearchOverPaths,
    SeedPruning,
    Varied,
    ZeroOrder,
)
from noisesearch.search.algorithms.auto import PATHS
from noisesearch.search.algorithms.zero_order import PIVOTS
from search_contract import SearchContract, digest

SEARCHES = {
    "random": RandomSearch(),
    "auto": Auto(),
    **{f"zero-order, {pivot}": ZeroOrder(pivot=pivot) for pivot in PIVOTS},
    "zero-order, one far neighbour": ZeroOrder(1, -0.5),
    "zero-order, three chains": ZeroOrder(2, chains=3),
    "paths": SearchOverPaths(),
    "paths, the schedule's steps": SearchOverPaths(steps=0),
    "paths, three steps": SearchOverPaths(steps=3),
    "paths, one narrow": SearchOverPaths(1, 1),
    "paths, the paper's": SearchOverPaths(2, 2, 0.12, 0.78, 0.81),
    "paths, by the budget, from the best seeds": SearchOverPaths(0, seeds=-1, preview="free"),
    "paths, one step a round, finished well": PATHS,
    "pruning": SeedPruning(),
    "particles": ParticleSearch(),
    "particles, noise put back": ParticleSearch(0, 2, 4.0, "max", "systematic", 1.0, 0.15, "free"),
    "evolution": Evolution(6, 2, 3),
    "evolution, refining": Evolution(6, 2, 3, refined=1),
    "zero-order, conditioning varied": Varied(ZeroOrder(2)),
    "half way (the test's own)": HalfWay(),
    "renoise (the test's own)": Renoise(),
    "refine (the test's own)": Refine(),
    "particles (the test's own)": Particles(),
}
NONSENSE = [
    (ZeroOrder, dict(neighbours=0)),
    (ZeroOrder, dict(neighbours=-1)),
    (ZeroOrder, dict(cosine=1.0)),
    (ZeroOrder, dict(cosine=-1.0)),
    (ZeroOrder, dict(cosine=math.nan)),
    (ZeroOrder, dict(pivot="best")),
    (ZeroOrder, dict(chains=0)),
    (SearchOverPaths, dict(paths=-1)),
    (SearchOverPaths, dict(seeds=-2)),
    (SearchOverPaths, dict(width=-1)),
    (SearchOverPaths, dict(steps=-2)),
    (SearchOverPaths, dict(preview="none")),
    (SearchOverPaths, dict(decoder="none")),
    (SearchOverPaths, dict(finish=-0.1)),
    (SearchOverPaths, dict(finish=math.nan)),
    (SearchOverPaths, dict(start=0.0)),
    (SearchOverPaths, dict(start=1.0)),
    (SearchOverPaths, dict(start=math.nan)),
    (SearchOverPaths, dict(forward=0.0)),
    (SearchOverPaths, dict(backward=math.nan)),
    (SearchOverPaths, dict(forward=0.35, backward=0.35)),
    (SearchOverPaths, dict(forward=0.5, backward=0.35)),
    (SeedPruning, dict(seeds=-1)),
    (SeedPruning, dict(first=0.0)),
    (SeedPruning, dict(first=math.nan)),
    (SeedPruning, dict(first=0.5, second=0.5)),
    (SeedPruning, dict(second=1.0)),
    (SeedPruning, dict(after_first=1.01)),
    (SeedPruning, dict(after_second=0.0)),
    (SeedPruning, dict(after_first=0.2, after_second=0.25)),
    (SeedPruning, dict(preview="none")),
    (SeedPruning, dict(decoder="a hammer")),
    (ParticleSearch, dict(particles=-1)),
    (Evolution, dict(first=0)),
    (Evolution, dict(regions=0)),
    (Evolution, dict(children=0)),
    (Evolution, dict(refined=-1)),
    (Evolution, dict(cosine=0.3)),
    (Evolution, dict(cosine=math.nan)),
    (Evolution, dict(middle=1.0)),
    (Varied, dict(inner=RandomSearch(), strength=0.0)),
    (Varied, dict(inner=RandomSearch(), strength=math.nan)),
    (Varied, dict(inner=RandomSearch(), share=1.1)),
    (ParticleSearch, dict(looks=0)),
    (ParticleSearch, dict(strength=-0.1)),
    (ParticleSearch, dict(strength=math.nan)),
    (ParticleSearch, dict(potential="min")),
    (ParticleSearch, dict(resampling="multinomial")),
    (ParticleSearch, dict(threshold=1.1)),
    (ParticleSearch, dict(forward=1.0)),
    (ParticleSearch, dict(preview="none")),
    (ParticleSearch, dict(decoder="a hammer")),
]


def _class_name(name):
    return "Test" + "".join(word.capitalize() for word in name.replace("'", "").replace("-", " ").split())


for _name, _settings in SEARCHES.items():
    globals()[_class_name(_name)] = type(_class_name(_name), (SearchContract,), {"search": _settings})

every = pytest.mark.parametrize("settings", SEARCHES.values(), ids=SEARCHES)


@pytest.mark.slow
def test_a_new_process_gives_the_same_requests():
    root = Path(__file__).resolve().parent.parent
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1:]; from pack import use_comfyui; "
        "import os; use_comfyui(os.environ['NOISESEARCH_COMFYUI']); import test_algorithm_contract as t; "
        "print(json.dumps({name: t.digest(settings) for name, settings in t.SEARCHES.items()}))"
    )
    command = [sys.executable, "-c", code, *(str(root / folder) for folder in ("tests", "testing", "tools"))]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "NOISESEARCH_COMFYUI": str(_comfyui())}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    printed = run.stdout.splitlines()[-1]
    assert json.loads(printed) == {name: digest(settings) for name, settings in SEARCHES.items()}


def _comfyui():
    import comfy

    return Path(next(iter(comfy.__path__))).parent


@every
def test_settings_are_frozen_values(settings):
    """Equal ones must be the same to a cache."""
    again = replace(settings)
    assert again == settings and hash(again) == hash(settings)
    assert type(settings).__dataclass_params__.frozen
    for field in dataclasses.fields(settings):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, field.name, getattr(settings, field.name))


@pytest.mark.parametrize(
    "algorithm, fields", NONSENSE, ids=lambda value: str(value) if isinstance(value, dict) else value.__name__
)
def test_settings_refuse_nonsense(algorithm, fields):
    (name, value) = list(fields.items())[-1]
    with pytest.raises(ValueError, match=str(value)):
        algorithm(**fields)


def test_every_published_algorithm_is_held_to_the_contract():
    from noisesearch.search import algorithms

    held = {type(settings).__name__ for settings in SEARCHES.values()}
    assert (
        set(algorithms.__all__) - {"Replay"} <= held
    )  # Replay is no search: it asks for one lineage, without scores
