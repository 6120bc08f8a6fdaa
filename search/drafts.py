"""Drafts: how many steps a candidate of a search should get, when the best few are rendered with all steps afterwards.

The best of n drafts gains what the best of n normal numbers does, times how well a draft's score foretells that of the finished image;
somewhat more where several are rendered and judged again. Fewer steps buy more drafts and foretell less. The steps of a candidate are the NFEs/iter of Ma et al. 2025 (section 5, figure 10), who
choose them by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from .selection import Comparison

LEAST = 3  # steps of a draft: fewer show too little
TRIED = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30)  # steps of a draft
# Rank correlation of drafts with images of 20 steps, the mean of both demo worlds: make bench ARGS=drafts
PRIOR = {3: 0.90, 4: 0.93, 5: 0.95, 7: 0.97, 10: 0.98, 15: 0.99}
CAUTION = 1.2816  # standard errors below the estimate: a bound that nine in ten lie above
ALIKE = 0.97  # of the best gain: what comes this near to it counts as as good, and the most steps win
MOST = 0.995  # a correlation of a few pairs that is taken for 1 would outweigh all others
FEWEST = 5  # pairs, beyond one for each search, before searches say anything
DRAWN = 20_000  # times, for what has no closed form; off by less than 0.01
SPEARMAN = 1.06  # times what Pearson's varies on Fisher's scale (Fieller, Hartley and Pearson 1957)


# -- statistics --------------------------------------------------------------------------------------------------------


@cache
def expected_maximum(n: int) -> float:
    """The mean of the largest of n >= 1 independent standard normal numbers."""
    if n < 1:
        raise ValueError(f"There is no largest of {n} numbers.")
    x = torch.linspace(-10.0, 10.0, 8001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(x * n * density * torch.special.ndtr(x) ** (n - 1), x))


@cache
def expected_best(n: int, top: int, rho: float) -> float:
    """The mean of the best final score where the best `top` of n drafts are rendered: standard normal scores whose correlation is rho.

    For one it is rho times the expected maximum; for more it is drawn, from a generator of its own.
    """
    if top == 1:
        return rho * expected_maximum(n)
    generator = torch.Generator().manual_seed(2025)
    share = torch.rand(DRAWN, top, generator=generator, dtype=torch.float64)
    # the largest of n uniform numbers, the largest of those below it, and so on (Devroye 1986, chapter V.3)
    counts = torch.arange(n, n - top, -1, dtype=torch.float64)
    drafts = torch.special.ndtri((share.log() / counts).cumsum(1).exp())
    strays = torch.randn(DRAWN, top, generator=generator, dtype=torch.float64)
    return float((rho * drafts + math.sqrt(1 - rho * rho) * strays).amax(1).mean())


def ranks(values: Sequence[float]) -> torch.Tensor:
    """float64 [n], 1 = the lowest; equal values share their mean rank."""
    x = torch.as_tensor(values, dtype=torch.float64)
    _, place, level = torch.unique(x, return_inverse=True, return_counts=True)
    return (level.cumsum(0) - (level - 1) / 2.0).to(torch.float64)[place]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, in [-1, 1]; 0 where all of one side are the same, NaN for fewer than two pairs."""
    if len(a) < 2:
        return math.nan
    one, other = (r - r.mean() for r in (ranks(a), ranks(b)))
    size = float(one.norm() * other.norm())
    return max(-1.0, min(1.0, float(one @ other) / size)) if size else 0.0


def _bound(z: float, worth: float) -> float:
    """What a rank correlation, on Fisher's scale, that is worth so many pairs beyond three is above, in nine cases of ten."""
    return math.tanh(z - CAUTION * math.sqrt(SPEARMAN / worth)) if worth > 0 else -1.0


def _fisher(rho: float) -> float:
    return math.atanh(max(min(rho, MOST), -MOST))


# -- what searches have shown ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What one search showed. steps: of a draft. pairs: (draft, final) of those that were rendered, in standard scores of all its drafts."""

    steps: int
    pairs: tuple[tuple[float, float], ...]


