"""Seed pruning: begin many samples, look at them on the way for free, finish the promising ones (PSP, arXiv 2607.21591)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..noise import NoiseRecipe
from ..rollout import BY_VAE, DECODERS, FREE, PREVIEWS, Rollout
from ..seeds import MASK
from .base import Asking, Best, BudgetTooSmall, Search, Terms, prices

FIRST, SECOND = 0.35, 0.575  # shares of the steps after which is cut
AFTER_FIRST, AFTER_SECOND = 0.43, 0.29  # shares of all seeds that go on: 0.75 N and 0.5 N of 1.75 N


@dataclass(frozen=True)
class Cut:
    """At flow time `level`, after `steps` of the schedule's steps, the best `kept` go on."""

    level: float
    steps: int
    kept: int


@dataclass(frozen=True)
class Pruning(Search):
    """One pass of seed pruning, as planned for a budget and a schedule."""

    seeds: int
    cuts_at: tuple[Cut, ...]
    preview: str = FREE
    name = "seed pruning"
    cuts = True

    def begin(self, seed: int, best: Best) -> Asking:
        stops = [*(cut.level for cut in self.cuts_at), 0.0]
        running = yield [Rollout(NoiseRecipe((seed + i) & MASK), stop=stops[0]) for i in range(self.seeds)]
        for cut, stop in zip(self.cuts_at, stops[1:]):
            running = yield [Rollout(parent=one.id, stop=stop) for one in best(running, cut.kept)]

    def prices(self, terms: Terms) -> tuple[int, int]:
        """(NFE of the pass, NFE that must be there so that it can end at any moment with a complete sample)."""
        return prices(zip((self.seeds, *(cut.kept for cut in self.cuts_at)), self.pieces()), terms)

    def pieces(self, score: bool = True) -> list[Rollout]:
        """What a sample that is never cut out runs through."""
        stops = [*(cut.level for cut in self.cuts_at), 0.0]
        whole = [Rollout(NoiseRecipe(0), stop=stops[0], score=score)]
        return whole + [Rollout(parent=0, stop=stop, score=score) for stop in stops[1:]]

    def lineage_price(self, terms: Terms) -> int:
        return prices([(1, piece) for piece in self.pieces(score=False)], terms)[0]

    def announcement(self, terms: Terms) -> str:
        kept = "".join(f", {cut.kept} of them after step {cut.steps}" for cut in self.cuts_at)
        return f"one pass costs {self.prices(terms)[0]} NFE: {self.seeds} seeds{kept}"

    def notes(self, wished: Search) -> list[str]:
        if self.cuts_at:
            return []
        return ["The schedule has one step, so no sample could be cut on the way: this was a random search."]


@dataclass(frozen=True)
class SeedPruning(Search):
    """
    seeds: how many begin; 0 = as many as the budget pays for. Candidate i has seed `seed + i`, as in random search.
    first, second: shares of the schedule's steps, 0 < first < second < 1, after which is cut; on a short schedule the two may be one.
    after_first, after_second: shares of all seeds that go on then, 1 >= after_first >= after_second > 0.
    preview: how an unfinished sample is shown to the verifier, "free" (the solver's last prediction, the paper) or "extra evaluation".
    decoder: what decodes it, "the VAE", or "TAESD" or "latent2rgb" where ComfyUI has them for the model's latents.

    With the paper's numbers 1.75 N seeds cost what N whole samples cost: 1.75 x 0.35 + 0.75 x 0.225 + 0.5 x 0.425 = 0.99.
    """

    seeds: int = 0
    first: float = FIRST
    second: float = SECOND
    after_first: float = AFTER_FIRST
    after_second: float = AFTER_SECOND
    preview: str = FREE
    decoder: str = BY_VAE
    name = Pruning.name
    cuts = True

    def __post_init__(self) -> None:
        if self.seeds < 0:
            raise ValueError(
                f"Seed pruning begins with 1 seed or more, or 0 for as many as fit, not {self.seeds}."
            )
        if not 0.0 < self.first < self.second < 1.0:
            raise ValueError(
                f"Seed pruning cuts after two shares of the steps, 0 < first < second < 1, but got {self.first} and {self.second}."
            )
        if not 1.0 >= self.after_first >= self.after_second > 0.0:
            raise ValueError(
                f"The shares of seeds that go on after the cuts fall, 1 >= after_first >= after_second > 0, but got {self.after_first} and {self.after_second}."
            )
        if self.preview not in PREVIEWS:
            raise ValueError(f"The preview is one of {', '.join(PREVIEWS)}, not {self.preview!r}.")
        if self.decoder not in DECODERS:
            raise ValueError(f"Previews are decoded by {', '.join(DECODERS)}, not by {self.decoder!r}.")

    def plan(self, terms: Terms) -> Pruning:
        """The pass that the budget pays for, cut at the schedule's own levels. Raises BudgetTooSmall when none fits."""
        planned = self._pass(terms, self.seeds or 1)
        spent, need = planned.prices(terms)
        if need > terms.budget:
            raise BudgetTooSmall(
                f"Seed pruning with {planned.seeds} seeds costs {need} NFE here, more than the {terms.budget} NFE of the budget. "
                "Raise candidates or budget_nfe, or begin with fewer seeds (0 = as many as fit)."
            )
        if not self.seeds:
            fits = bisect_right(
                range(1, terms.budget + 1),
                terms.budget,
                key=lambda seeds: self._pass(terms, seeds).prices(terms)[1],
            )  # the price never falls
            planned = self._pass(terms, fits)
        return _with_the_rest(planned, terms)

    def lineage_price(self, terms: Terms) -> int:
        return self._pass(terms, 1).lineage_price(terms)

    def _pass(self, terms: Terms, seeds: int) -> Pruning:
        cuts = [
            Cut(terms.levels[step], step, max(1, round(share * seeds)))
            for step, share in self._steps(terms.levels)
        ]
        return Pruning(seeds, tuple(cuts), self.preview)

    def _steps(self, levels: Sequence[float]) -> list[tuple[int, float]]:
        """(number of the schedule's level, share of the seeds that go on) of each cut."""
        last = len(levels) - 1
        if last < 1:
            raise ValueError(
                "Seed pruning cuts samples at the noise levels of the schedule, and this model's are unknown. Use random search."
            )
        shares = ((self.first, self.after_first), (self.second, self.after_second))
        cuts = {
            min(max(1, round(at * last)), last - 1): kept for at, kept in shares
        }  # of two at one step the later
        return [(step, kept) for step, kept in cuts.items() if step > 0]


def _with_the_rest(planned: Pruning, terms: Terms) -> Pruning:
    """What the pass leaves of the budget lets more of them go on, the last cut first."""
    last = len(planned.cuts_at) - 1
    for i in (*reversed(range(last + 1)), last) if planned.cuts_at else ():
        most = planned.cuts_at[i - 1].kept if i else planned.seeds
        counts = range(planned.cuts_at[i].kept, most + 1)
        fits = bisect_right(
            counts, terms.budget, key=lambda kept: _keeping(planned, i, kept).prices(terms)[1]
        )
        planned = _keeping(planned, i, counts[max(fits, 1) - 1])
    return planned


def _keeping(planned: Pruning, i: int, kept: int) -> Pruning:
    cuts = list(planned.cuts_at)
    cuts[i] = replace(cuts[i], kept=kept)
    assert all(one.kept >= next.kept for one, next in pairwise(cuts))
    return replace(planned, cuts_at=tuple(cuts))
