"""Rollout and Outcome: the unit every search asks for, and what it gets back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ..untrusted import entries, excerpt, only, real, whole
from .json_text import no_collections, read_json
from .noise import MOST_MOVES, NoiseRecipe

EXTRA, FREE = "extra evaluation", "free"
BY_VAE, BY_TAESD, BY_RGB = "the VAE", "TAESD", "latent2rgb"
DECODERS = (BY_VAE, BY_TAESD, BY_RGB)  # of unfinished samples
PREVIEWS = (EXTRA, FREE)  # an unfinished sample is shown at its own level, or by the solver's last prediction

VERSIONS = (1, 2)
RECIPE_KEYS = ("noise_search", "index", "pieces", "comfyui")
PIECE_KEYS = ("noise", "start", "steps", "stop")
# What is read: all that our own searches write with 10 000 candidates. More is damaged or hostile, and would be computed for ever.
MOST_PIECES = 10_000
MOST_DRAWS = 1 + MOST_MOVES
MOST_STEPS = 10_000  # of a piece
MOST_INDEX = 65_535
MOST_VERSION = 40  # characters of ComfyUI's version
# Of one text, over all its recipes: as many as a stock latent batch has samples, and what is read in a second and 64 MB.
ALL_RECIPES = 4096
ALL_TOGETHER = {"pieces": 20_000, "noises": 200_000}
UNCHANGED = "Paste the recipe output of a search node, unchanged."


@dataclass(frozen=True)
class Rollout:
    """A piece of sampling path. Flow time t is the share of noise in the latent: 1 = pure noise, 0 = clean.

    noise: the random numbers it consumes; None = it adds none of its own.
    parent: id of the outcome whose latent it starts from; None = pure noise at the top of the schedule.
    start: flow time it denoises from; None = the schedule's top, or where the parent stopped. Above the parent's stop, with a
        noise, the parent's latent is noised up to it first; at the parent's stop, the rollout goes on from there. From a finished
        parent both the noise and the start must be given.
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
        One that starts from a finished sample has a noise and a start.
    index: which sample of the latent batch it was made for (as `batch_index` of a stock latent).
    comfyui: the version of ComfyUI that it was written under, where that is known; not part of what it makes.
    """

    pieces: tuple[Rollout, ...]
    index: int = 0
    comfyui: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.pieces or self.pieces[0].noise is None:
            raise ValueError("A recipe has at least one piece, and its first piece has a noise.")
        if not self.pieces[-1].finished:
            raise ValueError(
                f"A recipe ends with a finished sample, but its last piece stops at flow time {self.pieces[-1].stop}."
            )
        if any(
            before.finished and None in (piece.noise, piece.start) for before, piece in pairwise(self.pieces)
        ):
            raise ValueError(
                "A piece that goes on from a finished sample needs a noise and the flow time that it is noised up to (start)."
            )
        if self.index < 0:
            raise ValueError(f"The index in a latent batch is 0 or more, not {excerpt(self.index)}.")
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

    @property
    def only_cut(self) -> bool:
        """Whether it is one sample that was stopped on the way and went on as it was, over the user's own steps."""
        return all(
            piece.steps is None and piece.start is None and (piece.noise is None) == (i > 0)
            for i, piece in enumerate(self.pieces)
        )

    @property
    def is_a_seed(self) -> bool:
        """Whether a stock sampler with the seed it begins with makes the same."""
        return is_a_seed(self.pieces)

    @property
    def noises(self) -> list[NoiseRecipe]:
        return [piece.noise for piece in self.pieces if piece.noise is not None]

    @property
    def draws(self) -> int:
        """How many noises of seeds it is made of."""
        return sum(noise.draws for noise in self.noises)

    @property
    def version(self) -> int:
        """The first version of recipes that can say it, so that older readers read what they can."""
        from_finished = any(piece.finished for piece in self.pieces[:-1])
        return 2 if from_finished else max(noise.version for noise in self.noises)

    def to_dict(self) -> dict[str, Any]:
        pieces = []
        for piece in self.pieces:
            entry: dict[str, Any] = {"noise": piece.noise.to_dict()} if piece.noise else {}
            entry |= {
                name: value for name in ("start", "steps") if (value := getattr(piece, name)) is not None
            }
            entry |= {"stop": piece.stop} if piece.stop else {}
            pieces.append(entry)
        written = {"comfyui": self.comfyui} if self.comfyui else {}
        return {"noise_search": self.version, "index": self.index, "pieces": pieces, **written}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Raises ValueError with what is wrong."""
        if not isinstance(data, dict) or "noise_search" not in data:
            raise ValueError(f'Not a NoiseSearch recipe: it lacks the key "noise_search". {UNCHANGED}')
        version = data["noise_search"]
        if type(version) is not int or version not in VERSIONS:
            raise ValueError(
                f"This recipe has version {excerpt(version, 40)}; this NoiseSearch reads versions {' and '.join(map(str, VERSIONS))}. Update NoiseSearch."
            )
        try:
            only(data, RECIPE_KEYS, f"a recipe of version {version}")
            pieces = [
                _piece(entry, version, i - 1 if i else None)
                for i, entry in enumerate(entries(data["pieces"], MOST_PIECES, "pieces"))
            ]
            index = whole(data.get("index", 0))
            if index > MOST_INDEX:
                raise ValueError(f"the index in a latent batch is {MOST_INDEX} at most, not {index}")
            recipe = cls(tuple(pieces), index, _version_text(data.get("comfyui")))
            _check(recipe, version)
            return recipe
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"This NoiseSearch recipe is damaged: {reason}. {UNCHANGED}") from error


def is_a_seed(pieces: Sequence[Rollout]) -> bool:
    """Whether a lineage is the noise of one seed and nothing else, sampled over the user's own schedule, as far as it goes."""
    first = pieces[0]
    unasked = first.start is None and first.steps is None
    return len(pieces) == 1 and unasked and first.noise is not None and first.noise.plain


