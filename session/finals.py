"""The best drafts, rendered with all steps and judged again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..search.drafts import Seen, rank_correlation, seen_of
from ..search.driver import BY_HAND, OUT_OF_TIME, Result
from ..search.rollout import Outcome, Recipe, Rollout, lineage
from .drafting import Drafts
from .plan import Plan


@dataclass(frozen=True)
class Final:
    """draft: the outcome that was rendered. outcome: what came of it, with an id behind those of all drafts. latent, denoised: [1, ...]; image: decoded."""

    draft: Outcome
    outcome: Outcome
    recipe: Recipe
    latent: torch.Tensor
    denoised: torch.Tensor
    image: torch.Tensor


@dataclass(frozen=True)
class Finals:
    """best: the finals that came out well, best first; rendered: all of them, the best draft's first. notes: what the user should know."""

    best: list[Final]
    rendered: list[tuple[Outcome, Outcome]]
    notes: list[str]


NOT_AT_ALL = (
    "The image is a draft: it was not rendered with all steps, because the search was told to stop twice."
)


def finals_of(plan: Plan, result: Result, hurried: Callable[[], bool]) -> Finals:
    """Render the best drafts of a search, as many as was planned, one after the other; one where the search was stopped before its end.

    hurried: whether there is no time for what is not rendered yet.
    """
    drafts, renderer = plan.drafts, plan.renderer
    assert drafts is not None and renderer is not None
    if hurried():
        return Finals([], [], [NOT_AT_ALL])
    count = 1 if result.stopped in (BY_HAND, OUT_OF_TIME) else drafts.top
    chosen = result.ranking[:count]
    roots = [lineage(result.outcomes, outcome.id)[0].noise for outcome in chosen]
    first = max(result.outcomes) + 1
    asked = [(first + i, Rollout(noise)) for i, noise in enumerate(roots)]
    renderer.flight.landed = True  # the search has its image
    runs = plan.finals or renderer
    outcomes = [outcome for wave in runs.evaluate(asked, hurried) for outcome in wave]
    if plan.finals:
        plan.finals.bring([outcome.id for outcome in outcomes])
    rendered = list(zip(chosen, outcomes))
    if not rendered:
        return Finals([], [], [NOT_AT_ALL])
    notes, well = [], []
    for draft, outcome in rendered:
        kept = renderer.shelf[outcome.id]
        assert kept.latent is not None and kept.denoised is not None  # it is finished
        if not bool(kept.latent.isfinite().all()):
            notes.append(
                "A final render came out with values that are not numbers (NaN or infinite), and was left aside."
            )
            continue
        recipe = Recipe((outcome.rollout,), plan.sample.index)
        image = renderer.image(outcome.id)
        well.append(Final(draft, outcome, recipe, kept.latent, kept.denoised, image))
    order = [one.id for one in plan.comparison.best([one.outcome for one in well], len(well))]
    best = sorted(well, key=lambda one: order.index(one.outcome.id))
    return Finals(best, rendered, notes)


def account_of(drafts: Drafts, finals: Finals, witness: dict, seen: Seen) -> dict[str, Any]:
    """What the report says of drafts. rank_correlation: of this search's pairs, by what counts of their scores; None for fewer than three."""
    here = rank_correlation(*zip(*seen.pairs)) if len(seen.pairs) > 2 else math.nan
    rho, worth = drafts.known
    return {
        **drafts.describe(),
        "finals": [
            {
                "id": final.id,
                "draft": draft.id,
                "draft_scores": draft.scores,
                "scores": final.scores,
                "held_out": witness.get(final.id),
                "nfe": final.nfe,
            }
            for draft, final in finals.rendered
        ],
        "rank_correlation": here,
        "earlier": {"correlation": rho if worth else None, "worth_pairs": round(worth, 2)},
    }


def shown_by(drafts: Drafts, result: Result, finals: Finals, plan: Plan) -> Seen:
    """How the finals compare with their drafts, for the journal."""
    scores = [outcome.scores for outcome in result.outcomes.values() if outcome.finished]
    pairs = [(draft.scores, final.scores) for draft, final in finals.rendered]
    return seen_of(drafts.steps, scores, pairs, plan.comparison)
