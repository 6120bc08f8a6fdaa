"""Every example and every frozen workflow opens in ComfyUIs that are not here: by what their own nodes take and give.

The facts are recorded with tools/object_info.py; docs/versions.md says what was tried on which version.
"""

import copy
import json
from pathlib import Path

import pytest

import winners
import workflow

ROOT = Path(__file__).resolve().parent.parent
OLDEST = "0.3.64"
RECORDED = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in (ROOT / "tests" / "fixtures" / "object_info").glob("*.json")
}
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))
# The frozen one that loads a folder needs a stock node which came after 0.3.64.
FROZEN = [path for path in sorted(winners.FROZEN.glob("*.json")) if path.stem != "score_a_folder"]
PROMPTS = [path for path in sorted((winners.FROZEN / "api").glob("*.json")) if path.stem != "score_a_folder"]


@pytest.fixture(params=sorted(RECORDED))
def version(request):
    return request.param


@pytest.fixture
def elsewhere(version, object_info):
    """The definitions that a server of that version would give: its own nodes, and ours as they are now."""
    ours = {name: one for name, one in object_info.items() if name.startswith("NoiseSearch")}
    assert ours
    return {name: one for name, one in RECORDED[version].items() if name != "comfyui"} | ours


def test_the_oldest_and_newer_ones_are_recorded():
    assert {recorded["comfyui"] for recorded in RECORDED.values()} >= {OLDEST, "0.33.0"}
    toml = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'requires-comfyui = ">={OLDEST}"' in toml


@pytest.mark.parametrize("path", [*EXAMPLES, *FROZEN], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_workflow_opens(path, elsewhere):
    graph = json.loads(path.read_text("utf-8"))
    assert workflow.problems(graph, elsewhere) == []
    assert len(workflow.to_api(graph, elsewhere)) == sum(
        node["type"] not in workflow.NOTES for node in graph["nodes"]
    )


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_a_saved_prompt_has_what_the_nodes_want(path, elsewhere):
    prompt = json.loads(path.read_text("utf-8"))
    for node in prompt.values():
        declared = elsewhere[node["class_type"]]["input"]
        assert set(declared.get("required", {})) <= set(node["inputs"])
        assert set(node["inputs"]) <= {*declared.get("required", {}), *declared.get("optional", {})}


def test_the_facts_would_tell(elsewhere):
    """What a version lacks, or limits more, is told."""
    graph = json.loads((ROOT / "example_workflows" / "demo.json").read_text("utf-8"))
    elsewhere = copy.deepcopy(elsewhere)
    del elsewhere["SaveImage"]
    elsewhere["KSampler"]["input"]["required"]["steps"][1]["max"] = 5
    found = "\n".join(workflow.problems(graph, elsewhere))
    assert "(SaveImage): not a node that this server knows" in found
    assert "(KSampler): steps = 15 is outside 1 .. 5" in found
