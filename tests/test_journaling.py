"""The journal of a search node, on a model whose samples are known: what is never paid again, and what is never taken for something else."""

import copy
import gc
import json
import os
from collections import OrderedDict

import comfy.samplers
import folder_paths
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier, cond, make_model, one_hot
from graphs import Graph, half_mask, some_latent
from noisesearch import compat
from noisesearch.search.algorithms import (
    Evolution,
    ParticleSearch,
    RandomSearch,
    SearchOverPaths,
    SeedPruning,
    ZeroOrder,
)
from noisesearch.search.algorithms.base import fresh
from noisesearch.search.algorithms.replay import Replay
from noisesearch.search.journaled import OTHER_MODEL
from noisesearch.search.recovered import RECOVERED
from noisesearch.search.rollout import Recipe
from noisesearch.session import journaling, pace, provenance
from noisesearch.session.live import Live, Viewer
from noisesearch.session.provenance import Origin
from noisesearch.verifiers.ensemble import Ensemble

ALGORITHMS = {
    "random": None,
    "zero order": ZeroOrder(2, 0.9),
    "paths": SearchOverPaths(2, 2),
    "paths, one step a round": SearchOverPaths(1, 2, steps=1, preview="free", seeds=3, finish=0.2),
    "pruning": SeedPruning(),
    "evolution": Evolution(3, 2, 2, refined=1),
    "particles": ParticleSearch(0, 1, 8.0, threshold=1.0),
}

MODEL = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "lora_name": "b.safetensors"}},
    "3": {
        "class_type": "NoiseSearchKSampler",
        "inputs": {"model": ["2", 0], "vae": ["1", 2], "positive": ["4", 0], "seed": 7, "candidates": 8},
    },
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}},
}


class Prompt:
    """ComfyUI's dynamic prompt."""

    def __init__(self, nodes=MODEL, **changes):
        self.nodes = copy.deepcopy(nodes)
        for path, value in changes.items():
            node, name = path.split("__")
            self.nodes[node.removeprefix("n")]["inputs"][name] = value

    def has_node(self, node_id):
        return node_id in self.nodes

    def get_node(self, node_id):
        return self.nodes[node_id]


def origin(**changes):
    return Origin(Prompt(**changes), "3")


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """A user directory of its own, and a ComfyUI that has just been started."""
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    monkeypatch.setattr(journaling, "_known", {})
    monkeypatch.setattr(journaling, "_open", {})
    yield tmp_path / "user"
    for journal in journaling._open.values():
        journal.close()


def restarted():
    journaling._known.clear()
    journaling._open.popitem()[1].close()


def searched(graph, settings=None, where=None, **wishes):
    """(found, network rows) of a search as the nodes run it."""
    graph.model.spy.reset()
    found = graph.search(settings, origin=where or origin(), **{"candidates": 8, "keep_top": 2, **wishes})
    assert json.loads(json.dumps(found.report)) == found.report
    return found, graph.model.spy.rows


def same(one, other):
    assert one.recipes == other.recipes and one.scores == other.scores
    for name in ("latent", "denoised", "top_latents"):
        assert torch.equal(getattr(one, name)["samples"], getattr(other, name)["samples"])
    assert torch.equal(one.images, other.images) and torch.equal(one.top_images, other.top_images)
    for a, b in zip(one.report["images"], other.report["images"]):
        assert [a[key] for key in ("ranking", "rounds", "stopped")] == [
            b[key] for key in ("ranking", "rounds", "stopped")
        ]


