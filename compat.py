"""Everything that depends on the ComfyUI version, in one place (0.3.64 and later)."""

import dataclasses
import inspect

import comfy.model_management as mm
import comfy.sample
import torch
from comfy_api.latest import io

try:
    from comfyui_version import __version__ as COMFYUI
except ImportError:
    COMFYUI = None  # unknown

try:
    from comfy_execution.utils import get_executing_context
except ImportError:  # unknown

    def get_executing_context():
        return None


_SCHEMA_FIELDS = {field.name for field in dataclasses.fields(io.Schema)}


def schema(**fields):
    """`io.Schema` of the fields that this version knows (`search_aliases` came with 0.11, for one)."""
    return io.Schema(**{name: value for name, value in fields.items() if name in _SCHEMA_FIELDS})


def advanced(widget):
    """The widget, folded away under "advanced" where the front end can do that (0.10 and later)."""
    widget.extra_dict["advanced"] = True
    return widget


def told_to_the_page(widget, name, value):
    """The widget, with something that our own scripts read from its options."""
    widget.extra_dict[name] = value
    return widget


def list_index():
    """Which item of a list of inputs the running node was given; None where that is not known."""
    return getattr(get_executing_context(), "list_index", None)


def is_out_of_memory(error):
    """Whether an exception means that memory ran out."""
    known = getattr(mm, "is_oom", None)  # 0.17: AcceleratorError counts too
    return known(error) if known else isinstance(error, mm.OOM_EXCEPTION)


def is_nested(latent):
    """Whether a latent is a pack of several tensors (0.3.67 and later)."""
    return bool(getattr(latent, "is_nested", False))


def takes(function, name):
    """Whether a function declares a parameter of this name."""
    return name in inspect.signature(function).parameters


_FIX_PARAMETERS = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters
_LATENT_EXTRAS = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def fix_empty_latent(model, latent):
    """A LATENT dict whose empty samples have the model's channels; without the resize hints core takes out (0.11, 0.22)."""
    hints = [latent.get(name) for name in _LATENT_EXTRAS if name in _FIX_PARAMETERS]
    fixed = {key: value for key, value in latent.items() if key not in _LATENT_EXTRAS}
    fixed["samples"] = comfy.sample.fix_empty_latent_channels(model, latent["samples"], *hints)
    return fixed


def draw_noise(latent, seed, places):
    """What `comfy.sample.prepare_noise` draws, where that can be had without moving torch's global generator (0.3.67 and later)."""
    draw = getattr(comfy.sample, "prepare_noise_inner", None)
    if draw is None:
        return comfy.sample.prepare_noise(latent, seed, places)
    return draw(latent, torch.Generator().manual_seed(seed), places)
