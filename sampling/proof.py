"""What is attached to a model that might let the rows of a batch change each other.

ComfyUI's own sampling treats every row by itself. So when nothing but ComfyUI's code runs between a solver and the weights, rows may
share a batch, and that costs nothing to know: every function says which file its code came from. What others attached is listed here;
`coupling.py` finds out what it does. LoRAs are changes of weights, not code, and are not listed.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.hooks
import comfy.samplers
import torch

from ..untrusted import excerpt

_COMFY = Path(os.path.abspath(comfy.samplers.__file__)).parent
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
# folders (with the separator at their end) and files whose code leaves rows alone; `comfy_api` compiles networks
HOMES = [str(_COMFY) + os.sep, str(_COMFY.parent / "comfy_api") + os.sep, _TORCH]


@dataclass(frozen=True)
class Suspect:
    """Something of others. what: in words. skips: whether it may leave evaluations or parts of the network out by what it sees, as
    caches do: then one batch that came out right says nothing about the next."""

    what: str
    skips: bool = False


def suspects(guider: Any) -> list[Suspect]:
    """All that is attached to a guider, its model or its conditioning and is not known to leave rows alone; [] is the proof."""
    patcher = guider.model_patcher
    found = [
        *_of_guider(guider),
        *_of_core(),
        *_of_options(guider.model_options),
        *_of_patcher(patcher),
        *_of_model(patcher),
        *_of_conds(guider.original_conds),
    ]
    return list(dict.fromkeys(found))


# -- whose code ---------------------------------------------------------------------------------------------------------


def at_home(function: Any) -> bool:
    """Whether a callable is ComfyUI's or torch's own, by the file its code came from (names can be borrowed: `functools.wraps`)."""
    for _ in range(100):  # decorators upon decorators
        if isinstance(function, functools.partial):
            given = (*function.args, *function.keywords.values())
            return at_home(function.func) and all(at_home(value) for value in given if callable(value))
        if isinstance(function, (type, types.BuiltinFunctionType, types.MethodDescriptorType)):
            return (function.__module__ or "builtins").split(".")[0] in ("builtins", "comfy", "math", "torch")
        code = _code(function)
        if code is None:
            return False
        file = os.path.abspath(code.co_filename)
        inside = getattr(function, "__wrapped__", None)
        if inside is None or not file.startswith(_TORCH):
            return any(file.startswith(home) for home in HOMES)
        function = inside  # of torch.no_grad and its like
    return False


def _code(function: Any) -> types.CodeType | None:
    """What runs when it is called; None for what is not written in Python."""
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):  # an object that can be called
        name = "forward" if isinstance(function, torch.nn.Module) else "__call__"
        function = next((vars(kind)[name] for kind in type(function).__mro__ if name in vars(kind)), None)
    return getattr(function, "__code__", None)


def named(function: Any) -> str:
    """`name of file.py`, or of the pack it came from."""
    while isinstance(function, functools.partial):
        function = function.func
    code = _code(function)
    inner = getattr(function, "__func__", function)
    name = getattr(inner, "__qualname__", type(inner).__qualname__).replace("<locals>.", "")
    return f"{excerpt(name)[1:-1]}{_where(code.co_filename) if code else ''}"


def _where(file: str) -> str:
    parts = Path(file).parts
    if "custom_nodes" in parts[:-1]:
        return f" of {excerpt(parts[parts.index('custom_nodes') + 1])[1:-1]}"
    return f" of {excerpt(parts[-1])[1:-1]}" if parts else ""


def _functions(owner: Any) -> Iterator[types.FunctionType]:
    """The functions of a class, its bases included, or those put on one object; constructors and such aside."""
    if isinstance(owner, type):
        spaces = [{name: vars(base)[name] for name in _live(base)} for base in owner.__mro__]
    else:
        spaces = [getattr(owner, "__dict__", {})]
    for space in spaces:
        for name, value in space.items():
            value = getattr(value, "fget", getattr(value, "__func__", value))
            if isinstance(value, types.FunctionType) and (not name.startswith("__") or name == "__call__"):
                yield value


def _live(kind: type) -> list[str]:
    """The names in a class that something may call. What others add to torch's own classes under a new name (transformers does, for
    setting weights up) is called by nobody; what they put in place of torch's is."""
    if kind.__module__.split(".")[0] != "torch":
        return list(vars(kind))
    called = {"forward", "__call__", "_call_impl", "_wrapped_call_impl"}
    for value in vars(kind).values():
        code = getattr(value, "__code__", None)
        if code is not None and code.co_filename.startswith(_TORCH):
            called.update(code.co_names)
    return [name for name in vars(kind) if name in called]


