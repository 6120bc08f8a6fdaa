"""Statistics of paired comparisons: the mean difference with its interval, and what several tests at once are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student


@dataclass(frozen=True)
class Paired:
    """The mean of paired differences, its 95 % interval, and the two-sided p value of the t test against 0."""

    mean: float
    low: float
    high: float
    p: float

    def points(self) -> str:
        """In points, signed: "+5 [-1, +10]"."""
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def paired(differences: Sequence[float], level: float = 0.95) -> Paired:
    """differences: one for each problem (average over its seeds and budgets first: they are no independent cases). At least 2."""
    count = len(differences)
    if count < 2:
        raise ValueError(f"An interval needs at least 2 problems, not {count}.")
    mean = math.fsum(differences) / count
    variance = math.fsum((value - mean) ** 2 for value in differences) / (count - 1)
    error = math.sqrt(variance / count)
    if error == 0:
        return Paired(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = float(student.ppf(0.5 + level / 2, count - 1)) * error
    return Paired(mean, mean - half, mean + half, float(2 * student.sf(abs(mean) / error, count - 1)))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for being that many (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, worst = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, (len(values) - rank) * values[i])
        adjusted[i] = min(1.0, worst)
    return adjusted
