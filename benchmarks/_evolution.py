"""Evolution on the sphere of noises: measured, and no node, for it is not shown to beat random search (docs/benchmarks/frontier.md).

make bench ARGS="frontier -- --search benchmarks/_evolution.py:Evolution --only nothing --steps 3 4"
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from noisesearch.search.algorithms.base import Asking, Best, Search
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.seeds import MASK, mix

WIDEST, WIDER, NARROWER, NARROWEST = 1.2, 1.3, 0.7, 0.2  # radians; a region this narrow is given up


@dataclass(frozen=True)
class Region:
    """A trust region: its best sample so far, and how far from it children may be, in radians."""

    centre: Outcome
    angle: float


@dataclass(frozen=True)
class Evolution(Search):
    """
    first: random noises to begin with; the best `regions` of them are the centres of trust regions (Eriksson et al. 2019, on the sphere).
    children: of each region and generation; all regions share a batch.
    angle: radians from a centre to its first children. A region that finds a better one moves there and widens, else it narrows.
    crossing: of the children of a region, how many lie half way to the centre of another one.
    refined: samples of each generation that are the best one of all with noise put back up to flow time `middle`, made anew from there.

    Children are flat mixes of seeds (`NoiseRecipe.cross`), so that their recipes grow by one seed a generation.
    """

    first: int = 16
    regions: int = 4
    children: int = 4
    angle: float = 0.7
    crossing: int = 0
    refined: int = 0
    middle: float = 0.5
    name = "evolution on the sphere"

    @property
    def reinjects(self) -> bool:  # type: ignore[override]
        return self.refined > 0

    cuts = reinjects

    @property
    def keeps(self) -> int:  # type: ignore[override]
        return int(self.refined > 0)

    def begin(self, seed: int, best: Best) -> Asking:
        pool = yield [Rollout(NoiseRecipe((seed + i) & MASK)) for i in range(self.first)]
        ranked = best(pool, len(pool))
        regions = [Region(outcome, self.angle) for outcome in ranked[: self.regions]]
        winner, spare = ranked[0], iter(ranked[self.regions :])
        for generation in count():
            asked = [
                Rollout(noise)
                for i in range(len(regions))
                for noise in self._children(regions, i, mix(seed, generation, i))
            ]
            asked += [
                Rollout(NoiseRecipe(mix(seed, generation, -1, i)), winner.id, start=self.middle)
                for i in range(self.refined)
            ]
            told = yield asked
            winner = best([winner, *told], 1)[0]
            regions = [
                self._updated(region, told[i * self.children : (i + 1) * self.children], best, spare)
                for i, region in enumerate(regions)
            ]

    def _children(self, regions: list[Region], place: int, seed: int) -> Iterator[NoiseRecipe]:
        centre, angle = regions[place].centre.rollout.noise, regions[place].angle
        others = [region.centre.rollout.noise for region in regions if region is not regions[place]]
        for i in range(self.children):
            if i < self.crossing and others:
                yield centre.cross(others[i % len(others)], math.cos(math.pi / 4))
            else:
                yield centre.cross(NoiseRecipe(mix(seed, i)), math.cos(angle))

    def _updated(
        self, region: Region, children: list[Outcome], best: Best, spare: Iterator[Outcome]
    ) -> Region:
        chosen = best([region.centre, *children], 1)[0]
        if chosen is not region.centre:
            return Region(chosen, min(region.angle * WIDER, WIDEST))
        angle = region.angle * NARROWER
        if angle >= NARROWEST:
            return Region(region.centre, angle)
        return Region(next(spare, region.centre), self.angle)
