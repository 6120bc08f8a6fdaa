"""What makes a verifier's scores what they are, in short JSON: whoever kept old scores can tell whether they still count."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any
from uuid import uuid4

import comfy.model_management as mm
import torch

from .files import identity

LONG = 4000  # characters of JSON, beyond which a hash stands for a value


def fingerprint_of(verifier: Any) -> dict:
    """The verifier's own fingerprint; of an object of another pack that has none, its class and attributes.

    One that cannot be told, because it raises, is like no other: what it said before is not taken for what it would say now.
    """
    own = getattr(verifier, "fingerprint", None)
    try:
        return {"own": marked(own())} if callable(own) else described(verifier)
    except mm.InterruptProcessingException:
        raise
    except Exception as error:
        return {"class": _called(type(verifier)), "failed": type(error).__name__, "once": uuid4().hex}


def described(thing: Any) -> dict:
    """The class of an object and its settings: all attributes but those with a leading underscore."""
    settings = {
        name: value
        for kind in reversed(type(thing).__mro__)
        for name, value in vars(kind).items()
        if isinstance(value, (bool, int, float, str))
    }
    settings |= getattr(thing, "__dict__", {})
    found = {name: marked(value) for name, value in sorted(settings.items()) if not name.startswith("_")}
    return {"class": _called(type(thing)), **found}


def marked(value: Any) -> Any:
    """A value in JSON, or what tells it from others: hashes for tensors and long values, names for functions and unknown objects."""
    short = _plain(value)
    text = json.dumps(short, sort_keys=True)
    return short if len(text) <= LONG else {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def network_mark(network: torch.nn.Module) -> dict:
    """What tells a network from others whose file is not known: a hash of its names, shapes and a few numbers of each tensor."""
    mark = hashlib.sha256()
    for name, value in network.state_dict().items():
        few = value.detach().flatten()
        few = torch.cat([few[:8], few[-8:]]).double().cpu()
        mark.update(f"{name} {tuple(value.shape)} {few.tolist()};".encode())
    return {"network": _called(type(network)), "sha256": mark.hexdigest()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.Tensor):
        numbers = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        return {
            "shape": list(value.shape),
            "of": str(value.dtype),
            "sha256": hashlib.sha256(numbers).hexdigest(),
        }
    if isinstance(value, Path):
        return identity(value) if value.exists() else str(value)
    if isinstance(value, dict):
        return {str(name): marked(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [marked(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(marked(item), sort_keys=True) for item in value)
    if callable(getattr(value, "fingerprint", None)) and not isinstance(value, type):
        return value.fingerprint()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: marked(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _called(value if callable(value) and hasattr(value, "__qualname__") else type(value))


def _called(thing: Any) -> str:
    """Module and name without the name that ComfyUI gives the pack's folder."""
    module = thing.__module__ or ""
    ours = __name__.removesuffix(".verifiers.fingerprint")
    return f"{module.removeprefix(ours).lstrip('.')}.{thing.__qualname__}"
