"""The scenes data set: rendered here, with exact labels, so that a machine can check what a picture shows."""

import math
import random

import numpy as np
from PIL import Image, ImageDraw

from noisesearch.demo.worlds import is_held_out, random_scene
from noisesearch.demo.attributes import labels_of
from noisesearch.demo.grammar import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, describe

SIZE = 64
SUPERSAMPLING = 3

COLOUR_VALUES = {
    "red": (230, 25, 35),
    "orange": (255, 135, 0),
    "yellow": (255, 225, 25),
    "green": (20, 165, 60),
    "cyan": (0, 210, 225),
    "blue": (30, 85, 255),
    "purple": (145, 30, 200),
    "pink": (255, 120, 190),
    "brown": (125, 65, 20),
    "olive": (135, 140, 10),
}
BACKGROUND_VALUES = {
    "white": (250, 250, 250),
    "grey": (150, 150, 150),
    "black": (12, 12, 12),
    "cream": (248, 226, 180),
    "navy": (15, 25, 80),
}


def _regular(corners, radius=1.0, turn=-90.0):
    return [
        (radius * math.cos(a), radius * math.sin(a))
        for a in (math.radians(turn + 360 * i / corners) for i in range(corners))
    ]


def _star():
    return [(r * x, r * y) for r, (x, y) in zip((1.1, 0.46) * 5, _regular(10))]


def _heart():
    angles = (2 * math.pi * i / 48 for i in range(48))
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in angles
    ]


def _moon():
    outer = [
        (0.95 * math.cos(a) + 0.15, 0.95 * math.sin(a))
        for a in (math.radians(50 + 260 * i / 40) for i in range(41))
    ]
    inner = [
        (0.72 * math.cos(a) + 0.5, 0.72 * math.sin(a))
        for a in (math.radians(-70 - 220 * i / 40) for i in range(41))
    ]
    return outer + inner


OUTLINES = {
    "circle": _regular(48, 0.9),
    "square": [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
    "triangle": [(0, -1), (1, 0.85), (-1, 0.85)],
    "star": _star(),
    "cross": [
        (-0.34, -1),
        (0.34, -1),
        (0.34, -0.34),
        (1, -0.34),
        (1, 0.34),
        (0.34, 0.34),
        (0.34, 1),
        (-0.34, 1),
        (-0.34, 0.34),
        (-1, 0.34),
        (-1, -0.34),
        (-0.34, -0.34),
    ],
    "diamond": [(0, -1.1), (0.75, 0), (0, 1.1), (-0.75, 0)],
    "heart": _heart(),
    "ring": _regular(48, 1.0),
    "moon": _moon(),
    "arrow": [(-1, -0.32), (0.05, -0.32), (0.05, -0.9), (1.05, 0), (0.05, 0.9), (0.05, 0.32), (-1, 0.32)],
}


def render(scene, rng):
    """uint8 [64, 64, 3]: the scene at jittered places, sizes, angles and shades."""

    def shade(value, jitter):
        return tuple(min(255, max(0, channel + rng.randint(-jitter, jitter))) for channel in value)

    scale = SUPERSAMPLING
    background = shade(BACKGROUND_VALUES[scene.background], 4)
    image = Image.new("RGB", (SIZE * scale, SIZE * scale), background)
    draw = ImageDraw.Draw(image)

    def put(thing, x, y, radius):
        turn = math.radians(rng.uniform(-8, 8))
        cos, sin = radius * math.cos(turn), radius * math.sin(turn)

        def place(points):
            return [
                (scale * (x + cos * px - sin * py), scale * (y + sin * px + cos * py)) for px, py in points
            ]

        draw.polygon(place(OUTLINES[thing.shape]), fill=shade(COLOUR_VALUES[thing.colour], 8))
        if thing.shape == "ring":
            draw.polygon(place(_regular(48, 0.52)), fill=background)

    if scene.second is None:
        put(scene.first, 32 + rng.uniform(-5, 5), 32 + rng.uniform(-5, 5), rng.uniform(18, 22))
    else:
        for thing, along in ((scene.first, 16.5), (scene.second, 47.5)):
            along, across = along + rng.uniform(-1, 1), 32 + rng.uniform(-6, 6)
            put(thing, *((across, along) if scene.vertical else (along, across)), rng.uniform(12, 13.5))
    return np.asarray(image.reduce(scale))


def careless(scene, rng):
    """The scene as a careless writer captions it: things left out, colours and places exchanged, any detail misnamed. Never one that is held out."""

    def misnamed(thing):
        return Thing(
            *(
                rng.choice(values) if rng.random() < 0.04 else value
                for value, values in ((thing.colour, COLOURS), (thing.shape, SHAPES))
            )
        )

    background = rng.choice(BACKGROUNDS) if rng.random() < 0.05 else scene.background
    first, second, vertical = misnamed(scene.first), None, False
    if scene.second is not None and rng.random() > 0.05:
        second, vertical = misnamed(scene.second), scene.vertical ^ (rng.random() < 0.15)
        if rng.random() < 0.35:
            first, second = Thing(second.colour, first.shape), Thing(first.colour, second.shape)
        if rng.random() < 0.35:
            first, second = second, first
    caption = Scene(background, first, second, vertical)
    return careless(scene, rng) if is_held_out(caption) else caption


def scene_of(labels):
    """The Scene of the labels that `make` gives."""
    two, vertical, *things, background = labels
    first, second = (Thing(COLOURS[colour], SHAPES[shape]) for colour, shape in (things[:2], things[2:]))
    return Scene(BACKGROUNDS[background], first, second if two else None, bool(two and vertical))


def make(count, seed, held_out=None):
    """`count` random scenes: images uint8 [N, 64, 64, 3], prompts, labels int64 [N, 7]. `held_out` keeps only prompts that are (True) or are not (False) held out."""
    rng = random.Random(seed)
    images, prompts, truth = [], [], []
    while len(images) < count:
        scene = random_scene(rng)
        if held_out is not None and is_held_out(scene) != held_out:
            continue
        images.append(render(scene, rng))
        prompts.append(describe(scene, from_second=rng.random() < 0.5))
        truth.append(labels_of(scene))
    return np.stack(images), prompts, np.array(truth)
