"""Random search: best of n independent noises (Ma et al. 2025, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from ...untrusted import Short
from .base import Best, Search, fresh

ASK = 64  # rollouts per request; the driver cuts the last request to the budget


@dataclass(frozen=True)
class RandomSearch(Short):
    """Candidate i has seed `seed + i`: candidate 0 is the image the user had, and the winner's seed works in a stock sampler."""

    name = "random search"

    def begin(self, seed: int, best: Best) -> Search:
        while True:
            yield [fresh(seed + i) for i in range(ASK)]
            seed += ASK
