"""What people type into the node search finds the right node first, among all nodes of ComfyUI.

ComfyUI's page ranks by how a name holds what was typed: all of it, at the start, as a word, anywhere, or word by word; among equals
by how early and in how short a name. Before 0.11 it knows ids and display names only, later aliases too.
"""

import re
from types import SimpleNamespace

import pytest

from noisesearch import compat
from noisesearch.nodes import NODES
from noisesearch.nodes.names import CATEGORIES

FIRST = {
    "best of n": ("NoiseSearchKSampler", "NoiseSearchKSampler"),
    "better image": ("NoiseSearchZeroOrder", "NoiseSearchKSampler"),
    "judge": ("NoiseSearchLoadVerifier", "NoiseSearchLoadVerifier"),
    "image reward": ("NoiseSearchLoadVerifier", "NoiseSearchLoadVerifier"),
    "variation": ("NoiseSearchCandidates", "NoiseSearchCandidates"),
}
"""{what is typed: the first node without aliases, and with them}"""
NOWHERE = (9,)


def rank(typed, name):
    """How well a name fits what was typed, the least first; NOWHERE when it does not hold it."""
    words = [word.lower() for word in re.split(r" |\b|(?<=[a-z])(?=[A-Z])|(?=[A-Z][a-z])", name)]
    name, parts = name.lower(), typed.split(" ")
    if name == typed:
        return (0,)
    if name.startswith(typed):
        return (1, len(name))
    if typed in words or typed in name:
        return (2 if typed in words else 3, name.index(typed) + len(name) / 2)
    if set(parts) <= set(words):
        places = [words.index(part) for part in parts]
        return (4, max(places) - min(places) + max(places) / 2 + len(name) / 2)
    if all(part in name for part in parts):
        places = [name.index(part) for part in parts]
        ends = [name.index(part) + len(part) for part in parts]
        return (5, max(ends) - min(places) + max(ends) / 2 + len(name) / 2)
    return NOWHERE


def found(typed, nodes):
    """Node ids by rank. nodes: {node id: its names}."""
    ranked = {node: min(rank(typed, name) for name in names) for node, names in nodes.items()}
    return [node for node in sorted(ranked, key=ranked.get) if ranked[node] != NOWHERE]


@pytest.fixture
def aliases(monkeypatch):
    """{node id: its aliases}, which this ComfyUI's schema may be too old to keep."""
    monkeypatch.setattr(compat, "_SCHEMA_FIELDS", compat._SCHEMA_FIELDS | {"search_aliases"})
    monkeypatch.setattr(compat, "io", SimpleNamespace(Schema=dict))
    schemas = [node.define_schema() for node in NODES]
    return {schema["node_id"]: schema["search_aliases"] for schema in schemas}


@pytest.mark.parametrize("typed", FIRST)
def test_the_right_node_comes_first(typed, object_info, aliases):
    names = {node: [node, info["display_name"] or node] for node, info in object_info.items()}
    old, new = FIRST[typed]
    assert found(typed, names)[0] == old
    with_aliases = {node: [*known, *aliases.get(node, [])] for node, known in names.items()}
    assert found(typed, with_aliases)[0] == new


FORMER = {
    "KSampler (Search)": "NoiseSearchKSampler",
    "Search Sampler": "NoiseSearchSampler",
    "Random Search": "NoiseSearchRandom",
    "Zero-Order Search": "NoiseSearchZeroOrder",
    "Search over Paths": "NoiseSearchPaths",
    "Replay Recipe": "NoiseSearchReplay",
    "Score Images": "NoiseSearchScoreImages",
    "Multistep Consistency": "NoiseSearchConsistency",
    "Load Verifier": "NoiseSearchLoadVerifier",
    "Verifier Ensemble": "NoiseSearchVerifierEnsemble",
    "Zero-Shot Classifier": "NoiseSearchZeroShotClassifier",
    "ImageNet Classifier": "NoiseSearchImageNetClassifier",
    "Aesthetic Score (CLIP Vision)": "NoiseSearchAestheticFromClipVision",
    "Text Match (OCR)": "NoiseSearchTextMatch",
    "Reference Similarity": "NoiseSearchReferenceSimilarity",
    "Self-Supervised Verifier": "NoiseSearchSelfSupervised",
    "Load Image Features": "NoiseSearchLoadFeatures",
}


def test_a_former_name_still_finds_its_node(aliases):
    assert {name: [node for node, known in aliases.items() if name in known] for name in FORMER} == {
        name: [node] for name, node in FORMER.items()
    }


def test_every_node_is_in_a_known_category_and_its_names_are_its_own(aliases):
    schemas = [node.define_schema() for node in NODES]
    assert {schema["category"] for schema in schemas} == set(CATEGORIES)
    assert len({schema["display_name"] for schema in schemas}) == len(schemas)
    assert [node for node, known in aliases.items() if len(set(known)) < len(known) or not known] == []


def test_the_two_samplers_that_artists_do_not_ask_for_keep_their_names():
    names = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in NODES}
    assert names["NoiseSearchCountNFE"].display_name == "KSampler (Count NFE)"
    assert names["NoiseSearchReinjectKSampler"].display_name == "KSampler (Reinject Noise)"
    assert {names[name].category for name in ("NoiseSearchCountNFE", "NoiseSearchReinjectKSampler")} == {
        names["NoiseSearchKSampler"].category
    }
