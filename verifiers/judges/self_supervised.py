"""The self-supervised verifier: did the sample become what it promised to be? (Ma et al. 2025, section 3, the third kind)."""

from __future__ import annotations

from typing import Any

import torch

from ..base import Batch, ImageVerifier
from ..networks.features import unit

EARLY = 0.4  # the paper's flow time of the prediction
_NEAR, _FAR = 0.05, 0.25  # from it: the schedule's levels cannot all hit it; beyond, it is another comparison


class SelfSupervised(ImageVerifier):
    """The cosine, in [-1, 1], of the features of the finished sample and of its clean prediction at flow time 0.4. Needs no prompt.

    features: an object with `image_features`.
    """

    name = "self-supervised"
    needs_previews = True

    def __init__(self, features: Any):
        self.features = features

    def judge(self, batch: Batch) -> torch.Tensor:
        late, early = (
            unit(self.features.image_features(images)) for images in (batch.images, batch.previews)
        )
        return (late * early).sum(1)


def note_on_level(time: float) -> str:
    """What to say of predictions at the schedule's flow time nearest to EARLY, "" where it is near. ValueError where it is so far that they mean something else."""
    away = abs(time - EARLY)
    if away > _FAR:
        raise ValueError(
            f"A self-supervised verifier compares each sample with its prediction at flow time {EARLY}, and the schedule's nearest level is {time:.3g}. "
            "Use more steps, a higher denoise, or another verifier."
        )
    return (
        f"compared at flow time {time:.3g}: the schedule has no level nearer to {EARLY}; more steps would have"
        if away > _NEAR
        else ""
    )
