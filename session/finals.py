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
from .faults import Faults
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
NONE_CAME_OUT = "The image is a draft: no render of it with all steps came out."


def finals_of(plan: Plan, result: Result, hurried: Callable[[], bool], faults: Faults) -> Finals:
    """Render the best drafts of a search, as many as was planned, one after the other; one where the search was stopped before its end.

    hurried: whether there is no time for what is not rendered yet. One that fails is noted in `faults`, and costs the others nothing.
    """
    drafts = plan.drafts
    assert drafts is not None and plan.renderer is not None
    count = 1 if result.stopped in (BY_HAND, OUT_OF_TIME) else drafts.top
    first = max(result.outcomes) + 1
    plan.renderer.flight.landed = True  # the search has its image
    rendered, notes, well = [], [], []
    for place, draft in enumerate(result.ranking[:count]):
        if hurried():
            break
        with faults.spared(f"The final render of candidate {draft.id}"):
            root = lineage(result.outcomes, draft.id)[0].noise
            final = _rendered(plan, draft, first + place, Rollout(root), hurried)
            if final is None:  # given up
                break
            rendered.append((draft, final.outcome))
            if bool(final.latent.isfinite().all()):
                well.append(final)
            else:
                notes.append(
                    "A final render came out with values that are not numbers (NaN or infinite), and was left aside."
                )
    if not well:
        notes.append(NOT_AT_ALL if hurried() else NONE_CAME_OUT)
    order = [one.id for one in plan.comparison.best([one.outcome for one in well], len(well))]
    best = sorted(well, key=lambda one: order.index(one.outcome.id))
    return Finals(best, rendered, notes)


def _rendered(
    plan: Plan, draft: Outcome, id: int, rollout: Rollout, hurried: Callable[[], bool]
) -> Final | None:
    """A draft with all steps, judged; None where it was given up because there is no time."""
    renderer = plan.renderer
    assert renderer is not None
    runs = plan.finals or renderer
    outcomes = [outcome for wave in runs.evaluate([(id, rollout)], hurried) for outcome in wave]
    if not outcomes:
        return None
    if plan.finals:
        plan.finals.bring([id])
    kept = renderer.shelf[id]
    assert kept.latent is not None and kept.denoised is not None  # it is finished
    recipe = Recipe((rollout,), plan.sample.index)
    return Final(draft, outcomes[0], recipe, kept.latent, kept.denoised, renderer.image(id))


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
