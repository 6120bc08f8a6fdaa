"""DINOv2 as a classifier of the 1000 ImageNet classes, by its published linear head (Ma et al. 2025, section 4.1: DINO-LinearHead)."""

import torch

from .features import DinoFeatures
from ..files import WrongFile, load_named


class DinoLinearHead(DinoFeatures):
    """The head reads the class token and the mean of the patch tokens, side by side.

    path: the DINOv2, as for DinoFeatures; head: a file with `weight` [1000, 2 D] and `bias` [1000].
    """

    def __init__(self, path, head, device="auto"):
        super().__init__(path, device)
        state = load_named(head, ("weight", "bias"), "a linear head")
        self.weight, self.bias = (
            state["weight"].float().clone(),
            state["bias"].float().clone(),
        )  # not the file's own memory
        width = 2 * self.model.network.embed_dim
        if self.weight.shape != (1000, width) or self.bias.shape != (1000,):
            shapes = f"{list(self.weight.shape)} and {list(self.bias.shape)}"
            raise WrongFile(
                f"{head.name} has a head of shapes {shapes}, but {path.name} needs [1000, {width}] and [1000]: use the head of that very DINOv2."
            )

    def logits(self, images):
        """[B, 1000]."""
        return self.model.run(_class_and_patches, images, self.preprocess) @ self.weight.T + self.bias


def _class_and_patches(network, rows):
    tokens = network.forward_features(rows)
    return torch.cat([tokens[:, 0], tokens[:, network.num_prefix_tokens :].mean(1)], dim=1)
