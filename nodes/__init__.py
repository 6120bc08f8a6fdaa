"""The graph nodes. Every file of this room that has nodes ends in a list NODES."""

from . import candidates, class_verifiers, demo, ensemble, feature_verifiers, sampling, search, verifiers

VERIFIERS = [*verifiers.NODES, *ensemble.NODES, *class_verifiers.NODES, *feature_verifiers.NODES]
NODES = [*search.NODES, *candidates.NODES, *sampling.NODES, *VERIFIERS, *demo.NODES]
