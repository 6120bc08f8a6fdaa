"""A stock CLIP_VISION model (CLIP, SigLIP, DINOv2, DINOv3) as a source of image features."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import torch

from ..fingerprint import described, network_mark
from .features import ImageFeatures, unit
from .managed import Chunked
from .preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

DINOV3_SIZE = 224  # as its authors have it; ComfyUI's 1024 is for other uses, and twenty times as slow
_LOOKS = {  # by the type of model: how its authors fit a picture into the square, and their interpolation
    "clip_vision_model": ("crop low", "bicubic"),
    "siglip_vision_model": ("squash", "bicubic"),
    "dinov2": ("crop low", "bicubic"),
    "dinov3": ("squash", "bilinear"),
}


class ClipVisionFeatures(ImageFeatures):
    """clip_vision: what ComfyUI's Load CLIP Vision gives. ComfyUI manages its memory; pictures are resized here, as Pillow does it.

    image_features: [B, H, W, 3] in [0, 1] -> float32 [B, D] of length 1: the projected class token of a CLIP, the class token of a DINO, the
    mean of the patches of a SigLIP, of whose pooling head ComfyUI loads nothing.
    """

    def __init__(self, clip_vision: Any):
        self.clip_vision, self.chunked = clip_vision, Chunked()
        self.preprocess = _preprocess(clip_vision)

    def fingerprint(self) -> dict:
        network = getattr(self.clip_vision, "model", None)
        if not isinstance(network, torch.nn.Module):
            return described(self)
        return network_mark(network) | ({} if self.preprocess is None else {"look": str(self.preprocess)})

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return unit(self.chunked(self._embeddings, images))

    def _embeddings(self, images: torch.Tensor) -> torch.Tensor:
        found = (
            self._shown(images) if self.preprocess else self.clip_vision.encode_image(images)["image_embeds"]
        )
        if found is None:
            raise ValueError(
                "This CLIP Vision model gives no image embeddings, so no image can be compared with another. Choose one with a projection, such as clip-vit-large-patch14."
            )
        found = found.float().cpu()
        return found.mean(1) if found.dim() == 3 else found

    def _shown(self, images: torch.Tensor) -> torch.Tensor:
        assert self.preprocess is not None  # asked for only then
        vision = self.clip_vision
        mm.load_model_gpu(vision.patcher)
        with torch.no_grad():
            return vision.model(pixel_values=self.preprocess(images).to(vision.load_device))[2]


def _preprocess(vision: Any) -> Preprocess | None:
    """How the model's authors have it look at a picture; None where ComfyUI must know (newer kinds of models)."""
    kind, size = _kind(vision), getattr(vision, "image_size", None)
    if kind not in _LOOKS or type(size) is not int:
        return None
    fit, interpolation = _LOOKS[kind]
    if kind == "dinov3":
        return Preprocess(DINOV3_SIZE, fit, interpolation, IMAGENET_MEAN, IMAGENET_STD)
    return Preprocess(size, fit, interpolation, tuple(vision.image_mean), tuple(vision.image_std))


def _kind(vision: Any) -> str:
    """What ComfyUI calls this type of model; older versions do not keep it."""
    told, network = getattr(vision, "model_type", None), getattr(vision, "model", None)
    if isinstance(told, str):
        return told
    if type(network).__name__ == "Dinov2Model":
        return "dinov2"
    inner = getattr(network, "vision_model", None) if isinstance(network, torch.nn.Module) else None
    if inner is None:
        return ""
    return "siglip_vision_model" if getattr(inner, "output_layernorm", False) else "clip_vision_model"
