"""CLIPs trained further on what people preferred: PickScore and HPSv2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ..base import Batch
from ..networks.preprocess import CLIP_MEAN, CLIP_STD, normalise, pad_to_square
from .clip_score import PromptVerifier


class PickScore(PromptVerifier):
    """The logit of image and prompt, about 15 to 25 (Kirstain et al. 2023, arXiv 2305.01569)."""

    name = "PickScore"

    def look(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The tower's preprocessing, cropped as the published processor (transformers') crops."""
        look = self.tower.preprocess
        return replace(look, fit="crop low") if look.fit == "crop" else look

    def judge(self, batch: Batch) -> torch.Tensor:
        return self.tower.scale * super().judge(batch)


class HumanPreference(PromptVerifier):
    """HPSv2: the cosine of image and prompt, about 0.2 to 0.35 (Wu et al. 2023, arXiv 2306.09341). The whole image is seen, with black borders."""

    name = "HPSv2"

    def look(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return WholeImage(self.tower.preprocess.size)


@dataclass(frozen=True)
class WholeImage:
    """HPSv2's own preprocessing: the longest side becomes `size` by one bicubic pass in float, not clamped, and black borders make it square."""

    size: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B, H, W, 3] in [0, 1] -> [B, 3, size, size]."""
        pixels = (images.movedim(-1, 1).cpu().float().clamp(0, 1) * 255).floor() / 255
        height, width = pixels.shape[-2:]
        scale = self.size / max(height, width)
        if scale != 1:
            pixels = F.interpolate(
                pixels,
                (max(1, round(height * scale)), max(1, round(width * scale))),
                mode="bicubic",
                antialias=True,
            )
        return normalise(pad_to_square(pixels, self.size), CLIP_MEAN, CLIP_STD)
