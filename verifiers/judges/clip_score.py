"""CLIPScore: how well an image fits its prompt (Hessel et al. 2021, arXiv 2104.08718; Ma et al. 2025, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..base import Batch, ImageVerifier
from ..networks.clip_tower import ClipTower


class PromptVerifier(ImageVerifier):
    """Base of the judges that are a CLIP: the cosine of image and prompt, in [-1, 1]."""

    needs_prompt = True
    name = "CLIP cosine"

    def __init__(self, tower: ClipTower):
        self.tower = tower

    def look(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """How the image is preprocessed."""
        return self.tower.preprocess

    def judge(self, batch: Batch) -> torch.Tensor:
        image = self.tower.image_features(batch.images, self.look())
        return image @ self.tower.text_features((batch.prompt,))[0]

    def check(self, prompt: str) -> None:
        super().check(prompt)
        self.tower.tokens((prompt,))

    def notes(self, prompt: str) -> tuple[str, ...]:
        cut = self.tower.truncation(prompt)
        return (cut,) if cut else ()


class ClipScore(PromptVerifier):
    """2.5 max(cos(image, prompt), 0), CLIPScore's formula, in [0, 2.5]; or with `raw` the cosine itself, which keeps the order of images that the clamp ties.

    The prompt is used as it is: its authors put "A photo depicts" before captions of photos, which prompts of other pictures are not.
    """

    def __init__(self, tower: ClipTower, raw: bool = False):
        super().__init__(tower)
        self.raw = raw
        self.name = PromptVerifier.name if raw else "CLIPScore"

    def judge(self, batch: Batch) -> torch.Tensor:
        cosine = super().judge(batch)
        return cosine if self.raw else 2.5 * cosine.clamp(min=0)
