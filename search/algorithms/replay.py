"""Not a search: a found lineage once more, without any verifier."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...untrusted import Short
from ..rollout import Recipe
from .base import Best, Search, Terms, prices


@dataclass(frozen=True)
class Replay(Short):
    """recipes: one, or one for each sample of the latent batch."""

    recipes: tuple[Recipe, ...]
    name = "replay"

    reinjects = True  # for all that concerns it, final_sigmas above all: it runs what the recipe says

    def of_sample(self, i: int, count: int) -> Replay:
        """The replay for sample `i` of a batch of `count`."""
        if len(self.recipes) not in (1, count):
            raise ValueError(
                f"There are {len(self.recipes)} recipes, but the latent has {count} samples. Give it the latent batch that was searched."
            )
        if len(self.recipes) == count:
            return Replay((self.recipes[i],))
        return Replay(
            (replace(self.recipes[0], index=self.recipes[0].index + i),)
        )  # its seeds give every sample a noise of its own, as stock seeds do

    def begin(self, seed: int, best: Best) -> Search:
        last = None
        for piece in self.recipes[0].pieces:
            last = (yield [replace(piece, parent=last and last.id)])[0]

    def price(self, terms: Terms) -> int:
        """NFE of the whole lineage, with enough left after each piece to complete the sample, as the driver wants it."""
        return prices([(1, piece) for piece in self.recipes[0].pieces], terms)[1]
