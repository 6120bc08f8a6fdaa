"""A real classifier of the 1000 ImageNet classes (Ma et al. 2025, section 4.1: the class probability is their Inception Score oracle)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from ...untrusted import excerpt, listed
from ..base import Batch, ImageVerifier, named_in
from ..networks.features import require_timm


class ImageNetClassifier(ImageVerifier):
    """How sure the network is of the wanted class.

    target: a class, by any of its names or its index 0..999; "" for the one that the prompt names (or `batch.label`).
    logit: True scores its logit; False its log-probability, at most 0.
    """

    name = "ImageNet class"

    def __init__(self, network: Any, target: str = "", logit: bool = False):
        self.network, self.logit = network, logit
        self.target = find_class(target) if target.strip() else None
        self.needs_prompt = self.target is None

    def check(self, prompt: str) -> None:
        super().check(prompt)
        if self.target is None:
            read_class(prompt)

    def judge(self, batch: Batch) -> torch.Tensor:
        logits = self.network.logits(batch.images)
        wanted = next((index for index in (self.target, batch.label) if index is not None), None)
        wanted = read_class(batch.prompt) if wanted is None else wanted
        return (logits if self.logit else logits.log_softmax(1))[:, wanted]


def find_class(target: str) -> int:
    """The index of a class from its index or one of its names; ValueError when there is none, or several of that name."""
    target = target.strip().lower()
    if target.isdecimal() and len(target) <= 3:
        return int(target)
    indices = class_names().get(target, ())
    if len(indices) != 1:
        several = (
            f"names the classes {listed(indices)}: give the index"
            if indices
            else "is none of the 1000 ImageNet classes"
        )
        raise ValueError(
            f"{excerpt(target)} {several}. Allowed are a name such as 'tabby cat' or an index from 0 to 999."
        )
    return indices[0]


def read_class(prompt: str) -> int:
    """The class that the prompt names (`named_in`). ValueError unless it is one class."""
    names = named_in(prompt, class_names())
    indices = {index for name in names for index in class_names()[name]}
    if len(indices) != 1:
        raise ValueError(
            f"The prompt must name one ImageNet class; {excerpt(prompt)} names {listed(names) or 'none'}. Or set a target."
        )
    return indices.pop()


@cache
def class_names() -> dict[str, list[int]]:
    """Every lower-case name of an ImageNet class -> its indices (a few names have two)."""
    info = require_timm().data.ImageNetInfo()
    names: dict[str, list[int]] = {}
    for index in range(1000):
        for name in info.index_to_description(index).lower().split(", "):
            names.setdefault(name, []).append(index)
    return names
