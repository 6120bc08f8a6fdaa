"""What more candidates would bring: a forecast of the next best score, from the scores so far.

Only the better half of the scores matters for the next best one. Seen the right way it is the upper half of a normal distribution: as it is; as its
distance to a highest possible score, in logarithms (judges whose scores crowd below 0 or 1); or as its distance to a lowest one (judges with rare, far
better scores). That is the three-parameter lognormal family (Hosking and Wallis 1997, "Regional frequency analysis", appendix A.8). A few dozen scores do
not tell which member it is, so all on a grid are weighed by how well they explain the scores (Bayes' rule), and what they say is mixed.
benchmarks/forecast.py measures how often it is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

FEWEST = 8  # scores below which nothing is said
LEVEL = 0.9  # of the interval
TAIL = 0.5  # share of the candidates, the best, whose scores are looked at; of the others it only counts that they are worse
LEAST, MOST = 6, 64  # so many at least, and at most
SURE = 0.97  # gains beyond this quantile are left out of the expected one: a few wild laws would decide it
NATURAL = (
    0.0,
    1.0,
)  # highest possible scores that many judges have: log-probabilities, distances; probabilities, cosines

# The grid: where scores may end above (in units of the tail, beyond the best), or begin below; widths; and the standing of the threshold.
ENDS = torch.logspace(-3.5, 2.0, 26, dtype=torch.float64)
BEGINNINGS = torch.logspace(-1.0, 2.0, 7, dtype=torch.float64)
RARE = math.exp(-1.0)  # weight of those laws against the others, before any score is seen
WIDTHS = torch.logspace(-0.8, 1.2, 17, dtype=torch.float64)
STANDINGS = torch.tensor(
    [0.02, 0.07, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93, 0.98], dtype=torch.float64
)
NEGLIGIBLE = 8.0  # laws whose weight is e^-8 of the best one's are dropped

_normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)


def forecast(scores: Sequence[float | None], more: int, seconds_each: float | None = None) -> dict[str, Any]:
    """What `more` candidates are expected to add to the best score: {"more", "gain", "low", "high"}, or {"unknown": why it cannot be told}.

    scores: of all finished candidates, which must be independent of each other, as those of a random search are. NaN or None: not judged, which
    counts as worse than all others. gain: the expected rise of the best score, >= 0. low, high: in 9 of 10 cases the rise lies between them; `low` is
    0 wherever it may well be that none of them is better. seconds_each: what one candidate takes; with it the answer
    has "seconds", what all of them take. ValueError for more < 1.
    """
    if more < 1:
        raise ValueError(f"A forecast is for 1 candidate or more, not for {more}.")
    told = [score for score in scores if score is not None and not math.isnan(score)]
    why = _why_not(told)
    if why:
        return {"unknown": why}
    gain, low, high = _Next(told, len(scores), more).said()
    found = {"more": more, "gain": gain, "low": low, "high": high}
    return found if seconds_each is None else {**found, "seconds": more * seconds_each}


def _why_not(told: Sequence[float]) -> str:
    """Why these scores do not tell; "" when they do."""
    if len(told) < FEWEST:
        return f"there are {len(told)} scores so far, and a forecast needs {FEWEST}"
    if any(math.isinf(score) for score in told):
        return "some scores are infinite"
    best = max(told)
    if min(told) == best:
        return "all scores are the same"
    if 2 * told.count(best) > len(told):
        return "most candidates have the same best score"
    return ""


class _Next:
    """The best score of the next `more` candidates, as a mixture of all laws. Scores in units of the tail: 0 = its threshold, 1 = the best so far."""

    def __init__(self, told: Sequence[float], count: int, more: int) -> None:
        x = torch.tensor(told, dtype=torch.float64).sort(descending=True).values
        k = min(max(round(TAIL * len(x)), LEAST), MOST, len(x))
        while x[k - 1] == x[0]:  # ties: the threshold lies below the best
            k += 1
        threshold = float(x[k - 1] + x[k]) / 2 if k < len(x) else float(x[-1] - (x[0] - x[-1]) / k)
        self.more, self.unit = more, float(x[0]) - threshold
        tail = (x[:k] - threshold) / self.unit
        self.laws = [_Laws(tail, count)]
        for end in NATURAL:
            natural = (end - threshold) / self.unit
            if natural - 1 > 1e-9 and (end == 0 or x[-1] >= 0):
                self.laws.append(_Laws(tail, count, natural))
                break
        top = max(float(laws.weights.max()) for laws in self.laws)
        for laws in self.laws:
            laws.normalise(top)
        self.whole = sum(float(laws.weights.sum()) for laws in self.laws)

    def below(self, gains: torch.Tensor) -> torch.Tensor:
        """The probability that the gain is at most so much, for each of [G] gains in units of the tail."""
        told = [laws.one_below(1 + gains).pow(self.more) @ laws.weights for laws in self.laws]
        return torch.stack(told).sum(0) / self.whole

    def quantile(self, share: float) -> float:
        """The gain that is not exceeded with this probability."""
        gains, below = self.coarse
        place = int(torch.searchsorted(below, share))
        if place == 0:
            return 0.0
        if place == len(gains) or place == 1:
            return float(gains[min(place, len(gains) - 1)])
        fine = torch.linspace(0, 1, 17, dtype=torch.float64)
        fine = gains[place - 1] * (gains[place] / gains[place - 1]).pow(fine)
        under = self.below(fine)
        at = min(max(int(torch.searchsorted(under, share)), 1), len(fine) - 1)
        part = (share - under[at - 1]) / (under[at] - under[at - 1]).clamp(min=1e-12)
        return float(fine[at - 1] + part.clamp(0, 1) * (fine[at] - fine[at - 1]))

    @cached_property
    def coarse(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Gains over all orders of magnitude, and the probability of at most so much."""
        gains = torch.cat([torch.zeros(1, dtype=torch.float64), torch.linspace(-25, 8, 67).double().exp()])
        return gains, self.below(gains)

    def said(self) -> tuple[float, float, float]:
        """(expected gain, low, high), in the scores' own unit."""
        none = float(self.coarse[1][0])
        start = 0.0 if none >= (1 - LEVEL) / 2 else (1 - LEVEL) / 2
        low, high = self.quantile(start), self.quantile(start + LEVEL)
        most = self.quantile(max(SURE, 1 - (1 - none) / 10))
        steps = torch.logspace(-3, 0, 40, dtype=torch.float64) * most
        gains = torch.cat([torch.zeros(1, dtype=torch.float64), steps])
        mean = float(torch.trapezoid(1 - self.below(gains), gains))
        return mean * self.unit, low * self.unit, high * self.unit


