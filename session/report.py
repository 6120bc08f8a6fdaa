"""The honest account of a search, as a JSON-able dictionary. It asks the search and the judges for their own words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ..sampling.ledger import Ledger
from ..search.algorithms.base import Search
from ..search.driver import Result
from ..search.rollout import Outcome
from ..untrusted import excerpt
from .faults import Faults
from .found import FoundOne
from .judging import Judge

VERSION = 1
DEEPEST = 40  # of what a search says of itself
MOST_DRAWS = (
    200_000  # seeds in the noises of an image's candidates: over a long climb they grow with its square
)


def report_of(
    wished: Search,
    seed: int,
    judges: Sequence[Judge],
    ledger: Ledger,
    found: Sequence[FoundOne],
    faults: Faults,
) -> dict:
    """wished: the settings before planning. judges: one for each sample of the batch, none after a replay without a verifier.

    A part that fails is left out and noted in `faults`, whose notes are part of the account.
    """
    judge = judges[0] if judges else None
    names = judge.names if judge else []
    report: dict[str, Any] = {
        "noise_search": VERSION,
        "search": _described(wished, faults),
        "seed": seed,
        "verifiers": names,
        "weights": judge.comparison.weights if judge else [],
        "method": judge.comparison.method if judge and len(names) > 1 else "score",
        "held_out": judge.held_out.name if judge and judge.held_out is not None else None,
        "prompt": judge.prompt if judge else "",
        "totals": {
            **ledger.to_dict(),
            "search_nfe": sum(one.search_nfe for one in found),
            "final_nfe": sum(one.final_nfe for one in found),
        },
        "images": [_image(one, faults) for one in found],
        "notes": _notes(judges, ledger, found, faults),
    }
    return clean({**report, "notes": report["notes"] + faults.notes})


def _described(search: Search, faults: Faults) -> dict:
    with faults.spared(f"The search's description of itself ({search.name})"):
        return {"name": search.name, **search.describe()}
    return {"name": search.name}


def _notes(judges: Sequence[Judge], ledger: Ledger, found: Sequence[FoundOne], faults: Faults) -> list[str]:
    notes = []
    for judge in judges:
        with faults.spared("The verifiers' notes"):
            notes += judge.notes()
    for one in found:
        with faults.spared(f"The search's notes ({one.wished.name})"):
            notes += one.result.settings.notes(one.wished)
        notes += one.notes
    if ledger.lost_nfe:
        notes.append(f"{ledger.lost_nfe} NFE were lost to batches that ran out of memory.")
    if ledger.journal_candidates:
        notes.append(
            f"{ledger.journal_candidates} candidates came from the search journal: their {ledger.journal_nfe} NFE were paid by earlier searches, and not again."
        )
    if ledger.recomputed_nfe:
        notes.append(
            f"{ledger.recomputed_nfe} NFE went into samples that were needed once more, which the journal does not hold."
        )
    if skipped := ledger.asked_nfe - ledger.nfe:
        notes.append(
            f"A cache answered {skipped} of {ledger.asked_nfe} evaluations in the network's place; they are not counted as NFE."
        )
    return list(dict.fromkeys(map(str, notes)))


def _image(one: FoundOne, faults: Faults) -> dict:
    result, noises = one.result, _noises(one.result)
    return {
        "winner": {
            "id": one.chosen,
            "seed": one.recipe.root.seed,
            "scores": one.scores,
            "held_out": one.held_out,
            "recipe": one.recipe.to_dict(),
        },
        "settings": _described(result.settings, faults),
        "plan": one.announcement,
        "rows_at_once": one.rows,
        "batching": one.batching,
        "budget_nfe": one.limits.nfe,
        "search_nfe": one.search_nfe,
        "final_nfe": one.final_nfe,
        **({"drafts": one.drafts} if one.drafts else {}),
        "stopped": result.stopped,
        "seconds": round(result.seconds, 3),
        **({"previews": one.foresight} if one.foresight else {}),
        **({} if one.spread is None else {"spread": round(one.spread, 4)}),
        "forecast": one.forecast,
        "curve": [[nfe, outcome.id] for nfe, outcome in result.curve],
        "rounds": result.rounds,
        "ranking": [outcome.id for outcome in result.ranking],
        "candidates": [
            _candidate(outcome, noises[outcome.id], one.witness.get(outcome.id), one.answers.get(outcome.id))
            for outcome in result.outcomes.values()
        ],
    }


def _noises(result: Result) -> dict[int, dict | None]:
    """The noise of each candidate; where all are too long to be told whole, that of the best. Of others the seed they begin with, and how
    many seeds are `left_out`."""
    ranked = {outcome.id: outcome for outcome in result.ranking}
    found: dict[int, dict | None] = {}
    room = MOST_DRAWS
    for id, outcome in {**ranked, **result.outcomes}.items():
        noise = outcome.rollout.noise
        if noise is None or noise.draws == 1:
            found[id] = noise.to_dict() if noise else None
        elif noise.draws <= room:
            room -= noise.draws
            found[id] = noise.to_dict()
        else:
            found[id] = {"seed": noise.seed, "left_out": noise.draws - 1}
    return found


def _candidate(outcome: Outcome, noise: dict | None, held_out: float | None, answers: dict | None) -> dict:
    rollout = outcome.rollout
    piece = {"parent": rollout.parent, "start": rollout.start, "steps": rollout.steps}
    return {
        "id": outcome.id,
        "noise": noise,
        "scores": outcome.scores,
        "held_out": held_out,
        "nfe": outcome.nfe,
        "stop": rollout.stop,
        **{name: value for name, value in piece.items() if value is not None},
        **({"answers": answers} if answers else {}),
    }


def clean(value: Any, deeper: int = DEEPEST) -> Any:
    """The value as a browser's JSON can read it: NaN and infinities become null, dataclasses dictionaries, unknown objects short text."""
    if deeper == 0:
        return excerpt(type(value).__name__)
    if isinstance(value, dict):
        return {str(key): clean(v, deeper - 1) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v, deeper - 1) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: clean(getattr(value, field.name), deeper - 1) for field in dataclasses.fields(value)
        }
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else excerpt(value)
