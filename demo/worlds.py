"""The two worlds of the demo models: what they draw, how to sample them, and the prompts kept out of their training."""

import random
import zlib
from dataclasses import dataclass

from .grammar import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, describe

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

DIGIT_EXAMPLES = ("digit seven", "digit three", "digit eight")


@dataclass(frozen=True)
class World:
    """Recommended settings of one world, and where its files are; images are `size` x `size` pixels."""

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    examples: tuple[str, ...]
    folder: str
    size: int = 64
    generator: str = "generator"
    shift: float = 1.0


WORLDS = {
    "digits": World(
        steps=12,
        cfg=1.0,
        sampler="euler",
        scheduler="simple",
        examples=DIGIT_EXAMPLES,
        folder="digits",
    ),
    "scenes": World(
        steps=15,
        cfg=1.5,
        sampler="euler",
        scheduler="simple",
        examples=(
            "a red circle left of a blue star on a grey background",
            "a yellow heart above a purple ring on a navy background",
            "an orange moon on a black background",
        ),
        folder="scenes",
    ),
    # Distilled for two steps: with a shift of 3 the stock schedule's second step lies at flow time 0.75, the TrigFlow angle 1.25.
    "digits, two-step": World(
        steps=2,
        cfg=1.0,
        sampler="lcm",
        scheduler="simple",
        examples=DIGIT_EXAMPLES,
        folder="digits",
        generator="two_step",
        shift=3.0,
    ),
}


def random_scene(rng):
    """A Scene: one thing in a quarter of the cases, else two that differ."""
    first, second = (Thing(rng.choice(COLOURS), rng.choice(SHAPES)) for _ in range(2))
    background = rng.choice(BACKGROUNDS)
    if rng.random() < 0.25:
        return Scene(background, first)
    while second == first:
        second = Thing(rng.choice(COLOURS), rng.choice(SHAPES))
    return Scene(background, first, second, vertical=rng.random() < 0.5)


def is_held_out(scene):
    """Whether a scene (in any wording) is kept out of all training: one in ten, by a hash that is the same everywhere."""
    return zlib.crc32(describe(scene).encode()) % 10 == 0


def held_out_prompts(world, count, seed=0):
    """`count` prompts for honest measurements: unseen scenes without repeats, or the digits in turn (there only the noise is new)."""
    if world not in WORLDS:
        raise ValueError(f"No demo world is called {world!r}; there are {', '.join(WORLDS)}.")
    if WORLDS[world].folder == "digits":
        return [f"digit {DIGITS[i % 10]}" for i in range(count)]
    rng, prompts = random.Random(seed), {}
    while len(prompts) < count:
        scene = random_scene(rng)
        if is_held_out(scene):
            prompts.setdefault(scene, describe(scene, from_second=rng.random() < 0.5))
    return list(prompts.values())
