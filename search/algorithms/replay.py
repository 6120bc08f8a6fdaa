"""Not a search: a found lineage once more, without any verifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..rollout import Recipe, note_of_version
from .base import Asking, Best, Search, Terms, prices


@dataclass(frozen=True)
class Replay(Search):
    """recipes: one, or one for each sample of the latent batch. comfyui: the version that it runs under, where it is known."""

    recipes: tuple[Recipe, ...]
    comfyui: str | None = None
    name = "replay"
    reinjects = True  # for all that concerns it, final_sigmas above all: it runs what the recipe says
    needs_verifier = False

    @property
    def varies(self) -> bool:  # type: ignore[override]
        return any(recipe.root.vary is not None for recipe in self.recipes)

    def of_sample(self, index: int, count: int, place: int) -> tuple[Replay, int]:
        """Its own recipe, or the one there is, whose seeds give every sample a noise of its own, as stock seeds do."""
        if len(self.recipes) not in (1, count):
            raise ValueError(
                f"There are {len(self.recipes)} recipes, but the latent has {count} samples. Give it the latent batch that was searched."
            )
        one = self.recipes[index] if len(self.recipes) == count else self.recipes[0]
        if len(self.recipes) != count:
            one = replace(one, index=one.index + index)
        return Replay((one,), self.comfyui), one.index

    def begin(self, seed: int, best: Best) -> Asking:
        last: int | None = None
        for piece in self.recipes[0].pieces:
            last = (yield [replace(piece, parent=last)])[0].id

    def whole_price(self, terms: Terms) -> int:
        """NFE of the whole lineage, with enough left after each piece to complete the sample, as the driver wants it."""
        return prices([(1, piece) for piece in self.recipes[0].pieces], terms)[1]

    def notes(self, wished: Search) -> list[str]:
        said = (note_of_version(recipe, self.comfyui) for recipe in self.recipes)
        return [note for note in said if note]

    def describe(self) -> dict[str, Any]:
        return {}  # the recipe stands beside its image