@pytest.mark.parametrize("family", ["CONST", "EPS"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_search_again_gives_the_same_for_nothing(name, family):
    graph, settings = Graph.mixture(family, sampler_name="euler_ancestral"), ALGORITHMS[name]
    plain = graph.search(settings, candidates=8, keep_top=2)
    first, paid = searched(graph, settings)
    again, rows = searched(graph, settings)
    assert paid == 2 * first.report["totals"]["nfe"] > 0 and rows == 0
    same(first, plain)
    same(again, first)
    totals = again.report["totals"]
    assert totals["nfe"] == 0 and totals["journal_nfe"] == first.report["totals"]["nfe"]
    assert any("came from the search journal" in note for note in again.report["notes"])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_after_a_restart_two_evaluations_confirm_the_model(name):
    graph, settings = Graph.mixture("CONST"), ALGORITHMS[name]
    first, _ = searched(graph, settings)
    restarted()
    again, rows = searched(Graph.mixture("CONST"), settings)
    same(again, first)
    totals = again.report["totals"]
    assert rows == 2 * 2 and (totals["nfe"], totals["check_nfe"], totals["recomputed_nfe"]) == (0, 2, 0)


def test_another_model_object_is_confirmed_too():
    """The file of a model may have changed while ComfyUI kept the old one in memory."""
    first, _ = searched(Graph.mixture("CONST"))
    gc.collect()
    again, rows = searched(Graph.mixture("CONST"))
    same(again, first)
    assert rows == 2 * 2


def test_a_model_that_predicts_something_else_is_not_taken_for_the_same():
    graph = Graph.mixture("CONST")
    first, paid = searched(graph)
    graph.model = make_model("CONST", seed=5)
    other, rows = searched(graph)
    assert OTHER_MODEL in other.report["notes"] and rows == paid + 2 * 2
    assert not torch.equal(other.latent["samples"], first.latent["samples"])
    assert other.report["totals"]["journal_nfe"] == 0


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("evaluations", [3, 9, 13])
def test_cancelled_it_goes_on(name, evaluations):
    settings = ALGORITHMS[name]
    whole = Graph.mixture("CONST").search(settings, candidates=8, keep_top=2, batch_size=2)
    graph = Graph.mixture("CONST")

    class Cancelled(BaseException):
        pass

    def cancel(executor, *args, **kwargs):
        if graph.model.spy.calls >= evaluations:
            raise Cancelled
        return executor(*args, **kwargs)

    broken = graph.model.clone()
    broken.add_wrapper(comfy.patcher_extension.WrappersMP.APPLY_MODEL, cancel)
    broken.patches_uuid = graph.model.patches_uuid
    graph.model, kept = broken, graph.model
    with pytest.raises(Cancelled):
        searched(graph, settings, batch_size=2)
    paid = graph.model.spy.rows
    graph.model = kept
    rest, rows = searched(graph, settings, batch_size=2)
    same(rest, whole)
    totals = rest.report["totals"]
    assert totals["journal_nfe"] + totals["nfe"] - totals["recomputed_nfe"] == whole.report["totals"]["nfe"]
    lost_at_most = 2 * 2 * graph.steps  # one batch of two, guided
    assert paid + rows <= 2 * (whole.report["totals"]["nfe"] + totals["recomputed_nfe"]) + lost_at_most


def test_more_candidates_pay_for_the_new_ones_only():
    graph = Graph.mixture("CONST")
    _, sixteen = searched(graph, candidates=16)
    more, rows = searched(graph, candidates=64)
    assert (sixteen, rows) == (16 * 2 * graph.steps, 48 * 2 * graph.steps)
    same(more, graph.search(candidates=64, keep_top=2))


def test_more_of_the_best_cost_nothing():
    graph = Graph.mixture("CONST")
    searched(graph, keep_top=3)
    four, rows = searched(graph, keep_top=4)
    assert rows == 0 and len(four.top_images) == 4
    same(four, graph.search(candidates=8, keep_top=4))


def test_another_judge_samples_nothing():
    graph = Graph.mixture("CONST")
    searched(graph)
    judge = TargetVerifier(PixelVAE().decode(some_latent(seed=2))[0])
    other, rows = searched(graph, verifier=judge)
    assert rows == 0
    same(other, graph.search(candidates=8, keep_top=2, verifier=judge))


def test_a_held_out_judge_is_remembered():
    graph = Graph.mixture("CONST")
    target, other = (TargetVerifier(PixelVAE().decode(some_latent(seed=s))[0]) for s in (1, 2))
    judges = Ensemble((target,), (1.0,), held_out=other)
    first, _ = searched(graph, verifier=judges)
    again, rows = searched(graph, verifier=judges)
    assert rows == 0

    def held_out(found):
        return [one["held_out"] for one in found.report["images"][0]["candidates"]]

    assert held_out(again) == held_out(first) and None not in held_out(first)


def test_a_judge_that_raises_at_a_candidate_loses_nothing():
    class Failing(TargetVerifier):
        fails = True

        def score(self, batch):
            if self.fails:
                raise RuntimeError("no")
            return super().score(batch)

    graph = Graph.mixture("CONST")
    judge = Failing(PixelVAE().decode(some_latent(seed=1))[0])
    judge.fingerprint = lambda: {"failing": 1}
    with pytest.raises(RuntimeError, match="failed: no"):
        searched(graph, verifier=judge)
    judge.fails = False
    again, rows = searched(graph, verifier=judge)
    assert rows == 0
    same(again, graph.search(candidates=8, keep_top=2, verifier=judge))


def test_a_judge_that_fails_in_between_judges_what_it_missed_the_next_time():
    class Tired(TargetVerifier):
        tired = True

        def score(self, batch):
            if self.tired and self.calls >= 1:
                raise RuntimeError("no")
            return super().score(batch)

    graph = Graph.mixture("CONST")
    judge = Tired(PixelVAE().decode(some_latent(seed=1))[0])
    judge.fingerprint = lambda: {"tired": 1}
    first, paid = searched(graph, ZeroOrder(2, 0.9), verifier=judge)
    assert any(None in one["scores"] for one in first.report["images"][0]["candidates"]) and paid
    judge.tired = False
    again, _ = searched(graph, ZeroOrder(2, 0.9), verifier=judge)
    same(again, graph.search(ZeroOrder(2, 0.9), candidates=8, keep_top=2, verifier=judge))
    assert again.report["totals"]["journal_candidates"] >= 3


def test_a_latent_batch_is_as_many_contexts():
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(2, 4, 8, 8)})
    first, paid = searched(graph)
    again, rows = searched(graph)
    assert paid and rows == 0
    same(again, first)