def _strangers(owner: Any) -> list[types.FunctionType]:
    return [function for function in _functions(owner) if not at_home(function)]


# -- where code can be attached -----------------------------------------------------------------------------------------

SETS_UP = {"set_conds", "set_cfg", "inner_set_conds"}  # run before sampling


def _of_guider(guider: Any) -> Iterator[Suspect]:
    stock = {name for name in vars(comfy.samplers.CFGGuider) if not name.startswith("__")} | {"__call__"}
    for name in sorted(stock - SETS_UP):
        method = getattr(guider, name, None)
        if isinstance(method, (types.MethodType, types.FunctionType)) and not at_home(method):
            yield Suspect(f"the guider's {named(method)}")


CORE = (
    "sampling_function",
    "cfg_function",
    "calc_cond_batch",
    "_calc_cond_batch_outer",
    "_calc_cond_batch",
    "get_area_and_mult",
    "can_concat_cond",
    "cond_equal_size",
    "cond_cat",
    "finalize_default_conds",
    "process_conds",
    "encode_model_conds",
)


def _of_core() -> Iterator[Suspect]:
    """Functions of ComfyUI itself that a pack put its own in place of."""
    functions = [getattr(comfy.samplers, name, None) for name in CORE]
    functions += [*_functions(comfy.samplers.KSAMPLER), *_functions(comfy.samplers.KSamplerX0Inpaint)]
    for function in functions:
        if function is not None and not at_home(function):
            yield Suspect(f"{named(function)}, in place of ComfyUI's own")


GUIDANCE = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function")
OPTIONS = {
    **dict.fromkeys(GUIDANCE, "the CFG function"),
    "sampler_calc_cond_batch_function": "the function for all conditionings",
    "denoise_mask_function": "the mask function",
    "model_function_wrapper": "the model wrapper",
    "context_handler": "the context windows",
}


def _of_options(options: dict) -> Iterator[Suspect]:
    for key, value in options.items():
        if key == "transformer_options":
            continue
        for one in value if isinstance(value, list) else [value]:
            if key in OPTIONS:  # whoever wrote it: ComfyUI wraps functions of others in its own
                yield Suspect(f"{OPTIONS[key]} {named(one)}", skips=key == "model_function_wrapper")
            elif not _is_data(one):
                yield Suspect(f"the model option {excerpt(key)}")
    inner = options.get("transformer_options", {})
    for spaces, word in (
        (("patches", "patches_replace"), "the patch"),
        (("wrappers",), "the wrapper"),
        (("callbacks",), "the callback"),
    ):
        for space in spaces:
            for function in _leaves(inner.get(space, {})):
                if word == "the patch" or not at_home(function):
                    yield Suspect(f"{word} {named(function)}", skips=word == "the wrapper")
    for key, value in inner.items():
        if key not in ("patches", "patches_replace", "wrappers", "callbacks") and not _is_data(value):
            yield Suspect(f"the transformer option {excerpt(key)}")


