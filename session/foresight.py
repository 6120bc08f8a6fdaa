"""How far previews foresaw what became of the samples: what a search that prunes by them hangs on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..search.drafts import rank_correlation
from ..search.driver import Result
from ..search.rollout import Outcome
from ..search.selection import Comparison

FEWEST = 3  # pairs that an order can be told of


def foresight(result: Result, comparison: Comparison) -> list[dict]:
    """For each level at which samples were looked at and went on as they were: how alike they were ordered then and at the next look.

    flow_time, next: of both looks. samples: how many went on. rank_correlation: Spearman's, 1 = the same order, 0 = no relation. Those
    that were cut out are not in it, and they differed most: it is low for few samples that are all good.
    """
    pairs: dict[tuple[float, float], list[tuple[Outcome, Outcome]]] = defaultdict(list)
    for outcome in result.outcomes.values():
        if outcome.rollout.parent is not None and outcome.rollout.noise is None:
            parent = result.outcomes[outcome.rollout.parent]
            if parent.scores and outcome.scores:
                pairs[parent.rollout.stop, outcome.rollout.stop].append((parent, outcome))
    found = []
    for (level, next), both in sorted(pairs.items(), reverse=True):
        if len(both) < FEWEST:
            continue
        before, after = (_utilities(comparison, some) for some in zip(*both))
        if len(set(before)) > 1 and len(set(after)) > 1:  # else there is no order to compare
            found.append(
                {
                    "flow_time": level,
                    "next": next,
                    "samples": len(both),
                    "rank_correlation": round(rank_correlation(before, after), 4),
                }
            )
    return found


def in_words(found: Sequence[dict]) -> list[str]:
    """One note for all levels, [] when there are none."""
    said = [
        f"{one['rank_correlation']:.2f} from flow time {one['flow_time']:.2f} to {one['next']:.2f} ({one['samples']} samples)"
        for one in found
    ]
    return (
        [f"Previews and later looks at the same samples, rank correlation: {', '.join(said)}."]
        if said
        else []
    )


def _utilities(comparison: Comparison, some: Sequence[Outcome]) -> list[float]:
    told = comparison.utilities(some)
    return [told[one.id] for one in some]
