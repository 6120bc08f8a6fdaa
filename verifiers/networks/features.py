"""Networks that turn an image into a vector. Each has `image_features(images [B, H, W, 3]) -> float32 [B, D]`, as `ClipTower` and `ClipVisionFeatures` have."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...untrusted import Short
from ..fingerprint import described
from .managed import ManagedModel
from .preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from .weights import load_into

DINOS = (
    *(
        f"vit_{size}_patch14_{reg}dinov2"
        for size in ("small", "base", "large", "giant")
        for reg in ("", "reg4_")
    ),
    *(f"vit_{size}_patch16_dinov3" for size in ("small", "small_plus", "base", "large", "huge_plus")),
)


REMEMBERED = 4  # images and their previews, each looked at in two ways


class ImageFeatures(Short):
    """Base of the networks here: subclasses write `features`, which runs once for verifiers that ask for the same images."""

    features: Callable[..., torch.Tensor]  # (images), or (images, look) where there are several ways to look

    def fingerprint(self) -> dict:
        """As a verifier's."""
        return described(self)

    def image_features(self, images: torch.Tensor, look: Callable | None = None) -> torch.Tensor:
        """[B, H, W, 3] in [0, 1] -> float32 [B, D]. The same tensor asked for again, in the same `look`, costs nothing."""
        last = self.__dict__.setdefault("_last", [])
        for known, used, found in last:
            if known() is images and used == look:
                return found
        found = self.features(images) if look is None else self.features(images, look)
        self._last = [(weakref.ref(images), look, found), *last[: REMEMBERED - 1]]
        return found


class DinoFeatures(ImageFeatures):
    """DINOv2 or DINOv3: the class token, at 224 x 224 (Oquab et al. 2023, arXiv 2304.07193). path: a file of timm's, whose name holds the model's.

    ImportError without timm; ValueError for another file.
    """

    def __init__(self, path: Path, device: str = "auto"):
        timm, name = require_timm(), _architecture(path)
        network = load_into(
            lambda: timm.create_model(name, num_classes=0, dynamic_img_size=True, global_pool="token"),
            path,
            name,
        )
        self.model = ManagedModel(network, device, half=True, source=path)
        self.preprocess = Preprocess(224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.run(lambda network, rows: network(rows), images, self.preprocess)


def _architecture(path: Path) -> str:
    known = [name for name in DINOS if name in Path(path).name.lower()]
    if not known:
        raise ValueError(
            f"The name of {Path(path).name} says nothing about its architecture. Name it after one of {', '.join(DINOS)}."
        )
    return max(known, key=len)


def unit(features: torch.Tensor) -> torch.Tensor:
    """The same directions, of length 1."""
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)


def require_timm() -> Any:
    """The timm module, or an ImportError that says how to get it."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"This verifier needs the package timm, which is not part of ComfyUI. Install it into ComfyUI's Python: pip install timm, then restart ComfyUI. ({error})"
        ) from error
    return timm
