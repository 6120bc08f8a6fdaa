"""A pack of strangers, for the tests' server: a node that hands anything to any socket."""

import sys
from pathlib import Path

import torch


class AnyType(str):
    """A type that is every other, as packs with wildcard sockets write it."""

    def __ne__(self, other):
        return False


class Willing:
    """Has every attribute that is asked for, and each is itself."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def _loop():
    value = {}
    value["samples"] = value
    return value


def _seeing():
    """A vision-language model that says yes, or asks a question when it sees nothing."""
    sys.path.append(str(Path(__file__).parent))  # the arena puts it there
    from stand_in_vlm import StandIn

    return StandIn(lambda picture, said: "Is there a digit?" if picture is None else 0.9)


NAN = float("nan")
# Not among them: what str() or json.dumps() fails on (an object without words, a number of 5000 digits, a list nested 50 000 deep).
# ComfyUI itself dies of those, or of the history that holds them, when any node that was given one raises.
VALUES = {
    "nothing": lambda: None,
    "a text": lambda: "text",
    "half a character": lambda: "\ud800",
    "a long text": lambda: "x" * 10_000_000,
    "a number": lambda: 3,
    "not a number": lambda: NAN,
    "a huge number": lambda: 10**400,
    "true": lambda: True,
    "an empty list": lambda: [],
    "an empty table": lambda: {},
    "nested": lambda: _nested(300),
    "a table of itself": _loop,
    "an object that is anything": Willing,
    "a class": lambda: dict,
    "a scalar": lambda: torch.zeros(()),
    "no rows": lambda: torch.zeros(0, 64, 64, 3),
    "an image without size": lambda: torch.zeros(1, 0, 0, 3),
    "an image of NaN": lambda: torch.full((1, 64, 64, 3), NAN),
    "an image of one channel": lambda: torch.zeros(1, 64, 64, 1),
    "whole numbers": lambda: torch.zeros(1, 64, 64, 3, dtype=torch.int64),
    "sparse": lambda: torch.zeros(1, 64, 64, 3).to_sparse(),
    "complex": lambda: torch.zeros(4, dtype=torch.complex64),
    "levels of NaN": lambda: torch.full((3,), NAN),
    "levels of infinity": lambda: torch.tensor([float("inf"), 1.0, 0.0]),
    "levels that rise": lambda: torch.tensor([0.0, 0.5, 1.0]),
    "no level": lambda: torch.zeros(0),
    "one level": lambda: torch.zeros(1),
    "a million levels": lambda: torch.linspace(1, 0, 1_000_000),
    "samples of nothing": lambda: {"samples": None},
    "samples of text": lambda: {"samples": "text"},
    "no samples": lambda: {"samples": torch.zeros(0, 16, 8, 8)},
    "samples without size": lambda: {"samples": torch.zeros(1, 16, 0, 0)},
    "samples of NaN": lambda: {"samples": torch.full((1, 16, 8, 8), NAN)},
    "samples of one channel": lambda: {"samples": torch.zeros(1, 1, 8, 8)},
    "samples of nine axes": lambda: {"samples": torch.zeros([1] * 9)},
    "half samples": lambda: {"samples": torch.zeros(1, 16, 8, 8, dtype=torch.float16)},
    "a mask of no rows": lambda: {"samples": torch.zeros(1, 16, 8, 8), "noise_mask": torch.zeros(0, 8, 8)},
    "a mask of text": lambda: {"samples": torch.zeros(1, 16, 8, 8), "noise_mask": "text"},
    "a batch index of text": lambda: {"samples": torch.zeros(1, 16, 8, 8), "batch_index": ["x"]},
    "an empty conditioning": lambda: [[torch.zeros(1, 0, 0), {}]],
    "a conditioning of nothing": lambda: [[None, {}]],
    "a conditioning that is a table": lambda: [[torch.zeros(1, 4, 4), None]],
    "a model that sees": _seeing,
}


class HostileValue:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (list(VALUES),)}}

    RETURN_TYPES = (AnyType("*"),)
    FUNCTION = "give"
    CATEGORY = "testing"

    @classmethod
    def IS_CHANGED(cls, value):
        return value

    def give(self, value):
        return (VALUES[value](),)


NODE_CLASS_MAPPINGS = {"HostileValue": HostileValue}
