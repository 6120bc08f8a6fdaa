"""What a search algorithm is: settings that begin a generator which asks for rollouts and is told their outcomes."""
from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from ..noise import NoiseRecipe
from ..rollout import Outcome, Rollout
from ..seeds import MASK

Best = Callable[[Sequence[Outcome], int], list[Outcome]]  # the best k of some outcomes, best first
Search = Generator[list[Rollout], list[Outcome], None]


class Settings(Protocol):
    """Frozen settings of one algorithm, as they flow over a NOISE_SEARCH socket."""

    name: str

    def begin(self, seed: int, best: Best) -> Search:
        """A new run. It yields rollouts and is sent their outcomes; deterministic given the seed and what it is told."""
        ...


def fresh(seed: int) -> Rollout:
    """A complete sample of a new noise."""
    return Rollout(NoiseRecipe(seed & MASK))
