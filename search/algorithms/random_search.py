"""Random search: best of n independent noises (Ma et al. 2025, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Asking, Best, Search, fresh

ASK = 64  # rollouts per request; the driver cuts the last request to the budget


@dataclass(frozen=True)
class RandomSearch(Search):
    """Candidate i has seed `seed + i`: candidate 0 is the image the user had, and the winner's seed works in a stock sampler."""

    name = "random search"
    independent = True

    def begin(self, seed: int, best: Best) -> Asking:
        while True:
            yield [fresh(seed + i) for i in range(ASK)]
            seed += ASK
