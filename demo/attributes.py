"""Is everything there that a scene's prompt says: the things, their colours and shapes, how they stand, the background?"""

from __future__ import annotations

from pathlib import Path

import torch

from ..verifiers.base import Batch, ImageVerifier
from .classifiers import ManagedClassifier
from .grammar import BACKGROUNDS, COLOURS, SHAPES, Scene, parse_scene

HEADS = (
    2,
    2,
    len(COLOURS),
    len(SHAPES),
    len(COLOURS),
    len(SHAPES),
    len(BACKGROUNDS),
)  # two things?, vertical?, first's colour and shape, second's, background
NONE = -1  # the label of an attribute that a scene does not have


def labels_of(scene: Scene) -> tuple[int, ...]:
    """The class of each head for a Scene; NONE where a scene of one thing has nothing to say."""
    first, second = scene.first, scene.second
    pair = (
        (int(scene.vertical), COLOURS.index(second.colour), SHAPES.index(second.shape))
        if second
        else (NONE, NONE, NONE)
    )
    return (
        int(second is not None),
        pair[0],
        COLOURS.index(first.colour),
        SHAPES.index(first.shape),
        pair[1],
        pair[2],
        BACKGROUNDS.index(scene.background),
    )


class SceneAttributes(ImageVerifier):
    """Score: the sum of the log-probabilities of all attributes that the prompt states, at most 0 (the log-probability that all are right, were they independent).

    ValueError with the grammar when the prompt cannot be read as a scene.
    """

    name = "scene attributes"
    needs_prompt = True

    def __init__(self, path: Path, device: str = "auto"):
        self.classify = ManagedClassifier(path, device, HEADS)

    def check(self, prompt: str) -> None:
        super().check(prompt)
        parse_scene(prompt)

    def judge(self, batch: Batch) -> torch.Tensor:
        return torch.stack([head[:, label] for head, label in self._stated(batch)]).sum(0)

    def attributes(self, batch: Batch) -> torch.Tensor:
        """bool [B, attributes]: which of the stated attributes the most likely classes have right."""
        return torch.stack([head.argmax(-1) == label for head, label in self._stated(batch)], dim=1)

    def correct(self, batch: Batch) -> torch.Tensor:
        """bool [B]: whether every stated attribute is right."""
        return self.attributes(batch).all(dim=1)

    def _stated(self, batch: Batch) -> list[tuple[torch.Tensor, int]]:
        labels = labels_of(parse_scene(batch.prompt))
        return [(head, label) for head, label in zip(self.classify(batch.images), labels) if label != NONE]
