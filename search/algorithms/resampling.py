"""Low-variance resampling: how many children each particle gets, on average in proportion to its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..seeds import BROWSER_SEED, mix

SYSTEMATIC, SSP = "systematic", "ssp"
RESAMPLINGS = (SSP, SYSTEMATIC)


def children(weights: Sequence[float], count: int, method: str, seed: int) -> list[int]:
    """How many of `count` children each particle gets: floor or ceil of count x its weight, that much on average over the seeds.

    weights: >= 0, at least one of them > 0; normalised here.
    """
    total = math.fsum(weights)
    shares = [count * weight / total for weight in weights]
    return _systematic(shares, count, seed) if method == SYSTEMATIC else _ssp(shares, count, seed)


def _uniform(*numbers: int) -> float:
    """In [0, 1)."""
    return mix(*numbers) / BROWSER_SEED


def _systematic(shares: Sequence[float], count: int, seed: int) -> list[int]:
    """One random number u for all: a particle gets a child for each of u, u + 1, ... that lies in its stretch of [0, count)."""
    u, reached, given = _uniform(seed), 0.0, 0
    numbers = []
    for share in shares:
        reached += share
        upto = min(max(given, math.ceil(reached - u)), count)
        numbers.append(upto - given)
        given = upto
    numbers[max(range(len(shares)), key=lambda i: shares[i])] += count - given  # rounding
    return numbers


def _ssp(shares: Sequence[float], count: int, seed: int) -> list[int]:
    """Srinivasan's process (Gerber, Chopin & Whiteley 2019): the fractions of two particles are traded until one of them is whole."""
    numbers = [math.floor(share) for share in shares]
    fractions = [share - number for share, number in zip(shares, numbers)]
    one = 0  # whose fraction is open
    for other in range(1, len(shares)):
        a, b = fractions[one], fractions[other]
        u = _uniform(seed, other)
        if a + b < 1.0:  # one of them takes all of both
            winner, loser = (one, other) if u * (a + b) < a else (other, one)
            fractions[winner], fractions[loser] = a + b, 0.0
            one = winner
        else:  # one of them is rounded up, the other keeps the rest
            up, rest = (one, other) if u * (2.0 - a - b) < 1.0 - b else (other, one)
            numbers[up] += 1
            fractions[up], fractions[rest] = 0.0, a + b - 1.0
            one = rest
    numbers[one] += count - sum(numbers)  # its fraction is 0 or 1 by now, but for rounding
    return numbers