def seen_of(
    steps: int,
    drafts: Sequence[Sequence[float]],
    rendered: Sequence[tuple[Sequence[float], Sequence[float]]],
    comparison: Comparison,
) -> Seen:
    """drafts: the scores of all drafts, one per verifier. rendered: (its scores as a draft, its final scores) of some of them.

    Several verifiers count by their weights, in standard scores. What could not be judged is left out.
    """
    pool = torch.tensor([list(scores) for scores in drafts if scores], dtype=torch.float64)
    if not len(pool):
        return Seen(steps, ())
    weights = torch.tensor(comparison.weights or (1.0,) * pool.shape[1], dtype=torch.float64)
    counts = weights > 0
    pool, weights = pool[:, counts], weights[counts]
    pool = pool[pool.isfinite().all(1)]
    if len(pool) < 2:
        return Seen(steps, ())
    mean, spread = pool.mean(0), pool.std(0)

    def value(scores: Sequence[float]) -> float:
        own = torch.tensor(list(scores), dtype=torch.float64)[counts]
        return float(((own - mean) / torch.where(spread > 0, spread, 1.0)) @ weights)

    whole = float((((pool - mean) / torch.where(spread > 0, spread, 1.0)) @ weights).std())
    pairs = [(value(draft), value(final)) for draft, final in rendered if draft and final]
    sound = [pair for pair in pairs if all(map(math.isfinite, pair))] if whole > 0 else []
    return Seen(steps, tuple((draft / whole, final / whole) for draft, final in sound))


def correlation_of(seen: Sequence[Seen]) -> tuple[float, float]:
    """(correlation over all drafts, how many pairs of all drafts would say as much); (0, 0) where too little was seen.

    Only the best drafts are rendered, and among those the correlation is lower than among all. What does not depend on the choice is how
    much a final score rises with the draft's, and how far it strays from that (Thorndike 1949, case 2; drafts have spread 1). Pairs are
    compared within their search only: some prompts are easier than others.
    """
    xx = xy = yy = free = 0.0
    for one in seen:
        if one.pairs:
            middle = [sum(side) / len(one.pairs) for side in zip(*one.pairs)]
            away = [(x - middle[0], y - middle[1]) for x, y in one.pairs]
            xx += sum(x * x for x, _ in away)
            xy += sum(x * y for x, y in away)
            yy += sum(y * y for _, y in away)
            free += len(away) - 1
    if free < FEWEST or xx <= 0:
        return 0.0, 0.0
    slope = xy / xx
    stray = max(yy - slope * xy, 0.0) / (free - 1)
    size = math.hypot(slope, math.sqrt(stray))
    return (slope / size if size else 0.0), xx


Shown = Mapping[int, tuple[float, float]]  # {steps: (correlation, worth in pairs)}


def shown(seen: Sequence[Seen]) -> Shown:
    """What searches showed of drafts with each number of steps."""
    by_steps: dict[int, list[Seen]] = {}
    for one in seen:
        by_steps.setdefault(one.steps, []).append(one)
    return {steps: correlation_of(some) for steps, some in by_steps.items()}


def foretold(steps: int, known: Shown | None = None) -> float:
    """A lower bound of the rank correlation between drafts of so many steps and their final images.

    The prior is worth as many pairs as a draft has steps: real models are harder than the demo's, the more so the coarser the draft. What
    searches have shown of drafts with other steps moves it by as much as those lie from their own prior, and counts the less the further away.
    """
    prior = _prior(steps)
    total, worth = prior * steps, float(steps)
    for other, (rho, pairs) in (known or {}).items():
        near = pairs * min(steps, other) / max(steps, other)
        total += near * (_fisher(rho) - _prior(other) + prior)
        worth += near
    return max(_bound(total / worth, worth), 0.0)


def _prior(steps: int) -> float:
    """On Fisher's scale, linear in the logarithm of the steps between those that were measured."""
    known = sorted(PRIOR)
    if steps <= known[0] or steps >= known[-1]:
        return _fisher(PRIOR[known[0] if steps <= known[0] else known[-1]])
    above = next(i for i, k in enumerate(known) if k >= steps)
    low, high = known[above - 1], known[above]
    share = math.log(steps / low) / math.log(high / low)
    return _fisher(PRIOR[low]) * (1 - share) + _fisher(PRIOR[high]) * share


# -- the choice --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """steps: of a draft, 0 = no drafts. count: how many of them (of whole samples without drafts). rho: lower bound of their rank
    correlation with the final images. gain: expected, in spreads of the score; without: what whole samples gain."""

    steps: int
    count: int
    rho: float
    gain: float
    without: float


def choose(
    budget: int, whole: int, costs: Mapping[int, int], top: int = 1, known: Shown | None = None
) -> Choice:
    """The draft steps with the largest gain, the most of those that gain nearly as much; whole samples count as drafts of all steps.

    budget, whole: NFE of the search, of a final render. costs: {steps: NFE of a draft}. top: how many drafts are rendered.
    """
    whole_samples = max(budget // whole, 1)
    without = expected_maximum(whole_samples)
    choices = [Choice(0, whole_samples, 1.0, without, without)]
    for steps in sorted(costs, reverse=True):
        count = (budget - top * whole) // costs[steps]
        if count > top:
            rho = foretold(steps, known)
            choices.append(Choice(steps, count, rho, expected_best(count, top, rho), without))
    best = max(choice.gain for choice in choices)
    return next(choice for choice in choices if choice.gain >= ALIKE * best)
