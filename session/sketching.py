"""Previews decoded cheaply, for the judges: by ComfyUI's own approximate decoders."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy.sd import VAE
from comfy.taesd.taesd import TAESD

from ..search.rollout import BY_RGB, BY_TAESD, BY_VAE
from ..verifiers.networks.managed import Chunked

FOLDER = "vae_approx"
VIDEOS = getattr(latent_preview, "VIDEO_TAES", ())  # names of decoders that are video VAEs


@dataclass(frozen=True)
class Sketch:
    """A function from clean latents in model space [B, ...] to images [B, H, W, 3] or videos [B, T, H, W, 3] in [0, 1].

    told: what its images depend on, for the journal.
    """

    draw: Callable[[torch.Tensor], torch.Tensor]
    told: tuple

    def __call__(self, x0: torch.Tensor) -> torch.Tensor:
        return Chunked(2**30)(lambda few: self.draw(few).clamp(0, 1).float().cpu(), x0)


def sketch_of(how: str, patcher: Any, vae: Any) -> Sketch | None:
    """How unfinished samples are decoded: None = by the VAE. ValueError where ComfyUI has no such decoder for the model's latents."""
    if how == BY_VAE:
        return None
    format = patcher.model.latent_format
    return _by_rgb(format, _enlarged(vae)) if how == BY_RGB else _by_taesd(format, patcher.load_device)


def _by_rgb(format: Any, larger: int) -> Sketch:
    if format.latent_rgb_factors is None:
        raise ValueError(
            f"Previews cannot be decoded by latent2rgb: ComfyUI has no such decoder for {type(format).__name__} latents. Take the VAE."
        )
    factors = torch.tensor(format.latent_rgb_factors).T
    given = getattr(format, "latent_rgb_factors_bias", None)
    bias = None if given is None else torch.tensor(given)
    reshape = getattr(format, "latent_rgb_factors_reshape", None)

    def draw(x0: torch.Tensor) -> torch.Tensor:
        size = [side * larger for side in x0.shape[-2:]]
        x0 = x0 if reshape is None else reshape(x0)
        images = torch.nn.functional.linear(x0.float().movedim(1, -1), factors, bias)
        return _resized((images + 1.0) / 2.0, size)

    return Sketch(draw, (BY_RGB, larger))


def _resized(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """As large as the VAE's, so that judges get the sizes that they know. images: [..., H, W, 3]."""
    rows = images.reshape(-1, *images.shape[-3:]).movedim(-1, 1)
    rows = torch.nn.functional.interpolate(rows, list(size), mode="bilinear")
    return rows.movedim(1, -1).reshape(*images.shape[:-3], *size, images.shape[-1])


def _enlarged(vae: Any) -> int:
    """How many pixels of an image one cell of a latent becomes, along a side; 1 where the VAE does not say."""
    known = getattr(vae, "spacial_compression_decode", None)
    return int(known()) if callable(known) else 1


def _by_taesd(format: Any, device: torch.device) -> Sketch:
    name = format.taesd_decoder_name
    files = [file for file in folder_paths.get_filename_list(FOLDER) if name and file.startswith(name)]
    if not files:
        missing = f"models/{FOLDER} holds no {name}" if name else "there is none for it"
        raise ValueError(
            f"Previews cannot be decoded by TAESD for {type(format).__name__} latents: {missing}. Put the file there, or take latent2rgb or the VAE."
        )
    path = folder_paths.get_full_path_or_raise(FOLDER, files[0])
    told = (BY_TAESD, files[0], os.path.getsize(path), os.path.getmtime(path))
    if name in VIDEOS:
        video = VAE(comfy.utils.load_torch_file(path))
        video.first_stage_model.show_progress_bar = False
        return Sketch(video.decode, told)
    taesd = TAESD(None, path, latent_channels=format.latent_channels)
    taesd.requires_grad_(False).to(device)

    def draw(x0: torch.Tensor) -> torch.Tensor:
        return (taesd.decode(x0.float().to(device)).movedim(1, -1) + 1.0) / 2.0

    return Sketch(draw, told)
