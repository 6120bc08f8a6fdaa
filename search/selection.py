"""How outcomes are compared: one score, average rank, z-score, weighted sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .rollout import Outcome

METHODS = ("average rank", "z-score", "weighted sum")


@dataclass(frozen=True)
class Comparison:
    """Turns the scores of a pool of outcomes into one utility each, higher is better.

    method: "average rank" is the paper's ensemble (section 3; rank 1 = best, ties share their mean rank, NaN shares the last
        ranks); "z-score" adds standard scores; "weighted sum" adds raw scores (over the sum of the weights). With one verifier the score itself decides, whatever the method.
    weights: one per verifier, >= 0, not all 0; () = all equal.
    """

    method: str = "average rank"
    weights: tuple[float, ...] = ()

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Scores are combined by {', '.join(METHODS)}, not by {self.method!r}.")
        if any(not w >= 0.0 or math.isinf(w) for w in self.weights) or (
            self.weights and not any(self.weights)
        ):
            raise ValueError(
                f"Verifier weights are finite, not negative and not all 0, but they are {self.weights}."
            )

    def utilities(self, pool: Sequence[Outcome]) -> dict[int, float]:
        """{id: utility} over the pool; -inf where nothing could be judged."""
        if not any(outcome.scores for outcome in pool):  # a replay: nothing to compare
            return {outcome.id: 0.0 for outcome in pool}
        columns = list(zip(*(outcome.scores for outcome in pool), strict=True))
        weights = self.weights or (1.0,) * len(columns)
        if len(weights) != len(columns):
            raise ValueError(f"{len(columns)} verifiers, but {len(weights)} weights.")
        if len(columns) == 1:
            totals = [-math.inf if math.isnan(score) else score for score in columns[0]]
        else:
            score = {"average rank": _negative_ranks, "z-score": _standard_scores, "weighted sum": _plain}[
                self.method
            ]
            judged = [(w, score(column)) for w, column in zip(weights, columns) if w > 0]
            totals = [
                sum(w * column[i] for w, column in judged) / sum(w for w, _ in judged)
                for i in range(len(pool))
            ]
            totals = [
                -math.inf if math.isnan(total) else total for total in totals
            ]  # one verifier says inf, another could not judge
        return {outcome.id: total for outcome, total in zip(pool, totals)}

    def best(
        self, candidates: Iterable[Outcome], k: int, pool: Sequence[Outcome] | None = None
    ) -> list[Outcome]:
        """The best k of the candidates, best first, compared within `pool` (default: among themselves). Ties go to the lowest id."""
        candidates = list(candidates)
        members = {outcome.id: outcome for outcome in (*(pool or ()), *candidates)}
        utility = self.utilities(list(members.values()))
        return sorted(candidates, key=lambda outcome: (-utility[outcome.id], outcome.id))[:k]


def _negative_ranks(scores: Sequence[float]) -> list[float]:
    order = sorted(scores, key=lambda s: -math.inf if math.isnan(s) else s, reverse=True)
    ranks: dict[float, list[int]] = {}
    for rank, score in enumerate(order, 1):
        ranks.setdefault(-math.inf if math.isnan(score) else score, []).append(rank)
    return [-sum(ties) / len(ties) for ties in (ranks[-math.inf if math.isnan(s) else s] for s in scores)]


def _standard_scores(scores: Sequence[float]) -> list[float]:
    finite = [s for s in scores if math.isfinite(s)]
    mean = sum(finite) / len(finite) if finite else 0.0
    spread = math.sqrt(sum((s - mean) ** 2 for s in finite) / len(finite)) if finite else 0.0
    return [
        (s - mean) / (spread or 1.0) if math.isfinite(s) else (math.inf if s == math.inf else -math.inf)
        for s in scores
    ]


def _plain(scores: Sequence[float]) -> list[float]:
    return [-math.inf if math.isnan(s) else s for s in scores]
