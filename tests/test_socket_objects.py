"""What lies on our sockets can always be written down: ComfyUI does it when a node fails, and its worker dies if that fails."""

import importlib
import pkgutil
import time

import execution
import pytest
import torch
from noisesearch.nodes import candidates, searching
from noisesearch.nodes.sockets import Report
from noisesearch.search.algorithms import RandomSearch, Replay, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.base import Search
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Recipe, Rollout
from noisesearch.session.noises import RecipeNoise
from noisesearch.untrusted import Short
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.ensemble import Ensemble, Renamed
from noisesearch.verifiers.judges.frechet import Statistics
from noisesearch.verifiers.judges.text_match import TextMatch
from noisesearch.verifiers.networks.clip_vision import ClipVisionFeatures

ROOMS = ("demo", "nodes", "sampling", "search", "session", "verifiers")
# a class that has one of these methods, or is of one of these kinds, lies on a socket
METHODS = ("score", "image_features", "generate_noise")
KINDS = (Search, Statistics, Report)


def _classes():
    """Every class that the pack defines."""
    for room in ROOMS:
        package = importlib.import_module(f"noisesearch.{room}")
        for module in [
            package,
            *(
                importlib.import_module(m.name)
                for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
            ),
        ]:
            yield from (
                value
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == module.__name__
            )


ON_SOCKETS = sorted(
    {
        c
        for c in _classes()
        if issubclass(c, KINDS) or any(callable(getattr(c, method, None)) for method in METHODS)
    },
    key=lambda c: c.__qualname__,
)


def test_the_classes_are_found():
    names = {c.__name__ for c in ON_SOCKETS}
    assert {
        "RandomSearch",
        "ZeroOrder",
        "SearchOverPaths",
        "Pass",
        "Replay",
        "RecipeNoise",
        "TextMatch",
        "DigitClassifier",
    } <= names
    assert {
        "ClipTower",
        "DinoFeatures",
        "ClassifierFeatures",
        "FrechetOracle",
        "ImageReward",
    } <= names and len(names) > 25


@pytest.mark.parametrize("kind", ON_SOCKETS, ids=lambda kind: kind.__name__)
def test_every_class_on_a_socket_has_the_short_repr(kind):
    assert kind.__repr__ is Short.__repr__
    assert kind.__str__ in (object.__str__, dict.__str__)


def test_a_class_that_is_added_inherits_it():
    class Mine(Verifier):
        name = "mine"

        def score(self, batch):
            return torch.zeros(len(batch.images))

    assert repr(Mine()) == "Mine()"


class Unspeakable:
    name = "n" * 200

    def score(self, batch):
        return torch.zeros(len(batch.images))

    def __repr__(self):
        raise RuntimeError("no words")


def _deep():
    recipe = NoiseRecipe(0)
    for seed in range(1, 9):
        recipe = NoiseRecipe(seed).move(recipe, 0.5)
    return recipe


HOSTILE = {
    "replay of 10 000 moves": Replay((Recipe((Rollout(NoiseRecipe(1, tuple((seed, 0.9) for seed in range(2, 10_000)))),)),)),
    "replay of nested noises": Replay((Recipe((Rollout(_deep()),)),) * 1000),
    "noise": RecipeNoise([Recipe((Rollout(_deep()),))] * 1000),
    "ensemble": Ensemble((Unspeakable(), Unspeakable()), (1.0, 1.0), held_out=Unspeakable()),
    "renamed": Renamed(Unspeakable(), "\ud800" * 10**6),
    "text match": TextMatch("\ud800" * 10**6, True),
    "features": ClipVisionFeatures(Unspeakable()),
    "statistics": Statistics(torch.zeros(2048), torch.eye(2048)),
    "report": Report({"prompt": "\ud800" * 10**6, "candidates": list(range(10**6))}),
    "settings": ZeroOrder(4, 0.7),
    "nothing": RandomSearch(),
}  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_comfyui_writes_it_down_in_a_few_words(value):
    began = time.process_time()
    text = execution.format_value(value)
    assert time.process_time() - began < 0.05
    assert (
        text == str(value) == repr(value) and 0 < len(text) <= 200 and text.isascii() and text.isprintable()
    )


def test_the_words_say_what_is_plain():
    words = "ZeroOrder(neighbours=4, cosine=0.7, pivot='keep best', chains=1, index=0)"
    assert repr(ZeroOrder(4, 0.7)) == words
    assert repr(SearchOverPaths()).startswith("SearchOverPaths(paths=2, width=0, start=0.75, ")
    assert repr(RandomSearch()) == "RandomSearch()"


def test_a_report_is_a_dictionary_all_the_same():
    import json

    report = Report({"seed": 7})
    assert report == {"seed": 7} and json.loads(json.dumps(report, indent=4)) == {"seed": 7}


def test_the_nodes_hand_out_such_reports():
    from graphs import Graph

    with torch.inference_mode():
        found = Graph.mixture("CONST").search(RandomSearch(), candidates=2)
        assert isinstance(searching.outputs_of(found)[7], Report)
        images = [torch.rand(2, 8, 8, 3)]

        class Mean(Verifier):
            name = "mean"

            def score(self, batch):
                return batch.images.flatten(1).mean(1)

        result = candidates.NoiseSearchScoreImages.execute(images, [Mean()], [""], [0], [-1e6]).result
    assert isinstance(result[-1], Report)
