"""LAION's aesthetic predictor v2: how much people liked such a picture, whatever the prompt (Schuhmann et al. 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...untrusted import listed
from ..base import Batch, ImageVerifier
from ..networks.weights import State, WrongFile, load_named, outline

LAYERS = (
    0,
    2,
    4,
    6,
    7,
)  # the linear ones of the published Sequential; between them are dropouts, which do nothing when scoring


class Aesthetic(ImageVerifier):
    """A rating of about 1 to 10, linear in the unit-length image features of OpenAI's CLIP ViT-L/14.

    features: an object with `image_features(images)` -> [B, 768] of length 1.
    The published head is five linear layers with nothing between them, so it is folded into one.
    """

    name = "aesthetic"

    def __init__(self, features: Any, path: Path):
        self.features = features
        self.weight, self.bias = load_head(path)

    def judge(self, batch: Batch) -> torch.Tensor:
        features = self.features.image_features(batch.images)
        if features.shape[1] != len(self.weight):
            raise ValueError(
                f"The aesthetic head reads {len(self.weight)} image features and was given {features.shape[1]}: "
                "it belongs to OpenAI's CLIP ViT-L/14, so connect or choose that one."
            )
        return (features.double() @ self.weight + self.bias).float()


def load_head(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """LAYERS of a file, one after the other, as one (weight [inputs], bias []) in float64."""
    sizes = outline(path)
    found = {name.split(".")[1] for name in sizes if name.startswith("layers.") and name.endswith(".weight")}
    if found != set(map(str, LAYERS)):
        raise WrongFile(
            f"{path.name} is not the linear aesthetic head: it needs the layers {', '.join(map(str, LAYERS))} and has [{listed(sorted(found, key=lambda layer: (len(layer), layer)))}]. "
            "(Heads with ReLUs between their layers have other numbers, and are another function.)"
        )
    names = tuple(f"layers.{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias"))
    state = load_named(path, names, "the linear aesthetic head", _fitting)
    weight, bias = torch.ones(1, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for layer in reversed(LAYERS):  # from its one output on, so that nothing grows beyond a row
        bias = bias + weight @ state[f"layers.{layer}.bias"]
        weight = weight @ state[f"layers.{layer}.weight"]
    return weight, bias


def _fitting(sizes: State) -> dict[str, tuple[int, ...]]:
    """The shapes of layers that follow each other and end in one number."""
    shapes: dict[str, tuple[int, ...]] = {}
    outputs = 1
    for layer in reversed(LAYERS):
        inputs = sizes[f"layers.{layer}.weight"].shape[1]
        shapes |= {f"layers.{layer}.weight": (outputs, inputs), f"layers.{layer}.bias": (outputs,)}
        outputs = inputs
    return shapes
