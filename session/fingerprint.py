"""What tells the samples of one search from those of another: content where it is small, provenance where it is large.

Rows of the journal stand in for samples wherever this key is the same. So it holds all that decides what a seed comes to, and nothing else:
not the seed itself, nor how many candidates there are, how they are searched or who judges them.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from comfy.cli_args import args

from ..compat import COMFYUI
from ..sampling.evaluator import Evaluator
from ..sampling.setup import Setup
from ..verifiers.fingerprint import fingerprint_of
from .judging import Judge
from .provenance import Origin, own_version

NOT_PLAIN = {"model_patcher", "model_options", "original_conds", "conds", "inner_model", "loaded_models"}
PER_RUN = {"uuid"}  # of a conditioning: new every time
OF_CONTROL = ("cond_hint_original", "strength", "timestep_percent_range", "previous_controlnet")
DEEPEST = 12
# ComfyUI's options that move the last digits, or more, of what a model gives
PRECISION = (
    *("bf16", "cpu", "deterministic", "directml", "disable_xformers", "dont_upcast", "fast", "force"),
    *("fp8", "fp16", "fp32", "fp64", "supports_fp8", "use_"),
)


def context_key(setup: Setup, evaluator: Evaluator, origin: Origin) -> str:
    """Of the candidates for one sample of the latent batch. Untraceable says why there is none."""
    guider, solver, sample = setup.guider, setup.solver, setup.sample
    unread: list[str] = []  # what content could not tell
    told = {
        "latent": content(sample.latent, unread),
        "mask": content(sample.mask, unread),
        "place": sample.index,
        "sigmas": content(setup.schedule.sigmas, unread),
        "conditioning": content(guider.original_conds, unread),
        "guider": [_name(type(guider)), content(_plain_attributes(guider), unread)],
        "solver": [content(solver.function, unread), content(solver.options, unread), solver.random_inpaint],
        "preview": [evaluator.jobs.preview, evaluator.jobs.early, *_sketched(evaluator)],
        "here": _here(guider.model_patcher),
        "models": origin.above("model", "guider", "vae"),
    }
    if unread:
        told["unread"] = [sorted(set(unread)), origin.above("positive", "negative", "sampler")]
    return _hash(told)


def _sketched(evaluator: Evaluator) -> list:
    sketch = evaluator.looks.sketch
    return [] if sketch is None else [list(sketch.told)]


def judge_key(judge: Judge, early: bool) -> bytes:
    """Of what a judge says: not of how its scores are combined. early: whether it also looks at predictions on the way."""
    told = {
        "members": [fingerprint_of(member) for member in judge.members],
        "held_out": None if judge.held_out is None else fingerprint_of(judge.held_out),
        "gate": judge.gated,
        "prompt": judge.prompt,
        "early": early,
    }
    return bytes.fromhex(_hash(told))


def content(value: Any, unread: list[str], deeper: int = DEEPEST) -> Any:
    """A value in JSON: numbers and words as they are, tensors as hashes. unread: gets the names of what nothing can be said of."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, (torch.dtype, torch.device, enum.Enum)):
        return str(value)
    if deeper:
        if isinstance(value, Mapping):
            kept = {name: one for name, one in value.items() if name not in PER_RUN}
            return {str(name): content(one, unread, deeper - 1) for name, one in kept.items()}
        if isinstance(value, (list, tuple)):
            return [content(one, unread, deeper - 1) for one in value]
        if inspect.isfunction(value):
            return _function(value, unread, deeper - 1)
        if type(value).__module__ == "comfy.conds":
            return [_name(type(value)), content(vars(value), unread, deeper - 1)]
        if hasattr(value, "cond_hint_original"):  # a ControlNet: its weights are told by where it comes from
            unread.append(_name(type(value)))
            return {name: content(getattr(value, name, None), unread, deeper - 1) for name in OF_CONTROL}
    unread.append(_name(type(value)))
    return None


def _function(function: Callable, unread: list[str], deeper: int) -> list:
    """Its name, and what it closes over. What it does is as old as ComfyUI or this pack; of others nothing is known."""
    function = inspect.unwrap(function)  # from torch.no_grad() and its like
    module = function.__module__ or ""
    if not module.startswith(("comfy.", f"{_PACK}.")):
        unread.append(_name(function))
    inside = [content(_inside(cell), unread, deeper) for cell in function.__closure__ or ()]
    return [_name(function), inside]


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _plain_attributes(thing: Any) -> dict[str, Any]:
    """Settings of an object, without what its base class and a run put there."""
    return {name: value for name, value in vars(thing).items() if name not in NOT_PLAIN}


def _tensor(tensor: torch.Tensor) -> list:
    plain = tensor.detach().cpu().contiguous()
    numbers = plain.flatten().view(torch.uint8).numpy()
    return [str(tensor.dtype), list(tensor.shape), hashlib.sha256(numbers.tobytes()).hexdigest()]


def _here(patcher: Any) -> dict[str, Any]:
    """Where and how the model runs."""
    device, model = patcher.load_device, patcher.model
    named = device.type == "cuda"
    flags = {name: str(value) for name, value in vars(args).items() if name.startswith(PRECISION)}
    return {
        "comfyui": COMFYUI,
        "torch": torch.__version__,
        "noise_search": own_version(),
        "device": [device.type, torch.cuda.get_device_name(device) if named else ""],
        "dtypes": [str(model.get_dtype()), str(getattr(model, "manual_cast_dtype", None))],
        "flags": flags,
    }


def _name(thing: Any) -> str:
    """Module and name, without the name that ComfyUI gives the pack's folder."""
    module = thing.__module__ or ""
    return f"{module.removeprefix(_PACK).lstrip('.')}.{thing.__qualname__}"


def _hash(told: Any) -> str:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


_PACK = __name__.removesuffix(".session.fingerprint")
