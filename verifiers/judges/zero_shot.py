"""A classifier made of a CLIP and class names (Radford et al. 2021, section 3.1; Ma et al. 2025, section 4.1: CLIP-ZeroShot)."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ...untrusted import excerpt, listed
from ..base import Batch, ImageVerifier, named_in
from ..networks.clip_tower import ClipTower

TEMPLATES = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a close-up photo of a {}.",
    "a drawing of a {}.",
    "a rendering of a {}.",
    "art of a {}.",
)
MOST_CLASSES, MOST_TEMPLATES = 25_000, 1000  # ImageNet-21k has 21 841, CLIP's authors used up to 80 texts
LONGEST = 300  # letters of a class name, and of a template


class ZeroShotClassifier(ImageVerifier):
    """How much an image looks like one class.

    classes: names, at least one; target: one of them, or "" for the one that the prompt names.
    templates: texts with {} where the class name goes; a class is the mean of its unit-length text features, normalised again.
    logit: True scores the target's logit (as in the paper); False its log-probability among the classes, at most 0.
    """

    name = "zero-shot class"

    def __init__(
        self,
        tower: ClipTower,
        classes: Iterable[str],
        target: str = "",
        templates: Iterable[str] = TEMPLATES,
        logit: bool = True,
    ):
        self.tower, self.logit = tower, logit
        self.classes = tuple(name.strip() for name in classes if name.strip())
        self.templates = tuple(line.strip() for line in templates if line.strip()) or ("{}",)
        _check_lines(self.classes, MOST_CLASSES, "class names")
        _check_lines(self.templates, MOST_TEMPLATES, "templates")
        if not self.classes or len(set(map(str.lower, self.classes))) < len(self.classes):
            raise ValueError(
                f"The zero-shot classifier needs a list of different class names, one a line; it was given {listed(self.classes) or 'none'}."
            )
        if not all("{}" in template for template in self.templates):
            raise ValueError(
                f"Every template needs a {{}} where the class name goes: {listed(self.templates)}."
            )
        self.target = _one_of(target.strip(), self.classes)
        self.needs_prompt = not self.target
        self._features: torch.Tensor | None = None

    def check(self, prompt: str) -> None:
        super().check(prompt)
        if not self.target:
            read_class(prompt, self.classes)
        self.tower.tokens((self.target or self.classes[0],))

    def judge(self, batch: Batch) -> torch.Tensor:
        logits = self.logits(batch.images)
        wanted = (
            self.classes.index(self.target or read_class(batch.prompt, self.classes))
            if batch.label is None
            else batch.label
        )
        return logits[:, wanted] if self.logit else logits.log_softmax(1)[:, wanted]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """[B, classes]."""
        if self._features is None:
            self._features = torch.stack([self._class_features(name) for name in self.classes])
        return self.tower.scale * (self.tower.image_features(images) @ self._features.T)

    def _class_features(self, name: str) -> torch.Tensor:
        texts = tuple(template.replace("{}", name) for template in self.templates)
        features = self.tower.text_features(texts).mean(0)
        return features / features.norm()


def read_class(prompt: str, classes: tuple[str, ...]) -> str:
    """The class that the prompt names (`named_in`). ValueError unless it is one."""
    named = named_in(prompt, classes)
    if len(named) != 1:
        raise ValueError(
            f"The prompt must name one of the classes {listed(classes)}; {excerpt(prompt)} names {listed(named) or 'none'}. Or set a target."
        )
    return named[0]


def _one_of(target: str, classes: tuple[str, ...]) -> str:
    """The class that a target means, whatever its case; "" for none."""
    found = next((name for name in classes if name.lower() == target.lower()), None)
    if target and found is None:
        raise ValueError(f"The target {excerpt(target)} is not among the classes {listed(classes)}.")
    return found or ""


def _check_lines(lines: tuple[str, ...], most: int, what: str) -> None:
    """Raise ValueError unless these are so few and short that a network can be given all of them."""
    longest = max(lines, key=len, default="")
    if len(lines) > most or len(longest) > LONGEST:
        raise ValueError(
            f"The zero-shot classifier takes up to {most} {what} of up to {LONGEST} letters; it was given {len(lines)}, the longest {excerpt(longest, 60)} of {len(longest)}."
        )
