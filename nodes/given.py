"""What a node is given, checked against what it declares.

ComfyUI checks numbers that are typed in, but none that are linked; choices of V3 nodes from 0.8 on only; and no socket behind a node
that gives "anything", as reroutes and switches do.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch

from .. import compat
from ..untrusted import choice, excerpt


def declared_by(node) -> dict[str, tuple]:
    """{input: (type, options)} of a node class, in their order."""
    inputs = node.INPUT_TYPES()
    found = {}
    for group in ("required", "optional"):
        for name, entry in inputs.get(group, {}).items():
            options = {**(entry[1] if len(entry) > 1 else {}), "needed": group == "required"}
            if isinstance(entry[0], (list, tuple)):  # choices as V1 nodes write them
                options["options"] = entry[0]
            found[name] = ("COMBO" if "options" in options else str(entry[0])), options
    return found


def check(declared: dict[str, tuple], given: dict, lists: bool = False) -> None:
    """Raise ValueError for the first value that its input does not take. lists: every value is a list of them."""
    for name, value in given.items():
        type_, options = declared.get(name, ("", {}))
        if value is None and type_ not in WIDGETS and not options.get("needed"):
            continue
        for one in value if lists else [value]:
            if type_ in WIDGETS:
                WIDGETS[type_](name, one, options)
            elif type_ in SOCKETS and not SOCKETS[type_](one):
                raise ValueError(
                    f"The input {name} takes {type_}, but was given {_what(one)}. Look at what it is connected to."
                )


def _what(value) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _choice(name, value, options):
    choice(value, options["options"], name.removesuffix("_name").replace("_", " "))


def _whole(name, value, options):
    if not isinstance(value, Integral):
        raise ValueError(f"{name} is a whole number, not {excerpt(value)}.")
    _within(name, value, options)


def _number(name, value, options):
    if not isinstance(value, Real) or not -math.inf < value < math.inf:
        raise ValueError(f"{name} is a number, not {excerpt(value)}.")
    _within(name, value, options)


def _within(name, value, options):
    least, most = options.get("min", -math.inf), options.get("max", math.inf)
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, but is {excerpt(value)}.")


def _text(name, value, options):
    if not isinstance(value, str):
        raise ValueError(f"{name} is a text, but was given {_what(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        around = excerpt(value[max(error.start - 20, 0) : error.start + 20])
        raise ValueError(
            f"{name} holds half a character (a lone surrogate): {around}. Type it anew."
        ) from None


def _tensor(*axes):
    return lambda value: isinstance(value, torch.Tensor) and value.ndim in axes


def _has(*names):
    return lambda value: all(hasattr(value, name) for name in names)


def _latent(value):
    samples = value.get("samples") if isinstance(value, dict) else None
    return isinstance(samples, torch.Tensor) or compat.is_nested(samples)


def _conditioning(value):
    return isinstance(value, (list, tuple)) and all(
        isinstance(one, (list, tuple)) and len(one) == 2 and isinstance(one[1], dict) for one in value
    )


WIDGETS = {"COMBO": _choice, "INT": _whole, "FLOAT": _number, "STRING": _text}
SOCKETS = {  # searches, verifiers and reports are told elsewhere what they must be
    "CLIP": _has("tokenize"),
    "CLIP_VISION": _has("encode_image"),
    "CONDITIONING": _conditioning,
    "GUIDER": _has("model_patcher", "sample"),
    "IMAGE": _tensor(4, 5),
    "LATENT": _latent,
    "MODEL": _has("model", "get_model_object"),
    "NOISE": _has("generate_noise"),
    "SAMPLER": _has("sample"),
    "SIGMAS": _tensor(1),
    "VAE": _has("decode"),
    "NOISE_SEARCH_FEATURES": _has("image_features"),
    "NOISE_SEARCH_STATISTICS": _has("mean", "covariance"),
}
