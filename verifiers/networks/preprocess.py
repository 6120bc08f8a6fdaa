"""Image tensors [B, H, W, 3] as a network wants them, equal to what Pillow and torchvision make of the saved PNG, without either."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .resize import INTERPOLATIONS, resize_bytes

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocess:
    """How one family of networks looks at an image.

    size: side of the square the network sees, in pixels.
    fit: "crop" (shortest side to `resize`, centre crop), "crop low" (the same, and where the centre falls between two pixels the lower one, as
        transformers has it), "squash" (both sides, ignoring the shape) or "pad" (longest side, black borders).
    resize: shortest side before a crop; 0 means `size`.
    interpolation: "bicubic" or "bilinear".
    mean, std: normalisation per channel, in [0, 1] units.
    """

    size: int = 224
    fit: str = "crop"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resize: int = 0

    def __post_init__(self) -> None:
        numbers = all(
            isinstance(number, (int, float)) and abs(number) < 1e3 for number in (*self.mean, *self.std)
        )
        if (
            self.fit not in FITS
            or self.interpolation not in INTERPOLATIONS
            or not len(self.mean) == len(self.std) == 3
            or not numbers
            or min(self.std) <= 0
        ):
            raise ValueError(
                f"Preprocessing is one of {', '.join(FITS)}, by one of {', '.join(INTERPOLATIONS)} interpolation, with a mean and a deviation above 0 for each of 3 channels; "
                f"it was given {self.fit!r}, {self.interpolation!r}, {self.mean} and {self.std}."
            )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B, H, W, 3] in [0, 1] -> [B, 3, size, size], normalised; rows are independent of each other."""
        parts = images.split(1)  # one full-size float64 copy at a time
        return torch.cat(
            [normalise(FITS[self.fit](to_bytes(part), self) / 255, self.mean, self.std) for part in parts]
        )


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """[B, H, W, 3] in [0, 1] -> [B, 3, H, W] whole numbers 0..255 in float64: what ComfyUI writes into a PNG (it truncates)."""
    return (images.movedim(-1, 1).cpu().float().clamp(0, 1) * 255).floor().double()


def normalise(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(pixels - mean) / std per channel in float32, for [B, 3, H, W]."""
    return (pixels.float() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _crop(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    height, width = pixels.shape[-2:]
    short = spec.resize or spec.size
    long = int(short * max(height, width) / min(height, width))
    height, width = (long, short) if height >= width else (short, long)
    top, left = (
        (side - spec.size) // 2 if spec.fit == "crop low" else round((side - spec.size) / 2)
        for side in (height, width)
    )
    return resize_bytes(
        pixels, height, width, spec.interpolation, (top, top + spec.size), (left, left + spec.size)
    )


def _squash(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    return resize_bytes(pixels, spec.size, spec.size, spec.interpolation)


def _pad(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    scale = spec.size / max(pixels.shape[-2:])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[-2:])
    return pad_to_square(resize_bytes(pixels, height, width, spec.interpolation), spec.size)


def pad_to_square(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Black borders around [B, C, h, w], up to [B, C, size, size]."""
    height, width = pixels.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(pixels, (left, size - width - left, top, size - height - top))


FITS = {"crop": _crop, "crop low": _crop, "squash": _squash, "pad": _pad}
