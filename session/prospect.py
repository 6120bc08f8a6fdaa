"""What more candidates of a search would bring: for its report, its progress line and its panel."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..search.algorithms.base import Search
from ..search.forecast import forecast
from ..search.rollout import Outcome
from ..search.selection import Comparison

MORE = 8


def prospect(
    search: Search,
    comparison: Comparison,
    finished: Iterable[Outcome],
    seconds_each: float | None = None,
    more: int = MORE,
) -> dict[str, Any]:
    """`forecast` of a search as it stands. finished: its finished outcomes in any order. seconds_each: what a candidate takes, where that is known."""
    if not search.independent:
        return {"unknown": f"the candidates of {search.name} build on one another"}
    done = list(finished)
    weights = comparison.weights or (1.0,) * max((len(outcome.scores) for outcome in done), default=1)
    deciding = [place for place, weight in enumerate(weights) if weight > 0]
    if len(deciding) == 1:
        scores = [outcome.scores[deciding[0]] if outcome.scores else None for outcome in done]
    elif comparison.method == "weighted sum":
        scores = [None if told == -math.inf else told for told in comparison.utilities(done).values()]
    else:
        return {"unknown": f"by {comparison.method} a score only says how the candidates compare"}
    return forecast(scores, more, seconds_each)


def in_words(told: dict[str, Any] | None) -> str:
    """One line for people; "" for None."""
    if told is None:
        return ""
    if "unknown" in told:
        return f"What more candidates would bring cannot be told: {told['unknown']}."
    takes = f", {duration(told['seconds'])}" if "seconds" in told else ""
    return f"{told['more']} more: expected gain +{told['gain']:.2g} [{told['low']:.2g}, {told['high']:.2g}]{takes}"


def duration(seconds: float) -> str:
    """Seconds as people say them: "0.4 s", "95 s", "12 min", "3.1 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
