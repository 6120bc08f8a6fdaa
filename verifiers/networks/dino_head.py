"""DINOv2 as a classifier of the 1000 ImageNet classes, by its published linear head (Ma et al. 2025, section 4.1: DINO-LinearHead)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .features import DinoFeatures
from .weights import State, WrongFile, load_named, named, outline, taken_for


class DinoLinearHead(DinoFeatures):
    """The head reads the class token and the mean of the patch tokens, side by side.

    path: the DINOv2, as for DinoFeatures; head: a file with `weight` [1000, 2 D] and `bias` [1000].
    """

    def __init__(self, path: Path, head: Path, device: str = "auto"):
        with taken_for("a DINO", path):
            width = 2 * named(outline(path), ("cls_token",), path, "a DINO")["cls_token"].shape[-1]

        def shapes(sizes: State) -> dict[str, tuple[int, ...]]:
            found = {name: tuple(sizes[name].shape) for name in ("weight", "bias")}
            wanted = {"weight": (1000, width), "bias": (1000,)}
            if found != wanted:
                given = f"{list(found['weight'])} and {list(found['bias'])}"
                raise WrongFile(
                    f"{head.name} has a head of shapes {given}, but {path.name} needs [1000, {width}] and [1000]: use the head of that very DINOv2."
                )
            return wanted

        state = load_named(head, ("weight", "bias"), "a linear head", shapes)
        super().__init__(path, device)
        self.weight, self.bias = state["weight"].float(), state["bias"].float()

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 1000]."""
        return self.model.run(_class_and_patches, images, self.preprocess) @ self.weight.T + self.bias


def _class_and_patches(network: Any, rows: torch.Tensor) -> torch.Tensor:
    tokens = network.forward_features(rows)
    return torch.cat([tokens[:, 0], tokens[:, network.num_prefix_tokens :].mean(1)], dim=1)
