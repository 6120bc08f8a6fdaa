"""Evolution on the sphere of noises: hill climbing from several good beginnings at once, for few-step candidates and many evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from ..noise import NoiseRecipe
from ..rollout import Outcome, Rollout
from ..seeds import mix
from .base import Asking, Best, Search, fresh

WIDEST, NARROWEST = 1.2, 0.2  # radians; a region narrower than that is given up
WIDER, NARROWER = 1.3, 0.7


@dataclass(frozen=True)
class Region:
    """A trust region: its best sample so far, and how far from it children lie, in radians."""

    centre: Outcome
    angle: float


@dataclass(frozen=True)
class Evolution(Search):
    """
    first: >= 1, random noises to begin with, those of `seed`, `seed + 1`, ... as in random search.
    regions: >= 1, how many of the best of them become centres of trust regions (arXiv 2603.14504).
    children: >= 1, noises tried around each centre in a generation; those of all regions share batches.
    cosine: similarity of a centre to its first children, between COS_MOST and COS_LEAST. A region that finds a better sample moves there and
        widens; one that does not narrows, until it is given up for the best beginning that is still unused.
    refined: samples of each generation that are the best one of all with noise put back up to flow time `middle`, in (0, 1), and made
        anew from there. 0 = none; such samples have no noise of their own, so that they cannot be drafts.

    Children are flat mixes of seeds (`NoiseRecipe.cross`), so that their recipes grow by one seed a generation.
    """

    first: int = 16
    regions: int = 4
    children: int = 4
    cosine: float = 0.765
    refined: int = 0
    middle: float = 0.5
    name = "evolution"

    def __post_init__(self) -> None:
        if self.first < 1 or self.regions < 1 or self.children < 1 or self.refined < 0:
            raise ValueError(
                f"Evolution needs at least 1 noise to begin with, 1 region and 1 child, and no negative number of refined samples, but got first = {self.first}, regions = {self.regions}, children = {self.children}, refined = {self.refined}."
            )
        if not math.cos(WIDEST) <= self.cosine <= math.cos(NARROWEST):
            raise ValueError(
                f"The cosine of evolution's first children lies between {math.cos(WIDEST):.3f} and {math.cos(NARROWEST):.3f}, not at {self.cosine}."
            )
        if not 0.0 < self.middle < 1.0:
            raise ValueError(
                f"The flow time that samples are refined from lies between 0 and 1, not at {self.middle}."
            )

    @property
    def reinjects(self) -> bool:  # type: ignore[override]
        return self.refined > 0

    @property
    def cuts(self) -> bool:  # type: ignore[override]
        return self.refined > 0

    @property
    def keeps(self) -> int:  # type: ignore[override]
        return int(self.refined > 0)

    def begin(self, seed: int, best: Best) -> Asking:
        pool = yield [fresh(seed + i) for i in range(self.first)]
        ranked = best(pool, len(pool))
        regions = [Region(outcome, math.acos(self.cosine)) for outcome in ranked[: self.regions]]
        winner, spare = ranked[0], iter(ranked[self.regions :])
        for generation in count():
            asked = [
                Rollout(noise)
                for i, region in enumerate(regions)
                for noise in self._children(region, mix(seed, generation, i))
            ]
            asked += [
                Rollout(NoiseRecipe(mix(seed, generation, len(regions), i)), winner.id, start=self.middle)
                for i in range(self.refined)
            ]
            told = yield asked
            winner = best([winner, *told], 1)[0]
            regions = [
                self._updated(region, told[i * self.children : (i + 1) * self.children], best, spare)
                for i, region in enumerate(regions)
            ]

    def _children(self, region: Region, seed: int) -> Iterator[NoiseRecipe]:
        noise = region.centre.rollout.noise
        assert noise is not None  # centres are whole samples
        for i in range(self.children):
            yield noise.cross(NoiseRecipe(mix(seed, i)), math.cos(region.angle))

    def _updated(
        self, region: Region, children: list[Outcome], best: Best, spare: Iterator[Outcome]
    ) -> Region:
        chosen = best([region.centre, *children], 1)[0]
        if chosen is not region.centre:
            return Region(chosen, min(region.angle * WIDER, WIDEST))
        angle = region.angle * NARROWER
        if angle >= NARROWEST:
            return Region(region.centre, angle)
        return Region(next(spare, region.centre), math.acos(self.cosine))
