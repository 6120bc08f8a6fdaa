"""Does the picture show the digit that the prompt names? The miniature of the paper's class-conditional setting (section 4.1)."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..untrusted import excerpt
from ..verifiers.base import Batch, ImageVerifier
from .classifiers import ManagedClassifier
from .worlds import DIGITS

_NAMES = {word: value for value, name in enumerate(DIGITS) for word in (name, str(value))}


def read_digit(prompt: str) -> int:
    """The digit 0..9 that a prompt names ("digit seven", "seven", "7"). ValueError unless it names exactly one."""
    found = {_NAMES[word] for word in re.findall(r"[a-z]+|\d+", prompt.lower()) if word in _NAMES}
    if len(found) != 1:
        raise ValueError(
            f"The digit classifier needs a prompt that names one digit, such as 'digit seven' or '7'; {excerpt(prompt)} names {len(found) or 'none'}."
        )
    return found.pop()


class DigitClassifier(ImageVerifier):
    """Score: log-probability of the class that the prompt names, at most 0."""

    name = "digit classifier"
    needs_prompt = True

    def __init__(self, path: Path, device: str = "auto"):
        self.classify = ManagedClassifier(path, device, (len(DIGITS),))

    def check(self, prompt: str) -> None:
        super().check(prompt)
        read_digit(prompt)

    def judge(self, batch: Batch) -> torch.Tensor:
        return self.classify(batch.images)[0][:, read_digit(batch.prompt)]

    def correct(self, batch: Batch) -> torch.Tensor:
        """bool [B]: whether the most likely class is the one the prompt names."""
        return self.classify(batch.images)[0].argmax(-1) == read_digit(batch.prompt)