def says_a_seed(pieces: Sequence[Mapping[str, Any]]) -> bool:
    """`is_a_seed` of a finished recipe's pieces as `Recipe.to_dict` writes them: a seed is all that they say."""
    return len(pieces) == 1 and set(pieces[0]) == {"noise"} and set(pieces[0]["noise"]) == {"seed"}


def _piece(entry: dict[str, Any], version: int, parent: int | None) -> Rollout:
    if not isinstance(entry, dict):
        raise TypeError(f"a piece is a table, not {excerpt(entry, 40)}")
    only(entry, PIECE_KEYS, f"a piece of version {version}")
    noise = NoiseRecipe.from_dict(entry["noise"], version) if "noise" in entry else None
    start = None if entry.get("start") is None else real(entry["start"])
    steps = None if entry.get("steps") is None else whole(entry["steps"])
    if steps is not None and steps > MOST_STEPS:
        raise ValueError(f"a piece takes {MOST_STEPS} steps at most, not {steps}")
    return Rollout(noise, parent, start, real(entry.get("stop", 0.0)), steps)


def _check(recipe: Recipe, version: int) -> None:
    """What is asked of strangers' recipes besides; a search that wrote one it could run is not to fail on it."""
    if recipe.version > version:
        raise ValueError(
            f"only version {recipe.version} can go on from a finished sample, but it says version {version}"
        )
    if any(
        piece.start is not None and piece.start < before.stop for before, piece in pairwise(recipe.pieces)
    ):
        raise ValueError("a piece starts below the flow time at which the piece before it stops")
    if recipe.draws > MOST_DRAWS:
        raise ValueError(f"it draws {recipe.draws} noises, and {MOST_DRAWS} is the most")
    for noise in recipe.noises:
        noise.check_turns()


def _version_text(text: Any) -> str | None:
    if text is None or (
        isinstance(text, str) and 0 < len(text) <= MOST_VERSION and text.isascii() and text.isprintable()
    ):
        return text
    raise ValueError(
        f"comfyui is a version of {MOST_VERSION} plain characters at most, not {excerpt(text, 60)}"
    )


def recipes_to_json(recipes: Sequence[Recipe], comfyui: str | None = None) -> str:
    """One recipe as an object, several (one per sample of a latent batch) as a list. comfyui: the version they are written under."""
    data = [replace(recipe, comfyui=recipe.comfyui or comfyui).to_dict() for recipe in recipes]
    return json.dumps(data[0] if len(data) == 1 else data)


@no_collections()
def recipes_from_json(text: str) -> list[Recipe]:
    """Inverse of `recipes_to_json`, in bounded time and memory; ValueError says what is wrong with the text."""
    try:
        data = read_json(text)
        found = entries(data if isinstance(data, list) else [data], ALL_RECIPES, "recipes")
    except ValueError as error:
        raise ValueError(f"The recipe is damaged, or not JSON: {error}. {UNCHANGED}") from error
    if not found:
        raise ValueError(f"The recipe is an empty list. {UNCHANGED}")
    recipes, left = [], dict(ALL_TOGETHER)
    found.reverse()
    while found:
        recipe = Recipe.from_dict(found.pop())  # what was read is let go of
        for what, count in (("pieces", len(recipe.pieces)), ("noises", recipe.draws)):
            left[what] -= count
            if left[what] < 0:
                raise ValueError(
                    f"These recipes have more than {ALL_TOGETHER[what]} {what}. Paste fewer of them."
                )
        recipes.append(recipe)
    return recipes


def note_of_version(recipe: Recipe, running: str | None) -> str | None:
    """What to say when a recipe is replayed under another ComfyUI than it was written under; None = nothing."""
    if not recipe.comfyui or not running or recipe.comfyui == running:
        return None
    return (
        f"The recipe was written under ComfyUI {recipe.comfyui}, and this is {running}. Samplers that draw noise on the way "
        "(euler_ancestral, lcm, er_sde and their like) are seeded differently by some versions, so the image may differ; others give it again."
    )
