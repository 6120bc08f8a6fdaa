"""Latents to images, the way stock VAEDecode does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import torch

from .. import compat
from ..untrusted import legible
from ..verifiers.networks.managed import Chunked


def decoder(vae: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from latents [B, ...] to images [B, H, W, C] or videos [B, T, H, W, C].

    All at once; where memory runs out, fewer at a time. Tiles within an image are the VAE's own business. An error names the VAE.
    """
    some = Chunked(2**30)

    def decode(latents: torch.Tensor) -> torch.Tensor:
        try:
            return some(lambda few: _decoded(vae, few), latents)
        except mm.InterruptProcessingException:
            raise
        except Exception as error:
            if compat.is_out_of_memory(error):
                said = f"The VAE ran out of memory, even with one image. {legible(error)}"
                raise mm.OOM_EXCEPTION(said) from error
            raise RuntimeError(f"The VAE failed: {legible(error) or type(error).__name__}") from error

    return decode


def _decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    images = vae.decode(latents)
    if images.ndim == 4 and images.shape[0] != latents.shape[0]:  # frames of all samples in one row
        images = images.unflatten(0, (latents.shape[0], -1))
    if images.ndim == 5 and images.shape[1] == 1:  # an image model with a time axis
        images = images[:, 0]
    return images


def flat(images: list[torch.Tensor]) -> torch.Tensor:
    """Images and videos as one stock IMAGE batch [N, H, W, C]."""
    return torch.cat([image.reshape(-1, *image.shape[-3:]) for image in images])