def test_the_journal_can_be_switched_off(user):
    graph = Graph.mixture("CONST")
    _, paid = searched(graph, journal=False)
    _, rows = searched(graph, journal=False)
    assert paid == rows and not user.exists()


def test_a_replay_is_not_journaled(user):
    graph = Graph.mixture("CONST")
    found = graph.search(candidates=2)
    graph.search(Replay(tuple(found.recipes)), origin=origin())
    assert journaling.the_journal().counts() == (0, 0)


# -- what is another search, and what is the same -----------------------------------------------------------------------------


def key_of(graph, where=None, index=0, **parts):
    from noisesearch.sampling.ledger import Ledger
    from noisesearch.session import fingerprint
    from noisesearch.session.plan import plans_of, task_of
    from noisesearch.session.progress import LiveProgress
    from noisesearch.session.wishes import Wishes

    keys = []
    real = fingerprint.context_key

    def spy(setup, evaluator, at):
        keys.append(real(setup, evaluator, at))
        return keys[-1]

    journaling.context_key = spy
    try:
        settings = parts.pop("settings", RandomSearch())
        task = task_of(
            graph.guider,
            graph.sampler,
            graph.sigmas,
            settings,
            TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0]),
            PixelVAE(),
            parts.pop("prompt", ""),
            Wishes(**parts),
            origin=where or origin(),
        )
        plans_of(task, graph.latent, Ledger(), LiveProgress(None, 1))
    finally:
        journaling.context_key = real
    return keys[index]


