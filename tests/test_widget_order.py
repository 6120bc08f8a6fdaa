"""Saved workflows hold the values of widgets by their place, so inputs are only ever appended."""

import json
from pathlib import Path

import pytest

from noisesearch.nodes import NODES
from noisesearch.nodes.given import declared_by
from noisesearch.nodes.sockets import LATER

FROZEN = json.loads((Path(__file__).parent / "fixtures" / "widgets.json").read_text("utf-8"))
"""{node: its inputs of the first release, in their order}, with the widget that the browser adds behind a seed. Add nodes, change none."""
SEARCH = ("NoiseSearchKSampler", "NoiseSearchSampler")


def order(node):
    names = []
    for name, (_, options) in declared_by(node).items():
        names += [name] + ["control_after_generate"] * bool(options.get("control_after_generate"))
    return names


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.GET_SCHEMA().node_id)
def test_inputs_keep_their_places(node):
    node_id = node.GET_SCHEMA().node_id
    assert node_id in FROZEN, "a new node: add its inputs to tests/fixtures/widgets.json"
    frozen = FROZEN[node_id]
    assert order(node)[: len(frozen)] == frozen


@pytest.mark.parametrize("node_id", SEARCH)
def test_the_search_nodes_grow_in_one_order(node_id):
    node = next(node for node in NODES if node.GET_SCHEMA().node_id == node_id)
    added = order(node)[len(FROZEN[node_id]) :]
    assert LATER == ("choose", "pick", "journal", "draft_steps", "draft_cfg", "verify_top")
    assert [name for name in added if name != "control_after_generate"] == [
        name for name in LATER if name in added
    ]


def test_no_node_is_lost():
    assert set(FROZEN) <= {node.GET_SCHEMA().node_id for node in NODES}
