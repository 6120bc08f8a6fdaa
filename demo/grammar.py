"""The language of the demo's scenes: one or two coloured shapes, where they stand, and the background.

a red circle on a grey background
a red circle left of a blue star on a grey background      (left of, right of, above, below)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..untrusted import excerpt

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "ring", "moon", "arrow")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "olive")
BACKGROUNDS = ("white", "grey", "black", "cream", "navy")
RELATIONS = ("left of", "right of", "above", "below")

_OBJECT = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_PROMPT = re.compile(
    rf"{_OBJECT}(?: ({'|'.join(RELATIONS)}) {_OBJECT})? on an? ({'|'.join(BACKGROUNDS)}) background\.?"
)

GRAMMAR = (
    '"a COLOUR SHAPE on a BACKGROUND background" or "a COLOUR SHAPE RELATION a COLOUR SHAPE on a BACKGROUND background", with '
    f"COLOUR one of {', '.join(COLOURS)}; SHAPE one of {', '.join(SHAPES)}; RELATION one of {', '.join(RELATIONS)}; BACKGROUND one of {', '.join(BACKGROUNDS)}"
)


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """What a prompt says. `first` is the only thing, or the left or upper one of two; `vertical` tells how two stand."""

    background: str
    first: Thing
    second: Thing | None = None
    vertical: bool = False


def parse_scene(prompt: str) -> Scene:
    """The Scene of a prompt; case and spacing do not matter. ValueError with the grammar when it cannot be read."""
    match = _PROMPT.fullmatch(" ".join(prompt.lower().split()))
    if match is None:
        raise ValueError(
            f"Cannot read a scene from the prompt {excerpt(prompt)}. The demo's scenes are written {GRAMMAR}."
        )
    colour, shape, relation, other_colour, other_shape, background = match.groups()
    named = Thing(colour, shape)
    if relation is None:
        return Scene(background, named)
    other = Thing(other_colour, other_shape)
    first, second = (named, other) if relation in ("left of", "above") else (other, named)
    return Scene(background, first, second, vertical=relation in ("above", "below"))


def describe(scene: Scene, from_second: bool = False) -> str:
    """The prompt of a scene. `from_second` names the second thing first ("right of" for "left of"): the same scene in other words."""
    ending = f"on a {scene.background} background"
    if scene.second is None:
        return f"{_phrase(scene.first)} {ending}"
    relation = ("right of", "below")[scene.vertical] if from_second else ("left of", "above")[scene.vertical]
    things = (scene.second, scene.first) if from_second else (scene.first, scene.second)
    return f"{_phrase(things[0])} {relation} {_phrase(things[1])} {ending}"


def _phrase(thing: Thing) -> str:
    return f"{'an' if thing.colour[0] in 'aeiou' else 'a'} {thing.colour} {thing.shape}"
