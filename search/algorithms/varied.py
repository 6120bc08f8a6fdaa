"""Any search, with noise on the conditioning besides: for turbo models, which make nearly the same image of every seed."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from ..noise import NoiseRecipe
from ..rollout import Rollout
from .base import Asking, Best, Ground, Search, Terms


@dataclass(frozen=True)
class Varied(Search):
    """
    inner: the search that decides. strength: > 0, tangent of the angle by which each token of the prompt is turned.
    share: in (0, 1], of the steps for which it is; the first step always is.

    Every sample's first noise also says how its conditioning is varied (`NoiseRecipe.vary`), whatever is done to it afterwards.
    """

    inner: Search
    strength: float = 0.5
    share: float = 0.5

    def __post_init__(self) -> None:
        NoiseRecipe(0, vary=(self.strength, self.share))  # or it is said what is wrong
        if not self.inner.needs_verifier:
            raise ValueError(
                "A recipe says itself how its conditioning was varied. Connect Remake Winner to the sampler directly."
            )
        if isinstance(self.inner, Varied):
            raise ValueError("This search varies its conditioning already. Take one Vary Conditioning only.")

    def begin(self, seed: int, best: Best) -> Asking:
        with closing(self.inner.begin(seed, best)) as search, suppress(StopIteration):
            tell, asked = search.send, next(search)
            while True:
                asked = tell((yield [self._varied(rollout) for rollout in asked]))

    def _varied(self, rollout: Rollout) -> Rollout:
        if rollout.parent is not None or rollout.noise is None:
            return rollout  # its lineage began with a varied one
        return replace(rollout, noise=replace(rollout.noise, vary=(self.strength, self.share)))

    # -- all else is the inner search's ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.inner.name}, conditioning varied"

    @property
    def cuts(self) -> bool:  # type: ignore[override]
        return self.inner.cuts

    @property
    def reinjects(self) -> bool:  # type: ignore[override]
        return self.inner.reinjects

    @property
    def varies(self) -> bool:  # type: ignore[override]
        return True

    @property
    def preview(self) -> str:  # type: ignore[override]
        return self.inner.preview

    @property
    def decoder(self) -> str:  # type: ignore[override]
        return self.inner.decoder

    @property
    def keeps(self) -> int:  # type: ignore[override]
        return self.inner.keeps

    @property
    def drafts(self) -> bool:  # type: ignore[override]
        return self.inner.drafts

    def settled(self, ground: Ground) -> tuple[Search, str]:
        inner, why = self.inner.settled(ground)
        return replace(self, inner=inner), why

    def plan(self, terms: Terms) -> Search:
        return replace(self, inner=self.inner.plan(terms))

    def announcement(self, terms: Terms) -> str:
        return self.inner.announcement(terms)

    def whole_price(self, terms: Terms) -> int | None:
        return self.inner.whole_price(terms)

    def lineage_price(self, terms: Terms) -> int:
        return self.inner.lineage_price(terms)

    def of_sample(self, index: int, count: int, place: int) -> tuple[Search, int]:
        inner, place = self.inner.of_sample(index, count, place)
        return replace(self, inner=inner), place

    def describe(self) -> dict[str, Any]:
        varied = {"strength": self.strength, "share": self.share}
        return {**self.inner.describe(), "vary_conditioning": varied}

    def notes(self, wished: Search) -> list[str]:
        return self.inner.notes(wished.inner if isinstance(wished, Varied) else wished)
