"""A stock CLIP_VISION model as a source of image features."""

from __future__ import annotations

from typing import Any

import torch

from ..fingerprint import described, network_mark
from .features import ImageFeatures, unit
from .managed import Chunked


class ClipVisionFeatures(ImageFeatures):
    """clip_vision: what ComfyUI's Load CLIP Vision gives. ComfyUI itself resizes, crops and manages memory.

    image_features: [B, H, W, 3] in [0, 1] -> float32 [B, D] of length 1.
    """

    def __init__(self, clip_vision: Any):
        self.clip_vision, self.chunked = clip_vision, Chunked()

    def fingerprint(self) -> dict:
        network = getattr(self.clip_vision, "model", None)
        return network_mark(network) if isinstance(network, torch.nn.Module) else described(self)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return unit(self.chunked(self._embeddings, images))

    def _embeddings(self, images: torch.Tensor) -> torch.Tensor:
        found = self.clip_vision.encode_image(images)["image_embeds"]
        if found is None:
            raise ValueError(
                "This CLIP Vision model gives no image embeddings, so no image can be compared with another. Choose one with a projection, such as clip-vit-large-patch14."
            )
        return found.float().cpu()