OTHERS = {
    "the model's file": dict(where=dict(n1__ckpt_name="b.safetensors")),
    "a LoRA": dict(where=dict(n2__lora_name="c.safetensors")),
    "a LoRA's strength": dict(where=dict(n2__strength=0.5)),
    "the VAE": dict(where=dict(n3__vae=["1", 1])),
    "the steps": dict(graph=dict(steps=7)),
    "the sampler": dict(graph=dict(sampler_name="heun")),
    "the guidance": dict(graph=dict(cfg=5.0)),
    "the prompt's conditioning": dict(graph=dict(positive=cond(one_hot(1)))),
    "the latent": dict(graph=dict(latent={"samples": some_latent(), "noise_mask": half_mask()})),
    "the latent's size": dict(graph=dict(latent={"samples": torch.zeros(1, 4, 8, 16)})),
    "the place in a batch": dict(graph=dict(latent={"samples": torch.zeros(1, 4, 8, 8), "batch_index": [3]})),
}
THE_SAME = {
    "the seed": dict(where=dict(n3__seed=8)),
    "the candidates": dict(where=dict(n3__candidates=64), candidates=64),
    "the best to keep": dict(keep_top=7),
    "the search": dict(settings=ZeroOrder()),
    "the judge's prompt": dict(prompt="a dog"),
    "a text that encodes to the same": dict(where=dict(n4__text="a dog")),
}


def keyed(change):
    change = dict(change)
    where, graph = origin(**change.pop("where", {})), Graph.mixture("CONST", **change.pop("graph", {}))
    return key_of(graph, where, **change)


@pytest.mark.parametrize("what", OTHERS)
def test_what_makes_another_picture_is_another_key(what):
    assert keyed(OTHERS[what]) != keyed({})


@pytest.mark.parametrize("what", THE_SAME)
def test_what_makes_the_same_picture_is_the_same_key(what):
    assert keyed(THE_SAME[what]) == keyed({})


def test_ids_of_nodes_do_not_matter():
    renamed = json.loads(
        json.dumps(MODEL).replace('"1"', '"ten"').replace('"2"', '"9:8"').replace('"4"', '"0.0.1"')
    )
    assert key_of(Graph.mixture("CONST"), Origin(Prompt(renamed), "3")) == keyed({})


def test_what_a_node_says_of_its_changes_counts():
    where = origin()
    where.graph.nodes["2"]["is_changed"] = ["abc"]
    assert key_of(Graph.mixture("CONST"), where) != keyed({})


@pytest.mark.parametrize("changed", [float("nan"), [float("nan")], object()])
def test_above_a_node_that_is_new_every_time_nothing_can_be_resumed(changed):
    where = origin()
    where.graph.nodes["2"]["is_changed"] = changed
    graph = Graph.mixture("CONST")
    found, paid = searched(graph, where=where)
    _, rows = searched(graph, where=where)
    assert rows == paid
    said = [note for note in found.report["notes"] if "cannot be resumed" in note]
    assert len(said) == 1 and "'LoraLoader' (node '2')" in said[0]
    assert "cannot be resumed" in found.report["images"][0]["plan"]


def test_two_lora_files_swapped_under_one_name_are_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "loras"
    folder.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(folder)], {".safetensors"}))
    (folder / "b.safetensors").write_bytes(b"one")
    (folder / "c.safetensors").write_bytes(b"two")
    os.utime(folder / "b.safetensors", (1, 1))
    first = keyed({})
    (folder / "b.safetensors").rename(folder / "d.safetensors")
    (folder / "c.safetensors").rename(folder / "b.safetensors")
    assert keyed({}) != first
    (folder / "d.safetensors").rename(folder / "b.safetensors")
    assert keyed({}) == first


def test_the_prompts_of_a_list_never_get_each_others_picture(monkeypatch):
    """One node id, three prompts: ComfyUI runs the node three times, and the graph looks the same each time."""
    found = []
    for _ in range(2):
        for i in range(3):
            monkeypatch.setattr(compat, "list_index", lambda i=i: i)
            graph = Graph.mixture("CONST", positive=cond(one_hot(i)))
            found.append(searched(graph)[0])
            modes = graph.model.mixture.mode_of(
                graph.model.model.process_latent_in(found[-1].latent["samples"])
            )
            assert modes.tolist() == [i]
    for first, again in zip(found[:3], found[3:]):
        same(again, first)
        assert (
            again.report["totals"]["nfe"] == 0 and again.report["totals"]["check_nfe"] == 2
        )  # to confirm the model, which is another object


