"""Not a search: a found lineage once more, without any verifier."""
from __future__ import annotations

from dataclasses import dataclass, replace

from ..rollout import Recipe, Rollout
from .base import Best, Search, Terms


@dataclass(frozen=True)
class Replay:
    """recipes: one, or one for each sample of the latent batch."""

    recipes: tuple[Recipe, ...]
    name = "replay"

    reinjects = True  # for all that concerns it, final_sigmas above all: it runs what the recipe says

    def of_sample(self, i: int, count: int) -> Replay:
        """The replay for sample `i` of a batch of `count`."""
        if len(self.recipes) not in (1, count):
            raise ValueError(f"There are {len(self.recipes)} recipes, but the latent has {count} samples. Give it the latent batch that was searched.")
        return Replay((self.recipes[i % len(self.recipes)],))

    def begin(self, seed: int, best: Best) -> Search:
        last = None
        for piece in self.recipes[0].pieces:
            last = (yield [replace(piece, parent=last and last.id)])[0]

    def price(self, terms: Terms) -> int:
        """NFE of the whole lineage, with enough left after each piece to complete the sample, as the driver wants it."""
        pieces, spent, need = self.recipes[0].pieces, 0, 0
        for piece, before in zip(pieces, [None, *pieces]):
            spent += terms.cost(piece, before)
            need = max(need, spent + (0 if piece.finished else terms.cost(Rollout(parent=0), piece)))
        return need