def _leaves(value: Any) -> Iterator[Any]:
    """What lies in nested dictionaries and lists."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        yield value
        return
    for one in value:
        yield from _leaves(one)


def _is_data(value: Any) -> bool:
    """Numbers, names and tensors: nothing that could do anything by itself."""
    if isinstance(value, dict):
        return all(_is_data(one) for one in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_data(one) for one in value)
    return value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.device, torch.Size)
    )


HARMLESS_PATCHES = {"model_sampling"}  # noise schedules: formulas of the level


def _of_patcher(patcher: Any) -> Iterator[Suspect]:
    for space, word in ((patcher.wrappers, "the wrapper"), (patcher.callbacks, "the callback")):
        for function in _leaves(space):
            if not at_home(function):
                yield Suspect(f"{word} {named(function)}", skips=space is patcher.wrappers)
    for injection in _leaves(patcher.injections):
        if not at_home(injection.inject):
            yield Suspect(f"the injection {named(injection.inject)}", skips=True)
    yield from _of_hooks(patcher.forced_hooks, "the model")
    for name, value in patcher.object_patches.items():
        if name in HARMLESS_PATCHES or name == "diffusion_model" or _is_data(value):
            continue
        if isinstance(value, torch.nn.Module):
            yield from _of_network(value, excerpt(name))
        elif not callable(value) or not at_home(value):
            yield Suspect(f"the patch of {excerpt(name)}", skips=True)
    for name in (
        "apply_hooks",
        "prepare_state",
        "prepare_hook_patches_current_keyframe",
        "pre_run",
        "cleanup",
    ):
        if not at_home(getattr(patcher, name)):
            yield Suspect(f"the model patcher's {named(getattr(patcher, name))}")


def _of_model(patcher: Any) -> Iterator[Suspect]:
    model = patcher.model
    for function in (*_strangers(type(model)), *_strangers(model)):
        yield Suspect(f"the model's {named(function)}")
    yield from _of_network(patcher.get_model_object("diffusion_model"), "the network")


def _of_network(network: torch.nn.Module, name: str) -> Iterator[Suspect]:
    """Code of others in a network. A layer cannot leave anything out; what runs layers can."""
    seen = set()
    for module in network.modules():
        kind = type(module)
        if kind not in seen:
            seen.add(kind)
            for function in _strangers(kind):
                skips = module is network or next(module.children(), None) is not None
                yield Suspect(f"{named(function)} in {name}", skips)
        for function in _strangers(module):
            yield Suspect(f"{named(function)}, put into {name}", skips=True)
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if not at_home(hook):
                yield Suspect(f"the hook {named(hook)} on {name}")


def _of_conds(original_conds: dict) -> Iterator[Suspect]:
    for conds in original_conds.values():
        for cond in conds:
            yield from _of_hooks(cond.get("hooks"), "the conditioning")
            control = cond.get("control")
            while control is not None:
                yield from _of_control(control)
                control = getattr(control, "previous_controlnet", None)
            if "gligen" in cond:
                for function in _strangers(type(cond["gligen"][1].model)):
                    yield Suspect(f"{named(function)} of GLIGEN")
            for value in cond.get("model_conds", {}).values():
                for function in _strangers(type(value)):
                    yield Suspect(f"{named(function)} of a conditioning")


def _of_hooks(group: Any, where: str) -> Iterator[Suspect]:
    """Hooks that swap weights only are free, as LoRAs are."""
    for hook in [] if group is None else group.hooks:
        if not isinstance(hook, comfy.hooks.WeightHook) or _strangers(type(hook)):
            yield Suspect(f"the hook {type(hook).__qualname__} on {where}")


def _of_control(control: Any) -> Iterator[Suspect]:
    for function in (*_strangers(type(control)), *_strangers(control)):
        yield Suspect(f"the ControlNet's {named(function)}")
    yield from _of_hooks(getattr(control, "extra_hooks", None), "the ControlNet")
    for attribute in ("control_model", "t2i_model"):
        network = getattr(control, attribute, None)
        if isinstance(network, torch.nn.Module):
            yield from _of_network(network, "the ControlNet's network")
