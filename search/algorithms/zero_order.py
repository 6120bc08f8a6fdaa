"""Zero-order search: hill climbing in noise space (Ma et al. 2025, section 3, "ZO-N")."""

from __future__ import annotations

from dataclasses import dataclass

from ..noise import NoiseRecipe
from ..rollout import Outcome, Rollout
from ..seeds import mix
from .base import Asking, Best, Search, fresh, together

KEEP_BEST, ALWAYS_MOVE, RESTART = "keep best", "always move", "restart when stuck"
PIVOTS = (KEEP_BEST, ALWAYS_MOVE, RESTART)


@dataclass(frozen=True)
class ZeroOrder(Search):
    """
    neighbours: N >= 1, candidates per iteration.
    cosine: similarity of a neighbour to its pivot, in (-1, 1); smaller = a larger step (the paper's lambda is |x| sqrt(2 (1 - cosine))).
    pivot: which candidate the next iteration starts from.
        "keep best": the best of the pivot and its neighbours; the pivot's score is remembered, never paid again.
        "always move": the best neighbour, even a worse one (the paper to the letter).
        "restart when stuck": as "keep best", but when no neighbour is better, a new random noise; the best of all restarts wins.
    chains: >= 1, how many climb side by side, each from a noise of its own and without a look at the others; their candidates share batches.
    around: the noise to begin at, in place of the seed's. The first chain begins with it, the others with neighbours of it.
    index: which sample of a latent batch `around` was made for, on which its random numbers hang.
    """

    neighbours: int = 4
    cosine: float = 0.7
    pivot: str = KEEP_BEST
    chains: int = 1
    around: NoiseRecipe | None = None
    index: int = 0
    name = "zero-order search"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"Zero-order search needs at least 1 neighbour, not {self.neighbours}.")
        if self.chains < 1:
            raise ValueError(f"Zero-order search needs at least 1 chain, not {self.chains}.")
        if not -1.0 < self.cosine < 1.0:
            raise ValueError(
                f"The cosine of a neighbour lies between -1 and 1, both excluded, not at {self.cosine}."
            )
        if self.pivot not in PIVOTS:
            raise ValueError(f"The pivot rule is one of {', '.join(PIVOTS)}, not {self.pivot!r}.")

    @property
    def varies(self) -> bool:  # type: ignore[override]
        return self.around is not None and self.around.vary is not None

    def of_sample(self, index: int, count: int, place: int) -> tuple[ZeroOrder, int]:
        """Of a batch that has the sample which `around` was made for, that one begins with it; else the first one does."""
        in_the_batch = count > 1 and self.index < count
        return self, place if self.around is None or in_the_batch else self.index + index

    def begin(self, seed: int, best: Best) -> Asking:
        """Chain 0 is what a lone chain does; chain c is what a lone chain does from the seed mix(seed, c)."""
        seeds = [seed, *(mix(seed, chain) for chain in range(1, self.chains))]
        yield from together(
            [self._climb(own, self._first(own, chain), best) for chain, own in enumerate(seeds)]
        )

    def _first(self, seed: int, chain: int) -> Rollout:
        if self.around is None:
            return fresh(seed)
        return Rollout(self.around.move(seed, self.cosine) if chain else self.around)

    def _climb(self, seed: int, first: Rollout, best: Best) -> Asking:
        restarts = iterations = 0
        pivot = (yield [first])[0]
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
    noise = pivot.rollout.noise
    assert noise is not None  # whole samples begin with one
    return Rollout(noise.move(direction, cosine))
