"""Does the picture show the digit that the prompt names? The miniature of the paper's class-conditional setting (section 4.1)."""

import re

from ..verifiers.base import ImageVerifier
from ..untrusted import excerpt
from .classifiers import ManagedClassifier

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAMES = {word: value for value, name in enumerate(DIGITS) for word in (name, str(value))}


def read_digit(prompt):
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

    def __init__(self, path, device="auto"):
        self.classify = ManagedClassifier(path, device, (len(DIGITS),))

    def judge(self, batch):
        return self.classify(batch.images)[0][:, read_digit(batch.prompt)]

    def correct(self, batch):
        """bool [B]: whether the most likely class is the one the prompt names."""
        return self.classify(batch.images)[0].argmax(-1) == read_digit(batch.prompt)
