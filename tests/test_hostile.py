"""Prompts that no one would write, for every node, on a real server: a clear end each time, and a worker that goes on."""

import arena
import hostile
import photos
import pytest

from noisesearch.nodes import NODES

NAMES = sorted(node.GET_SCHEMA().node_id for node in NODES)
MANY = 1000
WITHOUT_A_FILE = {
    "NoiseSearchAestheticFromClipVision",
    "NoiseSearchLoadFeatureStatistics",
}  # nothing here is one for them


@pytest.fixture(scope="module")
def ring(comfyui, tmp_path_factory):
    ring = arena.Arena(comfyui, tmp_path_factory.mktemp("arena"))
    photos.fill(ring.base / "input")
    yield ring
    ring.stop()


@pytest.fixture(scope="module")
def declared(ring):
    return ring.server.object_info()


def test_there_are_enough_and_the_same_each_time(declared):
    first, second = (
        [case.what for name in NAMES for case in hostile.cases(name, declared)] for _ in range(2)
    )
    assert first == second and len(first) >= MANY


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_runs_in_which_nothing_is_wrong(name, ring, declared):
    """So that what is wrong with the others is what they say."""
    ended = ring.run(hostile.graph(name, declared))
    assert (ended.status == "success") == (name not in WITHOUT_A_FILE), ended


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_takes_the_server_down(name, ring, declared):
    faults = {case.what: ring.fault(case.prompt) for case in hostile.cases(name, declared)}
    assert {what: fault for what, fault in faults.items() if fault} == {}
