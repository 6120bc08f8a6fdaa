"""How alike an image is to reference images: the direction of its features (likeness, style, subject, as the network sees them)."""

from __future__ import annotations

from typing import Any

import torch

from ..base import Batch, ImageVerifier, reference_images
from ..fingerprint import marked
from ..networks.features import unit


class ReferenceSimilarity(ImageVerifier):
    """The mean cosine to the references, in [-1, 1].

    features: an object with `image_features`; references: [R, H, W, 3] in [0, 1].
    """

    name = "reference similarity"

    def __init__(self, features: Any, references: torch.Tensor):
        images = reference_images(references, self.name)
        self.features, self.references = features, marked(images)
        self._seen = unit(features.image_features(images))

    def judge(self, batch: Batch) -> torch.Tensor:
        return (unit(self.features.image_features(batch.images)) @ self._seen.T).mean(1)
