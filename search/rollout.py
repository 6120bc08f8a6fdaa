"""Rollout and Outcome: the unit every search asks for, and what it gets back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..untrusted import real, whole
from .noise import NoiseRecipe

RECIPE_VERSION = 1
EXTRA, FREE = "extra evaluation", "free"
MOST_STEPS, MOST_INDEX = (
    10_000,
    65_535,
)  # of a recipe: more is a damaged or hostile one, and would be computed for ever
PREVIEWS = (
    EXTRA,
    FREE,
)  # how an unfinished sample is shown to verifiers: at its own level, or by the solver's last prediction


@dataclass(frozen=True)
class Rollout:
    """A piece of sampling path. Flow time t is the share of noise in the latent: 1 = pure noise, 0 = clean.

    noise: the random numbers it consumes; None = it adds none of its own.
    parent: id of the outcome whose latent it starts from; None = pure noise at the top of the schedule.
    start: flow time it denoises from; None = the schedule's top, or where the parent stopped. Above the parent's stop, with a
        noise, the parent's latent is noised up to it first; at the parent's stop, the rollout goes on from there.
    stop: flow time at which it stops; exactly 0 = a finished sample (the end of the user's schedule).
    steps: solver steps for this piece; None = the user's own sigmas in between.
    score: False = no preview, no decode, no verifier (a starting point, say).
    """

    noise: NoiseRecipe | None = None
    parent: int | None = None
    start: float | None = None
    stop: float = 0.0
    steps: int | None = None
    score: bool = True

    def __post_init__(self) -> None:
        if self.parent is None and self.noise is None:
            raise ValueError("A rollout without a parent starts from pure noise and needs a noise recipe.")
        if self.start is not None and not self.stop < self.start <= 1.0:
            raise ValueError(
                f"A rollout runs down from start to stop, in flow time: 1 >= start > stop, but start = {self.start}, stop = {self.stop}."
            )
        if not 0.0 <= self.stop < 1.0:
            raise ValueError(f"A rollout stops at a flow time in [0, 1), not at {self.stop}.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"A rollout takes at least one step, not {self.steps}.")

    @property
    def finished(self) -> bool:
        return self.stop == 0.0


@dataclass(frozen=True)
class Outcome:
    """What a rollout came to. scores: one per verifier, higher is better, NaN = it could not judge; () when not scored."""

    id: int
    rollout: Rollout
    scores: tuple[float, ...]
    nfe: int

    @property
    def finished(self) -> bool:
        return self.rollout.finished


def lineage(outcomes: Mapping[int, Outcome], last: int) -> tuple[Rollout, ...]:
    """The rollouts from pure noise down to outcome `last`: all that made its image."""
    pieces = []
    node: int | None = last
    while node is not None:
        pieces.append(outcomes[node].rollout)
        node = pieces[-1].parent
    return tuple(reversed(pieces))


@dataclass(frozen=True)
class Recipe:
    """A lineage as something to keep: replaying it gives the image again, without any verifier.

    pieces: the rollouts to run one after the other, each from where the one before stopped (parents 0, 1, ...), none of them scored.
    index: which sample of the latent batch it was made for (as `batch_index` of a stock latent).
    """

    pieces: tuple[Rollout, ...]
    index: int = 0

    def __post_init__(self) -> None:
        if not self.pieces or self.pieces[0].noise is None:
            raise ValueError("A recipe has at least one piece, and its first piece has a noise.")
        if not self.pieces[-1].finished:
            raise ValueError(
                f"A recipe ends with a finished sample, but its last piece stops at flow time {self.pieces[-1].stop}."
            )
        if self.index < 0:
            raise ValueError(f"The index in a latent batch is 0 or more, not {self.index}.")
        pieces = (
            replace(piece, parent=i - 1 if i else None, score=False) for i, piece in enumerate(self.pieces)
        )
        object.__setattr__(self, "pieces", tuple(pieces))

    @property
    def root(self) -> NoiseRecipe:
        """The noise it begins with."""
        noise = self.pieces[0].noise
        assert noise is not None  # checked when it was made
        return noise

    def to_dict(self) -> dict:
        pieces = []
        for piece in self.pieces:
            entry: dict[str, Any] = {"noise": piece.noise.to_dict()} if piece.noise else {}
            entry |= {
                name: value for name in ("start", "steps") if (value := getattr(piece, name)) is not None
            }
            entry |= {"stop": piece.stop} if piece.stop else {}
            pieces.append(entry)
        return {"noise_search": RECIPE_VERSION, "index": self.index, "pieces": pieces}

    @classmethod
    def from_dict(cls, data: dict) -> Recipe:
        """Raises ValueError with what is wrong."""
        if not isinstance(data, dict) or "noise_search" not in data:
            raise ValueError(
                'Not a NoiseSearch recipe: it lacks the key "noise_search". Paste the recipe output of a search node.'
            )
        if data["noise_search"] != RECIPE_VERSION:
            raise ValueError(
                f"This recipe has version {data['noise_search']}; this NoiseSearch reads version {RECIPE_VERSION}. Update NoiseSearch."
            )
        try:
            pieces = []
            for i, entry in enumerate(data["pieces"]):
                noise = NoiseRecipe.from_dict(entry["noise"]) if "noise" in entry else None
                start = None if entry.get("start") is None else real(entry["start"])
                steps = None if entry.get("steps") is None else whole(entry["steps"])
                if steps is not None and steps > MOST_STEPS:
                    raise ValueError(f"a piece takes {MOST_STEPS} steps at most, not {steps}")
                pieces.append(
                    Rollout(noise, i - 1 if i else None, start, real(entry.get("stop", 0.0)), steps)
                )
            index = whole(data.get("index", 0))
            if index > MOST_INDEX:
                raise ValueError(f"the index in a latent batch is {MOST_INDEX} at most, not {index}")
            return cls(tuple(pieces), index)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"This NoiseSearch recipe is damaged ({type(error).__name__}: {error}). Paste the recipe output of a search node, unchanged."
            ) from error


def recipes_to_json(recipes: list[Recipe]) -> str:
    """One recipe as an object, several (one per sample of a latent batch) as a list."""
    data = [recipe.to_dict() for recipe in recipes]
    return json.dumps(data[0] if len(data) == 1 else data)


def recipes_from_json(text: str) -> list[Recipe]:
    """Inverse of `recipes_to_json`; ValueError says what is wrong with the text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested too deeply
        raise ValueError(
            f"The recipe is not JSON ({error}). Paste the recipe output of a search node, unchanged."
        ) from error
    entries = data if isinstance(data, list) else [data]
    if not entries:
        raise ValueError("The recipe is an empty list. Paste the recipe output of a search node, unchanged.")
    return [Recipe.from_dict(entry) for entry in entries]
