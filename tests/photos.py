"""Real photos and damaged copies of them, the same for the tests and for the reference programs (needs numpy and Pillow only)."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

FOLDER = Path(__file__).resolve().parent / "fixtures" / "photos"
NAMES = ("astronaut", "chelsea", "coffee")


def photo(name):
    """uint8 [H, W, 3]."""
    return np.asarray(Image.open(FOLDER / f"{name}.jpg").convert("RGB"))


def noisy(pixels, deviation, seed=0):
    """With Gaussian noise of that deviation, in levels of 255."""
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


def blurred(pixels, radius):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def variants(name):
    """Kind of damage -> uint8 [H, W, 3]; "odd" is the clean photo with sides that are not even."""
    clean = photo(name)
    return {
        "clean": clean,
        "odd": clean[:151, :133],
        "blur": blurred(clean, 2),
        "strong blur": blurred(clean, 5),
        "noise": noisy(clean, 25),
    }


def fill(inputs):
    """ComfyUI's input folder for example_workflows/score_a_folder.json: the photos, a blurred cat and a black frame in `photos`; a picture to compare with."""
    (inputs / "photos").mkdir()
    shown = {
        **{name: photo(name) for name in NAMES},
        "blurred": blurred(photo("chelsea"), 6),
        "black": np.zeros((240, 320, 3), np.uint8),
    }
    for name, pixels in shown.items():
        Image.fromarray(pixels).save(inputs / "photos" / f"{name}.png")
    Image.fromarray(noisy(photo("chelsea"), 10)).save(inputs / "example.png")


def judged(graph):
    """That workflow, made to load the folder `photos`; any other as it is."""
    for node in graph["nodes"]:
        if node["type"] == "NoiseSearchLoadFolder":
            node["widgets_values"][0] = "photos"
    return graph
