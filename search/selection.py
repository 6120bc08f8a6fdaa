"""How outcomes are compared: one score, average rank, z-score, weighted sum. Of each, one number per outcome: its utility."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from .hopefuls import Hopefuls
from .rollout import Outcome

MOST_HELD = 64  # whose latents stay in memory because they may yet be among the best
METHODS = ("average rank", "z-score", "weighted sum")


@dataclass(frozen=True)
class Comparison:
    """Turns the scores of a pool of outcomes into one utility each, higher is better.

    method: "average rank" is the paper's ensemble (section 3; rank 1 = best, ties share their mean rank); "z-score" adds standard
        scores; "weighted sum" adds raw scores (over the sum of the weights). With one verifier the score itself decides, whatever
        the method.
    weights: one per verifier, >= 0, not all 0; () = all equal.

    NaN means that a verifier could not judge: whatever the method, an outcome that a verifier of weight > 0 could not judge comes last,
    at -inf.
    """

    method: str = "average rank"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Scores are combined by {', '.join(METHODS)}, not by {self.method!r}.")
        if any(not w >= 0.0 or math.isinf(w) for w in self.weights) or (
            self.weights and not any(self.weights)
        ):
            raise ValueError(
                f"Verifier weights are finite, not negative and not all 0, but they are {self.weights}."
            )

    def utilities(self, pool: Sequence[Outcome]) -> dict[int, float]:
        """{id: utility} over the pool; all 0 when nothing in it was scored (a replay)."""
        standing = Standing(self)
        standing.add(pool)
        return dict(zip(standing.ids, standing.utilities().tolist()))

    def best(
        self, candidates: Iterable[Outcome], k: int, pool: Sequence[Outcome] | None = None
    ) -> list[Outcome]:
        """The best k of the candidates, best first, compared within `pool` (default: among themselves). Ties go to the lowest id."""
        candidates = list(candidates)
        members = {outcome.id: outcome for outcome in (*(pool or ()), *candidates)}
        standing = Standing(self)
        standing.add(list(members.values()))
        return standing.best(candidates, k)


class Standing:
    """The utilities of a pool that grows, exact after every addition; each addition costs a few vectorised passes over the pool.

    comparison: how scores become utilities. Outcomes are added once each; an unscored one among scored ones counts as not judged.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.ids: list[int] = []
        self._places: dict[int, int] = {}
        self._columns: list[int] = []  # the verifiers of weight > 0, once the first scores have come
        self._weights: list[float] = []
        self._verifiers = 0
        self._scores = self._ranks = torch.empty(0, 0, dtype=torch.float64)  # [columns, room]
        self._utilities: torch.Tensor | None = None
        self._hopefuls: Hopefuls | None = None
        self._seen = 0  # members that the hopefuls were chosen from

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """More members of the pool."""
        for outcome in outcomes:
            if outcome.scores and not self._columns:
                self._open(len(outcome.scores))
            self._places[outcome.id] = len(self.ids)
            self.ids.append(outcome.id)
            if self._columns:
                self._write(outcome)
            self._utilities = None

    def utilities(self) -> torch.Tensor:
        """float64 [len(self)], in the order of `ids`."""
        if self._utilities is None:
            self._utilities = (
                self._combined() if self._columns else torch.zeros(len(self), dtype=torch.float64)
            )
        return self._utilities

    def utility(self, outcomes: Sequence[Outcome]) -> list[float]:
        """The utility of each of these members."""
        return self.utilities()[[self._places[outcome.id] for outcome in outcomes]].tolist()

    def best(self, candidates: Sequence[Outcome], k: int) -> list[Outcome]:
        """The best k of these members, best first. Ties go to the lowest id."""
        ranked = sorted(zip(self.utility(candidates), candidates), key=lambda pair: (-pair[0], pair[1].id))
        return [outcome for _, outcome in ranked[:k]]

    def top(self, k: int) -> list[int]:
        """The ids of the best k of all members, in the order of `best`."""
        utilities = self.utilities()
        if not len(utilities) or k < 1:
            return []
        least = torch.topk(utilities, min(k, len(utilities))).values[-1]
        places = (utilities >= least).nonzero().flatten()
        ranked = sorted(
            (-utility, self.ids[place]) for utility, place in zip(utilities[places].tolist(), places.tolist())
        )
        return [id for _, id in ranked[:k]]

    def hopefuls(self, k: int) -> list[int]:
        """The best k of all members, best first, and then those that may yet take their place as the pool grows, MOST_HELD in all."""
        top = self.top(k)
        if len(self._columns) < 2 or self.comparison.method == "weighted sum":
            return top  # a score is what it is, whoever comes
        if self._hopefuls is None or self._hopefuls.k != k:
            self._hopefuls, self._seen = Hopefuls(k), 0
        for place in range(self._seen, len(self)):
            self._hopefuls.add(place, self._scores[:, place])
        self._seen = len(self)
        places, best = self._hopefuls.places, set(top)
        ranked = sorted(zip((-self.utilities()[places]).tolist(), (self.ids[place] for place in places)))
        held = top + [id for _, id in ranked if id not in best][: max(MOST_HELD - len(top), 0)]
        self._hopefuls.only({self._places[id] for id in held})  # whoever is let go is gone
        return held

    # -- the table of scores, a row for each verifier that counts ----------------------------------------------------

    def _open(self, verifiers: int) -> None:
        weights = self.comparison.weights or (1.0,) * verifiers
        if len(weights) != verifiers:
            raise ValueError(f"{verifiers} verifiers, but {len(weights)} weights.")
        self._verifiers = verifiers
        self._columns = [i for i, weight in enumerate(weights) if weight > 0]
        self._weights = [weights[i] for i in self._columns]
        self._scores = torch.full((len(self._columns), len(self) + 16), math.nan, dtype=torch.float64)
        self._ranks = torch.ones_like(self._scores)

    def _write(self, outcome: Outcome) -> None:
        place = len(self.ids) - 1
        if place >= self._scores.shape[1]:
            self._scores = torch.cat([self._scores, torch.full_like(self._scores, math.nan)], 1)
            self._ranks = torch.cat([self._ranks, torch.ones_like(self._ranks)], 1)
        if not outcome.scores:
            return
        if len(outcome.scores) != self._verifiers:
            raise ValueError(
                f"{self._verifiers} verifiers, but outcome {outcome.id} has {len(outcome.scores)} scores."
            )
        new = torch.tensor([outcome.scores[i] for i in self._columns], dtype=torch.float64)[:, None]
        if self._by_rank:
            others, ranks = self._scores[:, :place], self._ranks
            below, level = others < new, others == new  # NaN is neither, to anything
            ranks[:, place] = 1 + (others > new).sum(1) + 0.5 * level.sum(1)
            ranks[:, :place] += below + 0.5 * level
        self._scores[:, place : place + 1] = new

    @property
    def _by_rank(self) -> bool:
        return self._verifiers > 1 and self.comparison.method == "average rank"

    def _combined(self) -> torch.Tensor:
        scores = self._scores[:, : len(self)]
        if self._verifiers == 1:
            return scores[0].nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
        if self._by_rank:
            columns = -self._ranks[:, : len(self)]
        elif self.comparison.method == "z-score":
            columns = _standard(scores)
        else:
            columns = scores
        total = sum(weight * column for weight, column in zip(self._weights, columns)) / sum(self._weights)
        # a total can be NaN of itself: one verifier says inf, another -inf
        return torch.where(scores.isnan().any(0) | total.isnan(), -math.inf, total)


def _standard(scores: torch.Tensor) -> torch.Tensor:
    """Standard scores of each row [verifiers, n], over its finite ones; 0 where all are equal, infinities stay."""
    finite = scores.isfinite()
    first = scores.gather(1, finite.byte().argmax(1, keepdim=True))
    shifted = scores - first  # equal scores then spread by exactly 0
    whole = bool(finite.all())
    if not whole:
        shifted.masked_fill_(~finite, 0.0)
    count = finite.sum(1, keepdim=True).clamp(min=1)
    mean = shifted.sum(1, keepdim=True) / count
    square = torch.linalg.vector_norm(shifted, dim=1, keepdim=True).square() / count
    spread = (square - mean.square()).clamp(min=0).sqrt()
    standard = shifted.sub_(mean).div_(torch.where(spread > 0, spread, 1.0))
    return standard if whole else standard.where(finite, scores)
