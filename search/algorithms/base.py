"""What a search algorithm is: settings that begin a generator which asks for rollouts and is told their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..noise import NoiseRecipe
from ..rollout import Outcome, Rollout
from ..seeds import MASK

Best = Callable[[Sequence[Outcome], int], list[Outcome]]  # the best k of some outcomes, best first
Search = Generator[list[Rollout], list[Outcome], None]

FINISH = Rollout(parent=0)  # for asking what it costs to complete a sample


class BudgetTooSmall(ValueError):
    """The budget does not pay for one complete result."""


@dataclass(frozen=True)
class Terms:
    """What a search has to work with, for those that plan ahead.

    budget: NFE that the search itself may spend. cost: NFE of a rollout, given its parent. top: flow time at which the schedule begins.
    own_steps: how many of the schedule's own steps lie between two flow times (the higher one first).
    """

    budget: int
    cost: Callable[[Rollout, Rollout | None], int]
    top: float
    own_steps: Callable[[float, float], int]


class Settings(Protocol):
    """Frozen settings of one algorithm, as they flow over a NOISE_SEARCH socket.

    A search that cannot end at any moment has `plan(terms)` in place of `begin`: it gives the settings to begin with, or raises
    BudgetTooSmall when one pass does not fit. One that puts noise back in has `reinjects = True` and `lineage_price(terms)`.
    """

    name: str

    def begin(self, seed: int, best: Best) -> Search:
        """A new run. It yields rollouts and is sent their outcomes; deterministic given the seed and what it is told."""
        ...


def fresh(seed: int) -> Rollout:
    """A complete sample of a new noise."""
    return Rollout(NoiseRecipe(seed & MASK))


def prices(stages: Iterable[tuple[int, Rollout]], terms: Terms) -> tuple[int, int]:
    """(NFE of all stages, NFE that must be there to complete one sample after any of them).

    stages: how often each rollout is run, one stage after the other, each from outcomes of the one before.
    """
    spent, need, before = 0, 0, None
    for count, rollout in stages:
        spent += count * terms.cost(rollout, before)
        need = max(need, spent + (0 if rollout.finished else terms.cost(FINISH, rollout)))
        before = rollout
    return spent, need
