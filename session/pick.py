"""A candidate that was picked: from a picture, from the shortlist, by a script. It is rendered once, without a search and a judge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..compat import COMFYUI
from ..search.algorithms import Replay
from ..search.json_text import read_json
from ..search.rollout import Recipe, recipes_from_json
from .carry import KEY


@dataclass(frozen=True)
class Pick:
    """recipes: one, or one for each sample of the latent batch. made: facts about the graph that made it, where they are known."""

    recipes: tuple[Recipe, ...]
    made: Any = None

    @property
    def search(self) -> Replay:
        return Replay(self.recipes, COMFYUI)

    @property
    def whole(self) -> bool:
        """Whether each is one whole sample, which other sigmas can render too."""
        return all(len(recipe.pieces) == 1 for recipe in self.recipes)


def read_pick(text: str) -> Pick | None:
    """What the widget `pick` holds: nothing (None), a recipe as the outputs give it, or the record that a picture carries.

    Untrusted text, bounded like recipes. ValueError says what is wrong with it.
    """
    if not text.strip():
        return None
    data = read_json(text)
    if not isinstance(data, dict) or "winners" not in data:
        return Pick(tuple(recipes_from_json(text)))
    if data.get(KEY) != 1 or not isinstance(data["winners"], list):
        raise ValueError(
            'The pick is neither a recipe nor the record of a picture. Paste a recipe output, or what a picture holds under "noise_search".'
        )
    winners = [winner.get("recipe") if isinstance(winner, dict) else None for winner in data["winners"]]
    return Pick(tuple(recipes_from_json(json.dumps(winners))), data.get("made"))
