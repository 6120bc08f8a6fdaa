"""The graph nodes. Every file of this room that has nodes ends in a list NODES."""

from ..demo import judges as _  # noqa: F401  (adds itself to the catalogue, before the nodes list it)
from . import (
    auto_search,
    candidates,
    class_verifiers,
    demo,
    early_searches,
    ensemble,
    evolution_search,
    feature_verifiers,
    folder,
    prompt_list,
    report,
    samplers,
    search,
    searches,
    verifiers,
    vlm_verifiers,
)
from .guard import guarded

VERIFIERS = [
    *verifiers.NODES,
    *ensemble.NODES,
    *class_verifiers.NODES,
    *feature_verifiers.NODES,
    *vlm_verifiers.NODES,
]
_NODES = [
    *search.NODES,
    *searches.NODES,
    *auto_search.NODES,
    *early_searches.NODES,
    *evolution_search.NODES,
    *candidates.NODES,
    *folder.NODES,
    *prompt_list.NODES,
    *report.NODES,
    *samplers.NODES,
    *VERIFIERS,
    *demo.NODES,
]
NODES = [guarded(node) for node in _NODES]