class _Laws:
    """The laws of the grid, flat, with their weights (logarithms until `normalise`). tail [k]: the scores above the threshold, best first, in
    units of the tail. count: of all candidates. natural: a highest possible score that the judge seems to have; then scores are first seen as
    their distance to it."""

    def __init__(self, tail: torch.Tensor, count: int, natural: float | None = None) -> None:
        self.natural = natural
        if natural is not None:
            self._zero = -math.log(natural)
            self._scale = -math.log(natural - 1) - self._zero
        k, y = len(tail), self._distance(tail)
        bound = torch.cat([1 + ENDS, -BEGINNINGS])  # [W]
        at = _seen(torch.zeros(1, 1, dtype=torch.float64), bound)[0]  # the threshold
        z = _seen(y[:, None], bound) - at  # [k, W]
        first, second = z.sum(0)[:, None, None], z.pow(2).sum(0)[:, None, None]
        spread = (second / k).sqrt()
        width = spread * WIDTHS[:, None]
        share = k / (count + 1)  # of candidates above the threshold: known to within the error of a count
        above = (share + 8 * math.sqrt(share * (1 - share) / (count + 2)) * (STANDINGS - 0.5)).clamp(
            1e-3, 1 - 1e-3
        )
        edge = _normal.icdf(1 - above)
        middle = -width * edge  # [W, widths, standings], from the threshold
        misfit = (second - 2 * middle * first + k * middle**2) / (2 * width**2)
        slope = -(bound - y[:, None]).abs().log().sum(0)  # d z / d y
        known = slope[:, None, None] - misfit - k * width.log() + (count - k) * _normal.cdf(edge).log()
        ends = ((bound - 1).clamp(min=1e-12) / bound.abs()).log() / 2 - math.log(len(ENDS))
        prior = torch.where(bound > 0, ends, math.log(RARE / len(BEGINNINGS)))
        self.weights = (known + prior[:, None, None]).flatten()
        if natural is not None:
            self.weights = self.weights - (natural - tail).log().sum() - k * math.log(self._scale)
        self.middle = (at[:, None, None] + middle).flatten()
        self.width = width.expand(middle.shape).flatten()
        self.bound = bound[:, None, None].expand(middle.shape).flatten()

    def normalise(self, top: float) -> None:
        """Weights in units of e^top, without the negligible ones."""
        kept = self.weights > top - NEGLIGIBLE
        self.weights = (self.weights[kept] - top).exp()
        self.middle, self.width, self.bound = self.middle[kept], self.width[kept], self.bound[kept]

    def one_below(self, scores: torch.Tensor) -> torch.Tensor:
        """The probability [G, laws] that one candidate scores at most so much [G]."""
        y = self._distance(scores)[:, None]
        beyond = (self.bound > 0) & (y >= self.bound)
        if self.natural is not None:
            beyond |= scores[:, None] >= self.natural
        return torch.where(beyond, 1.0, _normal.cdf((_seen(y, self.bound) - self.middle) / self.width))

    def _distance(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as they are, or by their distance to the highest possible one: in both the threshold is at 0, the best at 1."""
        if self.natural is None:
            return scores
        return (-(self.natural - scores).clamp(min=1e-300).log() - self._zero) / self._scale


def _seen(y: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """Scores as a normal variable: their distance to an end above (bound > 0) or a beginning below them, in logarithms."""
    distance = (bound - y).abs().clamp(min=1e-300).log()
    return torch.where(bound > 0, -distance, distance)