def test_models_of_a_list_are_told_apart(monkeypatch):
    monkeypatch.setattr(compat, "list_index", lambda: 0)
    first = keyed({})
    monkeypatch.setattr(compat, "list_index", lambda: 1)
    assert keyed({}) != first


def test_keys_are_made_in_no_time():
    """In time of this process, of SDXL's conditioning."""
    import time

    from noisesearch.session.fingerprint import context_key

    graph = Graph.mixture("CONST")
    graph.positive[0][0] = torch.randn(1, 77, 2048)
    evaluator, costs = graph.evaluator(), []
    for _ in range(5):
        began = time.process_time()
        context_key(evaluator_setup(graph), evaluator, origin())
        costs.append(time.process_time() - began)
    assert min(costs) < 0.01


def evaluator_setup(graph):
    from noisesearch.sampling.levels import Levels
    from noisesearch.sampling.schedule import Schedule
    from noisesearch.sampling.setup import Setup
    from noisesearch.sampling.slicing import guider_of, samples_of
    from noisesearch.sampling.solvers import Solver

    schedule = Schedule(graph.sigmas, Levels(graph.model.get_model_object("model_sampling")))
    sample = samples_of(graph.latent, graph.model)[0]
    return Setup(guider_of(graph.guider, 0), Solver(graph.sampler), schedule, sample)


def test_a_pack_that_changes_is_noticed(tmp_path, monkeypatch):
    import sys

    pack = tmp_path / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text("x = 1")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "custom_nodes", ([str(pack.parent)], set()))
    module = type(sys)("a_pack_for_a_test")
    module.__file__ = str(pack / "__init__.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    node = type(
        "LoraLoader", (), {"__module__": module.__name__, "RELATIVE_PYTHON_MODULE": "custom_nodes.pack"}
    )
    registry = type(sys)("nodes")
    registry.NODE_CLASS_MAPPINGS = {"LoraLoader": node}
    plain = keyed({})
    monkeypatch.setitem(sys.modules, "nodes", registry)
    first = keyed({})
    (pack / "__init__.py").write_text("x = 22")
    assert keyed({}) == first, "what runs is what was loaded"
    provenance._code_mark.cache_clear()
    assert len({plain, first, keyed({})}) == 3


def test_a_judge_is_known_by_its_fingerprint_and_prompt():
    from noisesearch.session.fingerprint import judge_key
    from noisesearch.session.judging import Judge

    target, other = (TargetVerifier(PixelVAE().decode(some_latent(seed=s))[0]) for s in (1, 2))
    keys = [
        judge_key(Judge(verifier, prompt), early)
        for verifier in (target, other, Ensemble((target, other), (1.0, 1.0)))
        for prompt in ("", "a cat")
        for early in (False, True)
    ]
    assert len(set(keys)) == len(keys)
    weighted = (Ensemble((target, other), weights, "z-score") for weights in ((1.0, 1.0), (1.0, 2.0)))
    assert len({judge_key(Judge(one, ""), False) for one in weighted}) == 1


# -- the file ------------------------------------------------------------------------------------------------------------


def test_the_file_lies_in_a_folder_that_is_not_served(user):
    assert journaling.journal_file() == user / "__noise_search" / "journal.sqlite3"
    searched(Graph.mixture("CONST"))
    assert (user / "__noise_search" / "journal.sqlite3").is_file() and len(list(user.iterdir())) == 1


def test_older_versions_of_comfyui_have_no_such_folder_of_their_own(user, monkeypatch):
    monkeypatch.delattr(folder_paths, "get_system_user_directory", raising=False)
    assert journaling.journal_file() == user / "__noise_search" / "journal.sqlite3"


def test_clearing(user):
    graph = Graph.mixture("CONST")
    _, paid = searched(graph)
    assert journaling.clear_journal() == "The search journal is empty."
    assert searched(graph)[1] == paid


