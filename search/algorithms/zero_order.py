"""Zero-order search: hill climbing in noise space (Ma et al. 2025, section 3, "ZO-N")."""

from __future__ import annotations

from dataclasses import dataclass

from ...untrusted import Short
from ..rollout import Outcome, Rollout
from ..seeds import mix
from .base import Best, Search, fresh

KEEP_BEST, ALWAYS_MOVE, RESTART = "keep best", "always move", "restart when stuck"
PIVOTS = (KEEP_BEST, ALWAYS_MOVE, RESTART)


@dataclass(frozen=True)
class ZeroOrder(Short):
    """
    neighbours: N >= 1, candidates per iteration.
    cosine: similarity of a neighbour to its pivot, in (-1, 1); smaller = a larger step (the paper's lambda is |x| sqrt(2 (1 - cosine))).
    pivot: which candidate the next iteration starts from.
        "keep best": the best of the pivot and its neighbours; the pivot's score is remembered, never paid again.
        "always move": the best neighbour, even a worse one (the paper to the letter).
        "restart when stuck": as "keep best", but when no neighbour is better, a new random noise; the best of all restarts wins.
    """

    neighbours: int = 4
    cosine: float = 0.7
    pivot: str = KEEP_BEST
    name = "zero-order search"

    def __post_init__(self):
        if self.neighbours < 1:
            raise ValueError(f"Zero-order search needs at least 1 neighbour, not {self.neighbours}.")
        if not -1.0 < self.cosine < 1.0:
            raise ValueError(
                f"The cosine of a neighbour lies between -1 and 1, both excluded, not at {self.cosine}."
            )
        if self.pivot not in PIVOTS:
            raise ValueError(f"The pivot rule is one of {', '.join(PIVOTS)}, not {self.pivot!r}.")

    def begin(self, seed: int, best: Best) -> Search:
        restarts = iterations = 0
        pivot = (yield [fresh(seed)])[0]
        while True:
            iterations += 1
            neighbours = yield [
                near(pivot, mix(seed, iterations, i), self.cosine) for i in range(self.neighbours)
            ]
            pool = neighbours if self.pivot == ALWAYS_MOVE else [pivot, *neighbours]
            chosen = best(pool, 1)[0]
            if chosen is pivot and self.pivot == RESTART:
                restarts += 1
                chosen = (yield [fresh(seed + restarts)])[0]
            pivot = chosen


def near(pivot: Outcome, direction: int, cosine: float) -> Rollout:
    """A complete sample of a noise at fixed cosine similarity to the pivot's."""
    return Rollout(pivot.rollout.noise.move(direction, cosine))
