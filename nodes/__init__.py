"""The graph nodes. Every file of this room that has nodes ends in a list NODES."""
from . import candidates, demo, sampling, search, verifiers

NODES = [*search.NODES, *candidates.NODES, *sampling.NODES, *verifiers.NODES, *demo.NODES]
