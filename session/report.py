"""The honest account of a search, as a JSON-able dictionary."""

from __future__ import annotations

import dataclasses
import math

VERSION = 1


def report_of(settings, seed, judges, ledger, found) -> dict:
    """judges: one for each sample of the batch, none after a replay without a verifier."""
    judge = judges[0] if judges else None
    names = judge.names if judge else []
    return clean(
        {
            "noise_search": VERSION,
            "search": _described(settings),
            "seed": seed,
            "verifiers": names,
            "weights": judge.comparison.weights if judge else [],
            "method": judge.comparison.method if len(names) > 1 else "score",
            "held_out": judge.held_out.name if judge and judge.held_out else None,
            "prompt": judge.prompt if judge else "",
            "totals": {
                **ledger.to_dict(),
                "search_nfe": sum(one.search_nfe for one in found),
                "final_nfe": sum(one.final_nfe for one in found),
            },
            "notes": _notes(settings, judges, ledger, found),
            "images": [_image(one) for one in found],
        }
    )


def _described(settings) -> dict:
    values = dataclasses.asdict(settings)
    return {"name": settings.name, **{name: value for name, value in values.items() if name != "recipes"}}


def _notes(settings, judges, ledger, found) -> list[str]:
    notes = list(dict.fromkeys(note for judge in judges for note in judge.notes()))
    if ledger.lost_nfe:
        notes.append(f"{ledger.lost_nfe} NFE were lost to batches that ran out of memory.")
    for start in {one.result.settings.start for one in found if hasattr(settings, "start")} - {
        getattr(settings, "start", None)
    }:
        notes.append(
            f"The search over paths starts at flow time {start:.3f} instead of {settings.start:.3f}, to have room for noise under the top of the schedule."
        )
    if any(one.skipped for one in found):
        notes.append(
            "A winner was not rendered once more alone: what was left of the budget does not pay for it. A stock sampler gives it but for the last digits."
        )
    return notes


def _image(one) -> dict:
    result = one.result
    winner = result.winner.id
    return {
        "winner": {
            "id": winner,
            "seed": one.recipe.pieces[0].noise.seed,
            "scores": one.scores,
            "held_out": one.held_out,
            "recipe": one.recipe.to_dict(),
        },
        "settings": _described(result.settings),
        "plan": one.announcement,
        "rows_at_once": one.rows,
        "budget_nfe": one.limits.nfe,
        "search_nfe": one.search_nfe,
        "final_nfe": one.final_nfe,
        "stopped": result.stopped,
        "seconds": round(result.seconds, 3),
        "curve": [[nfe, outcome.id] for nfe, outcome in result.curve],
        "rounds": result.rounds,
        "ranking": [outcome.id for outcome in result.ranking],
        "candidates": [
            _candidate(outcome, one.witness.get(outcome.id)) for outcome in result.outcomes.values()
        ],
    }


def _candidate(outcome, held_out) -> dict:
    rollout = outcome.rollout
    piece = {
        name: value for name in ("parent", "start", "steps") if (value := getattr(rollout, name)) is not None
    }
    noise = rollout.noise.to_dict() if rollout.noise else None
    return {
        "id": outcome.id,
        "noise": noise,
        "scores": outcome.scores,
        "held_out": held_out,
        "nfe": outcome.nfe,
        "stop": rollout.stop,
        **piece,
    }


def clean(value):
    """Numbers a browser's JSON can read: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: clean(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
