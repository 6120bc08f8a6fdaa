"""Search over paths: put noise back in along the sampling path and keep the best continuations (Ma et al. 2025, section 3, "Paths-N")."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..noise import NoiseRecipe
from ..rollout import EXTRA, PREVIEWS, Rollout
from ..seeds import MASK, mix
from .base import Best, BudgetTooSmall, Search, Terms

# (start, forward, backward) in flow time. The paper prints no values; `paper` is what a re-implementation says it took over from its authors.
PRESETS = {"local": (0.75, 0.20, 0.45), "paper": (0.12, 0.78, 0.81)}
END = 1e-6  # flow times below this are the end of the schedule


@dataclass(frozen=True)
class SearchOverPaths:
    """
    paths: N >= 1, paths kept from round to round.
    width: M, noises tried per path and round; 0 = as many as the budget pays for (the paper's scaling axis).
    wider: so many rounds, from the first, try one noise more; `plan` spends there what does not pay for a larger width.
    start: flow time at which the search begins. forward, backward: how far each round goes up by noising, and down by denoising; backward > forward.
    steps: solver steps per round (the paper's L); 0 = the user's own sigmas in between.
    preview: how an unfinished sample is shown to the verifier, "extra evaluation" (the paper) or "free" (the solver's last prediction).
    """

    paths: int = 2
    width: int = 0
    start: float = PRESETS["local"][0]
    forward: float = PRESETS["local"][1]
    backward: float = PRESETS["local"][2]
    steps: int = 3
    preview: str = EXTRA
    wider: int = 0
    name = "search over paths"
    reinjects = True

    def __post_init__(self):
        if self.paths < 1 or min(self.width, self.wider, self.steps) < 0:
            raise ValueError(f"Search over paths needs at least 1 path and no negative width, wider or steps, but got {self.paths}, {self.width}, {self.wider} and {self.steps}.")
        if not (0.0 < self.start < 1.0 and 0.0 < self.forward < 1.0 and 0.0 < self.backward <= 1.0):
            raise ValueError(f"Start, forward and backward are flow times between 0 and 1, but got {self.start}, {self.forward}, {self.backward}.")
        if not self.backward > self.forward + END:
            raise ValueError(f"A round must go further down than up, or the search never ends: backward ({self.backward}) must be larger than forward ({self.forward}).")
        if self.preview not in PREVIEWS:
            raise ValueError(f"The preview is one of {', '.join(PREVIEWS)}, not {self.preview!r}.")

    def begin(self, seed: int, best: Best) -> Search:
        survivors = yield [Rollout(NoiseRecipe((seed + i) & MASK), stop=self.start, score=False) for i in range(self.paths)]
        for round, (up, down) in enumerate(self.rounds()):
            children = yield [
                Rollout(NoiseRecipe(mix(seed, round, i, j)), path.id, up, down, self.steps or None)
                for i, path in enumerate(survivors) for j in range(self.width_of(round))
            ]
            survivors = best(children, self.paths)

    def width_of(self, round: int) -> int:
        return self.width + (round < self.wider)

    def rounds(self) -> Iterator[tuple[float, float]]:
        """(flow time after noising, flow time after denoising) of each round; the last ends at exactly 0."""
        level = self.start
        while level > 0.0:
            up = level + self.forward
            level = up - self.backward if up - self.backward > END else 0.0
            yield min(up, 1.0), level

    def plan(self, terms: Terms) -> SearchOverPaths:
        """These settings, fitted to the schedule's top, with the width that the budget pays for. Raises BudgetTooSmall when no pass fits."""
        fitted = replace(self._below(terms.top), width=self.width or 1)
        need = fitted.price(terms)
        if need > terms.budget:
            raise BudgetTooSmall(
                f"One pass of search over paths costs {need} NFE here (paths = {self.paths}, width = {fitted.width}, {len(list(fitted.rounds()))} rounds), "
                f"more than the {terms.budget} NFE of the budget. Raise candidates or budget_nfe, or take fewer paths or steps per round.")
        return fitted if self.width else fitted._as_wide_as_affordable(terms)

    def _as_wide_as_affordable(self, terms: Terms) -> SearchOverPaths:
        rounds = len(list(self.rounds()))

        def spread(noises):  # per path, over all rounds
            return replace(self, width=noises // rounds, wider=noises % rounds)

        affordable = bisect_right(range(rounds, terms.budget + 1), terms.budget, key=lambda noises: spread(noises).price(terms))  # the price never falls
        return spread(rounds - 1 + affordable)

    def _below(self, top: float) -> SearchOverPaths:
        """These settings with a start from which there is room to go up, on a schedule that begins at flow time `top`."""
        return replace(self, start=min(self.start, max(top - self.forward, top / 2)))

    def price(self, terms: Terms) -> int:
        """NFE that one pass takes, with enough left at any moment to complete one sample."""
        first, pieces = self._pieces(terms)
        spent = self.paths * first
        need = spent + terms.cost(Rollout(parent=0), Rollout(NoiseRecipe(0), stop=self.start, score=False))
        for round, (cost, child) in enumerate(pieces):
            spent += self.paths * self.width_of(round) * cost
            need = max(need, spent + (0 if child.finished else terms.cost(Rollout(parent=0), child)))
        return need

    def lineage_price(self, terms: Terms) -> int:
        """NFE of sampling one winner again, alone and without looking at it on the way."""
        first, pieces = self._below(terms.top)._pieces(terms, score=False)
        return first + sum(cost for cost, _ in pieces)

    def _pieces(self, terms, score=True):
        parent = Rollout(NoiseRecipe(0), stop=self.start, score=False)
        first, pieces = terms.cost(parent, None), []
        for up, down in self.rounds():
            child = Rollout(NoiseRecipe(0), 0, up, down, self.steps or None, score)
            pieces.append((terms.cost(child, parent), child))
            parent = child
        return first, pieces
