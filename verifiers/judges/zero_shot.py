"""A classifier made of a CLIP and class names (Radford et al. 2021, section 3.1; Ma et al. 2025, section 4.1: CLIP-ZeroShot)."""

import torch

from ..base import ImageVerifier, named_in
from ...untrusted import excerpt

TEMPLATES = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a close-up photo of a {}.",
    "a drawing of a {}.",
    "a rendering of a {}.",
    "art of a {}.",
)


class ZeroShotClassifier(ImageVerifier):
    """How much an image looks like one class.

    classes: names, at least one; target: one of them, or "" for the one that the prompt names.
    templates: texts with {} where the class name goes; a class is the mean of its unit-length text features, normalised again.
    logit: True scores the target's logit (as in the paper); False its log-probability among the classes, at most 0.
    """

    def __init__(self, tower, classes, target="", templates=TEMPLATES, logit=True):
        self.tower, self.logit = tower, logit
        self.classes = tuple(name.strip() for name in classes if name.strip())
        self.templates = tuple(line.strip() for line in templates if line.strip()) or ("{}",)
        self.target = target.strip()
        if not self.classes or len(set(map(str.lower, self.classes))) < len(self.classes):
            raise ValueError(
                f"The zero-shot classifier needs a list of different class names, one a line; it was given {list(self.classes)}."
            )
        self.target = next(
            (name for name in self.classes if name.lower() == self.target.lower()), self.target
        )
        if self.target and self.target not in self.classes:
            raise ValueError(
                f"The target {self.target!r} is not among the classes {', '.join(self.classes)}."
            )
        if not all("{}" in template for template in self.templates):
            raise ValueError(
                f"Every template needs a {{}} where the class name goes: {list(self.templates)}."
            )
        self.name, self.needs_prompt = "zero-shot class", not self.target
        self._features = None

    def judge(self, batch):
        logits = self.logits(batch.images)
        wanted = (
            self.classes.index(self.target or read_class(batch.prompt, self.classes))
            if batch.label is None
            else batch.label
        )
        return logits[:, wanted] if self.logit else logits.log_softmax(1)[:, wanted]

    def logits(self, images):
        """[B, classes]."""
        if self._features is None:
            self._features = torch.stack([self._class_features(name) for name in self.classes])
        return self.tower.scale * (self.tower.image_features(images) @ self._features.T)

    def _class_features(self, name):
        features = self.tower.text_features(
            tuple(template.replace("{}", name) for template in self.templates)
        ).mean(0)
        return features / features.norm()


def read_class(prompt, classes):
    """The class that the prompt names (`named_in`). ValueError unless it is one."""
    named = named_in(prompt, classes)
    if len(named) != 1:
        raise ValueError(
            f"The prompt must name one of the classes {', '.join(classes)}; {excerpt(prompt)} names {', '.join(named) or 'none'}. Or set a target."
        )
    return named[0]
