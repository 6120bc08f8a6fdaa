"""Which search? The one that has been shown to win where it is to run."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Ground, Search, Terms
from .random_search import RandomSearch


@dataclass(frozen=True)
class Auto(Search):
    """Random search, on drafts where they pay: no other search has been shown to beat it at its best number of steps."""

    name = "auto"
    drafts = True

    def settled(self, ground: Ground) -> tuple[Search, str]:
        search = RandomSearch()
        return search, f"Search: Auto took {search.name}. {ground.why}"

    def plan(self, terms: Terms) -> Search:
        return RandomSearch()
