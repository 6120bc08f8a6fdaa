"""Networks that turn an image into a vector. Each has `image_features(images [B, H, W, 3]) -> float32 [B, D]`, as `ClipTower` and `ClipVisionFeatures` have."""

import weakref
from pathlib import Path

from ...untrusted import Short
from ..files import load_strict, load_weights
from .managed import ManagedModel
from .preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

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

    def image_features(self, images, look=None):
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

    def __init__(self, path, device="auto"):
        timm = require_timm()
        known = [name for name in DINOS if name in Path(path).name.lower()]
        if not known:
            raise ValueError(
                f"The name of {Path(path).name} says nothing about its architecture. Name it after one of {', '.join(DINOS)}."
            )
        name = max(known, key=len)
        network = timm.create_model(name, num_classes=0, dynamic_img_size=True, global_pool="token")
        self.model = ManagedModel(load_strict(network, load_weights(path), path, name), device, half=True)
        self.preprocess = Preprocess(224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def features(self, images):
        return self.model.run(lambda network, rows: network(rows), images, self.preprocess)


def unit(features):
    """The same directions, of length 1."""
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)


def require_timm():
    """The timm module, or an ImportError that says how to get it."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"This verifier needs the package timm, which is not part of ComfyUI. Install it into ComfyUI's Python: pip install timm, then restart ComfyUI. ({error})"
        ) from error
    return timm
