"""The graph nodes. Every file of this room ends in a list NODES."""

NODES = []
