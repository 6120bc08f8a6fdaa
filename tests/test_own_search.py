"""Searches that others write: from the docs, with their mistakes, and none of their faults loses what was paid."""

import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from graphs import Graph
from noisesearch.search.algorithms.base import BudgetTooSmall, Search, as_search, prices
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout
from search_contract import SearchContract

DOCS = Path(__file__).resolve().parent.parent / "docs" / "own_search.md"


def examples():
    return re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def from_docs(number, name):
    """A class of an example, imported as a file of another pack would be."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"example_{number}.py"
        file.write_text(examples()[number], "utf-8")
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, name)


class TestTheFirstExample(SearchContract):
    search = from_docs(0, "Annealing")()


class TestTheSecondExample(SearchContract):
    search = from_docs(1, "SeedPruning")()


def test_the_examples_need_nothing_of_ours():
    assert all("noisesearch" not in example for example in examples())


# -- the planned search of the report: plan(terms) in place of begin, and not one of the optional members --------------------


@dataclass(frozen=True)
class Planned:
    count: int
    at: float
    name = "planned"

    def begin(self, seed, best):
        previews = yield [Rollout(NoiseRecipe(seed + i), stop=self.at) for i in range(self.count)]
        yield [Rollout(parent=outcome.id) for outcome in best(previews, 1)]


@dataclass(frozen=True)
class Planning:
    start: float = 0.5
    name = "planning"

    def plan(self, terms):
        count = 1
        while prices([(count + 1, Rollout(NoiseRecipe(0), stop=self.start))], terms)[1] <= terms.budget:
            count += 1
        return Planned(count, self.start)


class Unprintable:
    """Settings that are no dataclass, and of which everything but `begin` fails."""

    name = "unprintable"

    def begin(self, seed, best):
        yield [Rollout(NoiseRecipe(seed + i)) for i in range(4)]

    def describe(self):
        raise OSError("no description")

    def notes(self, wished):
        return None

    def __repr__(self):
        raise OSError("no name")


class TestAPlannedSearch(SearchContract):
    search = Planning()


class TestAnUnprintableSearch(SearchContract):
    search = Unprintable()

    def test_settings_are_values(self):
        assert as_search(self.search).name == "unprintable"

    def on_the_mixture(self, graph, **wishes):
        found = graph.search(self.search, budget_nfe=self.nfe, **wishes)
        said = [note for note in found.report["notes"] if "failed" in note]
        assert len(said) == 2 and "no description" in said[-1] + said[0]
        return found


@torch.inference_mode()
@pytest.mark.parametrize(
    "thing", [3, "search", object(), None.__class__, type("Nameless", (), {"begin": 1})()]
)
def test_what_is_no_search_is_refused_before_anything_runs(thing):
    graph = Graph.mixture()
    with pytest.raises(ValueError, match="A search is an object with a name"):
        graph.search(thing)
    assert graph.model.spy.rows == 0


@pytest.mark.parametrize("where", ["image", "say", "best"])
@torch.inference_mode()
def test_a_preview_or_a_progress_line_that_fails_loses_nothing(where, monkeypatch):
    from noisesearch.sampling.evaluator import Evaluator
    from noisesearch.session.progress import LiveProgress

    def fail(self, *args):
        raise OSError("no screen")

    whole = Graph.mixture().search(candidates=4)
    owner = Evaluator if where == "image" else LiveProgress
    if where == "image":  # only while it is a preview
        real, calls = Evaluator.image, []

        def image(self, id):
            calls.append(id)
            return fail(self) if len(calls) == 1 else real(self, id)

        monkeypatch.setattr(owner, where, image)
    else:
        monkeypatch.setattr(owner, where, fail)
    found = Graph.mixture().search(candidates=4)
    torch.testing.assert_close(found.latent["samples"], whole.latent["samples"], atol=0, rtol=0)
    assert [note for note in found.report["notes"] if "no screen" in note]


@torch.inference_mode()
def test_a_search_that_fails_half_way_gives_what_it_found():
    class Failing(Search):
        name = "failing"

        def begin(self, seed, best):
            yield [Rollout(NoiseRecipe(seed + i)) for i in range(3)]
            raise KeyError("what now")

    found = Graph.mixture().search(Failing(), candidates=8)
    assert len(found.report["images"][0]["candidates"]) == 3
    assert any("failing failed" in note for note in found.report["notes"])


def test_a_pass_that_does_not_fit_is_said_before_anything_runs():
    graph = Graph.mixture()
    with pytest.raises(BudgetTooSmall):
        graph.search(Planning(), budget_nfe=3)
    assert graph.model.spy.rows == 0


@pytest.mark.parametrize(
    "member, said",
    [
        (
            {"decoder": "PNG"},
            "decoder for the previews of planned 'PNG'. There are: the VAE, TAESD, latent2rgb",
        ),
        ({"decoder": None}, "decoder for the previews of planned None"),
        ({"preview": "cheap"}, "preview for planned 'cheap'. There are: extra evaluation, free"),
    ],
)
@torch.inference_mode()
def test_a_search_that_asks_for_previews_that_there_are_not_is_refused(member, said):
    graph = Graph.mixture("CONST")
    graph.model.spy.reset()
    own = type("Own", (Planned,), {"cuts": True, **member})(4, 0.5)
    with pytest.raises(ValueError, match=re.escape(said)):
        graph.search(own, candidates=4)
    assert graph.model.spy.rows == 0
