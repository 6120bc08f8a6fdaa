"""Two Inceptions: the network of 2015 whose features FID is defined by, and a classifier of the 1000 ImageNet classes (Szegedy et al. 2015, arXiv 1512.00567)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from .features import ImageFeatures, require_timm
from .imagenet import TimmClassifier
from .managed import ManagedModel
from .preprocess import HALF, Preprocess, to_bytes
from .weights import State, load_into

SIDE = 299  # pixels


class FidInception(ImageFeatures):
    """The 2048 pooled features of TensorFlow's Inception of 2015 (Heusel et al. 2017, arXiv 1706.08500), for statistics as FID tools write them.

    path: the file of the package pytorch-fid. WrongFile for another.
    """

    def __init__(self, path: Path, device: str = "auto"):
        self.model = ManagedModel(load_fid_inception(path), device, row_bytes=64 * 2**20, source=path)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.run(lambda network, rows: network(rows), images, resized)


def load_fid_inception(path: Path) -> torch.nn.Module:
    """torchvision's Inception with the poolings of TensorFlow's, and without its last layer."""
    from torchvision.models import inception_v3

    settings = dict(num_classes=1008, aux_logits=False, transform_input=False, init_weights=False)
    network: Any = load_into(lambda: inception_v3(weights=None, **settings), path, "FID's Inception")
    mean, most = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False), torch.nn.MaxPool2d(3, 1, 1)
    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        _repool(getattr(network, f"Mixed_{name}"), mean)
    _repool(network.Mixed_7c, most)
    network.fc = torch.nn.Identity()
    return network


def _repool(block: Any, pool: torch.nn.Module) -> None:
    """Give a block of torchvision's another pooling in its last branch."""
    branches = block._forward
    block._forward = lambda x: [*branches(x)[:-1], block.branch_pool(pool(x))]


def resized(images: torch.Tensor) -> torch.Tensor:
    """[B, H, W, 3] in [0, 1] -> [B, 3, SIDE, SIDE] in [-1, 1]; bilinear and without antialiasing, as FID is defined."""
    parts = [
        F.interpolate((to_bytes(part) / 255).float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        for part in images.split(1)
    ]
    return torch.cat(parts) * 2 - 1


class InceptionClassifier(TimmClassifier):
    """Inception v3 by a file of timm's, `inception_v3.tf_in1k`. ImportError without timm; WrongFile for another file."""

    def __init__(self, path: Path, device: str = "auto"):
        timm = require_timm()
        network = load_into(lambda: timm.create_model("inception_v3"), path, "Inception v3", _without_help)
        look = Preprocess(SIDE, resize=int(SIDE / 0.875), mean=HALF, std=HALF)
        super().__init__(network, look, device, path)


def _without_help(state: State, network: torch.nn.Module) -> State:
    """The weights without those of a second output, which only training needs."""
    return {name: value for name, value in state.items() if not name.startswith("AuxLogits.")}
