"""Samples that were cut on the way, as whole ones: where cutting changed nothing, a seed says it all."""

from __future__ import annotations

from dataclasses import replace

from ..sampling.evaluator import Evaluator
from ..search.rollout import Recipe


def uncut(recipe: Recipe, evaluator: Evaluator, anew: bool = False) -> Recipe:
    """The recipe of one whole sample where a lineage was only cut, by a sampler that goes over the pieces as over the whole.

    Such a sampler draws nothing and goes step by step, is cut at the schedule's own levels, and no cache answered in the network's
    place. anew: the sample is rendered once more from its noise, whatever it ran through in the search.
    """
    if len(recipe.pieces) == 1 or not recipe.only_cut:
        return recipe
    return (
        Recipe((replace(recipe.pieces[0], stop=0.0),), recipe.index)
        if anew or _seamless(recipe, evaluator)
        else recipe
    )


def _seamless(recipe: Recipe, evaluator: Evaluator) -> bool:
    snap, levels, ledger = evaluator.schedule.snap, set(evaluator.levels), evaluator.ledger
    return (
        all(snap(piece.stop) in levels for piece in recipe.pieces)
        and evaluator.stochastic is False
        and evaluator.steps_alone
        and ledger.asked_nfe == ledger.nfe
    )
