"""Latents to images, the way stock VAEDecode does it."""

from __future__ import annotations

import torch


def decoder(vae):
    """A function from latents [B, ...] to images [B, H, W, C] or videos [B, T, H, W, C]."""

    def decode(latents: torch.Tensor) -> torch.Tensor:
        images = vae.decode(latents)
        if images.ndim == 4 and images.shape[0] != latents.shape[0]:  # frames of all samples in one row
            images = images.unflatten(0, (latents.shape[0], -1))
        if images.ndim == 5 and images.shape[1] == 1:  # an image model with a time axis
            images = images[:, 0]
        return images

    return decode


def flat(images: list[torch.Tensor]) -> torch.Tensor:
    """Images and videos as one stock IMAGE batch [N, H, W, C]."""
    return torch.cat([image.reshape(-1, *image.shape[-3:]) for image in images])
