"""One sample of the user's batch: its latent, its mask, its conditioning.

ComfyUI tiles a batched conditioning over the rows it samples. Our rows are candidates for one and the same sample, so each gets the
slice that belongs to this sample, as in the user's own run.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch

from .. import compat

FRAMES_AS_BATCH = ("SVD_img2vid",)  # and what derives from it: one video lies along the batch axis
DRAWS_NOISE = ("SD_X4Upscaler", "SD21UNCLIP")  # their conditioning is noised from the run's seed


@dataclass(frozen=True)
class Sample:
    """latent: [1, C, (T,) H, W], never changed. mask: the stock noise mask of this sample, or None. index: its place in seeded noise."""

    latent: torch.Tensor
    mask: torch.Tensor | None
    index: int


def samples_of(latent: dict, model: Any) -> list[Sample]:
    """The samples of a LATENT. Raises ValueError for latents that cannot be searched."""
    if compat.is_nested(latent["samples"]):
        raise ValueError(
            "This latent is a pack of several latents (video with audio, say). NoiseSearch searches plain image and video latents; give it one part."
        )
    kinds = {kind.__name__ for kind in type(model.model).__mro__}
    if kinds.intersection(FRAMES_AS_BATCH):
        raise ValueError(
            "Stable Video Diffusion lays the frames of a video along the batch; NoiseSearch would take each frame for an image. Use another video model."
        )
    images = compat.fix_empty_latent(model, latent)["samples"]
    channels = model.get_model_object("latent_format").latent_channels
    if images.ndim not in (4, 5) or images.shape[1] != channels:
        raise ValueError(
            f"This model takes latents of {channels} channels, [B, {channels}, H, W] or [B, {channels}, T, H, W], but got {list(images.shape)}."
        )
    if 0 in images.shape:
        raise ValueError(f"There is nothing to sample in this latent: its shape is {list(images.shape)}.")
    if not bool(images.isfinite().all()):
        raise ValueError(
            "The latent holds values that are not numbers (NaN or infinite), and so would every image. Where it comes from a VAE in half precision, start ComfyUI with --fp32-vae or --bf16-vae."
        )
    places = latent.get("batch_index") or list(range(images.shape[0]))
    if len(places) != images.shape[0]:
        raise ValueError(
            f"The latent has {images.shape[0]} samples, but its batch_index names {len(places)}."
        )
    masks = masks_of(latent.get("noise_mask"), images)
    return [Sample(images[i : i + 1], masks[i], place) for i, place in enumerate(places)]


def masks_of(mask: torch.Tensor | None, images: torch.Tensor) -> list[torch.Tensor | None]:
    """The noise mask of each sample, in a layout that ComfyUI reads the same for one sample as for the whole batch.

    For images ComfyUI lists all that lies before the last two axes of a mask, one entry for each sample, channels too. For videos a mask
    of fewer than 5 axes lists the frames, of all of them.
    """
    if mask is None:
        return [None] * len(images)
    most = images.ndim if images.ndim == 5 else math.inf
    if not isinstance(mask, torch.Tensor) or not 2 <= mask.ndim <= most or 0 in mask.shape:
        what = list(mask.shape) if isinstance(mask, torch.Tensor) else f"a {type(mask).__name__}"
        raise ValueError(
            f"A noise mask is [H, W], [B, H, W] or [B, 1, H, W] ([T, H, W] for a video), but got {what}."
        )
    if images.ndim == 4:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    elif mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    return [_row(mask, i) for i in range(len(images))]


def guider_of(guider: Any, index: int) -> Any:
    """A copy of the guider whose conditioning is that of sample `index`."""
    one = copy.copy(guider)
    one.original_conds = {
        name: [_cond_of(cond, index) for cond in conds] for name, conds in guider.original_conds.items()
    }
    return one


def draws_noise(guider: Any) -> bool:
    """Whether the conditioning draws noise from the seed, so that only one sample at a time is what it would be alone."""
    if {kind.__name__ for kind in type(guider.model_patcher.model).__mro__}.intersection(DRAWS_NOISE):
        return True
    conds = [cond for conds in guider.original_conds.values() for cond in conds]
    return any("unclip_conditioning" in cond or cond.get("noise_augmentation", 0) for cond in conds)


def _row(tensor: torch.Tensor, i: int) -> torch.Tensor:
    i = i % tensor.shape[0]
    return tensor[i : i + 1]


def _cond_of(cond: dict, i: int) -> dict:
    one = {key: _value_of(value, i, axes=3 if key == "mask" else 2) for key, value in cond.items()}
    if "model_conds" in cond:
        one["model_conds"] = {key: _wrapped_of(value, i) for key, value in cond["model_conds"].items()}
    if "control" in cond:
        one["control"] = _control_of(cond["control"], i)
    return one


def _value_of(value: Any, i: int, axes: int = 2) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim >= axes and value.shape[0] > 1:
        return _row(value, i)
    if isinstance(value, list) and value and all(isinstance(v, torch.Tensor) for v in value):
        return [_value_of(v, i) for v in value]
    return value


def _wrapped_of(value: Any, i: int) -> Any:
    inner = getattr(value, "cond", None)
    if not isinstance(inner, (torch.Tensor, list)):
        return value
    one = copy.copy(value)
    one.cond = _value_of(inner, i)
    return one


def _control_of(control: Any, i: int) -> Any:
    """A ControlNet whose hint is a batch: a copy with this sample's hint (and likewise those chained before it)."""
    hint, before = getattr(control, "cond_hint_original", None), getattr(control, "previous_controlnet", None)
    before_one = None if before is None else _control_of(before, i)
    if (hint is None or hint.shape[0] == 1) and before_one is before:
        return control
    one = control.copy()
    if hint is not None:
        one.cond_hint_original = _row(hint, i)
    one.previous_controlnet = before_one
    return one
