"""Pillow's image resize on tensors, to the last bit (8-bit images, bicubic and bilinear).

Pillow works in two passes, one per axis, with weights in 22-bit fixed point, and rounds to 8 bits after each. A plain float
`interpolate(antialias=True)` is up to 12 of 255 levels away from that. Here the weights are whole numbers in a float64 matrix, so
that a pass is one exact matrix product: no pixel differs from Pillow 13, and a batch equals its images one by one.
"""

from __future__ import annotations

from functools import lru_cache

import torch

_BITS = 22  # Pillow's fixed point


def resize_bytes(
    pixels: torch.Tensor,
    height: int,
    width: int,
    interpolation: str = "bicubic",
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> torch.Tensor:
    """[..., H, W] of whole numbers 0..255 in float64 -> [..., height, width] of the same kind.

    rows, columns: (first, beyond the last) of those wanted; only these are computed.
    """
    old_height, old_width = pixels.shape[-2:]
    rows, columns = rows or (0, height), columns or (0, width)
    tall = old_height > height and old_height - height > 2 * (
        old_width - width
    )  # Pillow 13 then starts with the columns
    for axis in ("columns", "rows") if tall else ("rows", "columns"):
        if axis == "rows":
            pixels = (
                pixels[..., slice(*columns)]
                if old_width == width
                else _rounded(pixels @ _weights(old_width, width, *columns, interpolation).T)
            )
        else:
            pixels = (
                pixels[..., slice(*rows), :]
                if old_height == height
                else _rounded(_weights(old_height, height, *rows, interpolation) @ pixels)
            )
    return pixels


def _rounded(sums: torch.Tensor) -> torch.Tensor:
    return sums.add_(2 ** (_BITS - 1)).div_(2**_BITS).floor_().clamp_(0, 255)


@lru_cache(maxsize=8)
def _weights(old: int, new: int, first: int, beyond: int, interpolation: str) -> torch.Tensor:
    """[beyond - first, old] float64: the fixed-point weight of every old pixel in the new ones from `first` on, of `new` in all."""
    kernel, radius = INTERPOLATIONS[interpolation]
    scale = old / new
    stretch = max(scale, 1.0)  # antialiasing: the kernel widens when the image shrinks
    centre = (torch.arange(first, beyond, dtype=torch.float64) + 0.5) * scale
    left = (centre - radius * stretch + 0.5).floor().clamp(min=0)[:, None]
    right = (centre + radius * stretch + 0.5).floor().clamp(max=old)[:, None]
    position = torch.arange(old, dtype=torch.float64)
    weights = kernel((position - centre[:, None] + 0.5) / stretch).where(
        (position >= left) & (position < right), 0.0
    )
    fixed = weights / weights.sum(1, keepdim=True) * 2**_BITS
    return (fixed.abs() + 0.5).floor() * fixed.sign()


def _bicubic(x: torch.Tensor) -> torch.Tensor:
    """The cubic convolution kernel with a = -0.5."""
    x = x.abs()
    inner, outer = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))


def _bilinear(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


INTERPOLATIONS = {"bicubic": (_bicubic, 2.0), "bilinear": (_bilinear, 1.0)}