def test_a_damaged_file_is_said_once_and_costs_nothing_else(user):
    graph = Graph.mixture("CONST")
    first, _ = searched(graph)
    restarted()
    journaling.journal_file().write_bytes(b"nothing of the kind" * 1000)
    again, _ = searched(graph)
    same(again, first)
    assert sum("The search journal is damaged" in note for note in again.report["notes"]) == 1
    assert journaling.clear_journal() == "The search journal is empty."


def test_a_file_that_is_removed_while_the_server_runs_is_begun_anew(user):
    graph = Graph.mixture("CONST")
    _, paid = searched(graph)
    for file in (user / "__noise_search").iterdir():
        file.unlink()
    assert searched(graph)[1] == paid and searched(graph)[1] == 0


def test_no_text_of_the_user_is_in_the_file(user):
    """Hashes, numbers and latents only: no prompts, no names of files."""
    searched(Graph.mixture("CONST"), prompt="a very private prompt")
    restarted()
    data = journaling.journal_file().read_bytes()
    assert b"private" not in data and b"safetensors" not in data and b"a cat" not in data


# -- the switch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, on",
    [
        (None, True),
        ("{}", True),
        ('{"NoiseSearch.Journal.Enabled": true}', True),
        ('{"NoiseSearch.Journal.Enabled": false}', False),
        ("not json", True),
        ("[1]", True),
        ("[" * 100_000, True),
    ],
)
def test_comfyuis_setting_switches_it_off_for_all_nodes(settings, on, tmp_path, monkeypatch):
    import folder_paths

    from noisesearch.session.journaling import journal_is_on

    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    if settings is not None:
        (tmp_path / "default").mkdir()
        (tmp_path / "default" / "comfy.settings.json").write_text(settings, "utf-8")
    assert journal_is_on() is on


def test_nothing_is_decoded_for_the_time_left_of_what_the_journal_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    decodes = []
    for _ in range(2):
        monkeypatch.setattr(pace, "_looks", OrderedDict())
        panel = Live(Viewer(None, "workflow", "prompt", "3", "run"))
        found, _ = searched(Graph.mixture("CONST"), panel=panel, keep_top=1)
        decodes.append(found.report["totals"]["decodes"])
    assert decodes == [8 + 1, 1], "each candidate and the probe; then the winner alone"


@pytest.mark.parametrize("name", ["random", "zero order"])
def test_a_picked_image_that_is_journaled_is_not_sampled(name):
    graph, settings = Graph.mixture("CONST"), ALGORITHMS[name]
    found, _ = searched(graph, settings, keep_top=3)
    for place, recipe in enumerate(found.found[0].top_recipes):
        picked, rows = searched(graph, Replay((recipe,)))
        assert rows == 0 and RECOVERED in picked.report["notes"]
        assert picked.report["totals"]["nfe"] == 0 and picked.recipes == [recipe]
        assert torch.equal(picked.latent["samples"], found.top_latents["samples"][place : place + 1])
    paid = searched(graph, Replay((found.recipes[0],)), journal=False)[1]
    assert paid > 0


def test_a_picked_image_that_is_not_journaled_is_sampled():
    graph = Graph.mixture("CONST")
    searched(graph)
    picked, rows = searched(graph, Replay((Recipe((fresh(4711),)),)))
    assert rows == 2 * graph.steps and RECOVERED not in picked.report["notes"]
    restarted()  # nor is the model asked whether it is still the journal's
    assert searched(graph, Replay((Recipe((fresh(4711),)),)))[1] == 2 * graph.steps
    assert torch.allclose(picked.latent["samples"], graph.stock(4711), atol=1e-5)


def test_a_picked_image_of_another_model_is_sampled():
    graph = Graph.mixture("CONST")
    found, _ = searched(graph)
    graph.model = make_model("CONST", seed=5)
    picked, _ = searched(graph, Replay((found.recipes[0],)))
    assert RECOVERED not in picked.report["notes"] and OTHER_MODEL in picked.report["notes"]
    assert not torch.equal(picked.latent["samples"], found.latent["samples"])
