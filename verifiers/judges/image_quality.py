"""BRISQUE: how natural an image's local statistics are, without a prompt (Mittal et al. 2012, IEEE TIP 21(12)).

Every pixel is normalised by the mean and deviation of its neighbourhood; in clean photos these values and the products of neighbours
follow generalised Gaussians, and blur, noise and compression change the shapes. 18 shape numbers at two scales go into a regression.
"""

from __future__ import annotations

from pathlib import Path

import comfy.model_management as mm
import torch
import torch.nn.functional as F

from ..base import Batch, ImageVerifier
from ..networks.preprocess import to_bytes
from ..networks.weights import State, load_named

_GREY = (0.2125, 0.7154, 0.0721)
_HALVING = (-0.09375, 0.59375, 0.59375, -0.09375)  # cubic convolution with a = -0.75, sampled between pixels
_NUMBERS = 36  # 18 at each of two scales
_SMALLEST = 16  # pixels: below, nothing is left to measure at half the size


class ImageQuality(ImageVerifier):
    """Minus the BRISQUE score: about 0 for a clean photo, -100 for a badly damaged one. A flat image cannot be judged (NaN).

    Runs on the CPU in float64; images are judged one by one, so a batch equals its singles exactly.
    """

    name = "image quality"

    def __init__(self, path: Path):
        names = ("vectors", "coefficients", "gamma", "rho", "min", "max")
        self.model = load_named(path, names, "a BRISQUE model", _shapes)

    def judge(self, batch: Batch) -> torch.Tensor:
        if min(batch.images.shape[1:3]) < _SMALLEST:
            height, width = batch.images.shape[1:3]
            raise ValueError(
                f"{self.name} was given images of {width} x {height} pixels; it needs at least {_SMALLEST} x {_SMALLEST}."
            )
        return torch.cat([-self._brisque(image) for image in batch.images.split(1)])

    def _brisque(self, images: torch.Tensor) -> torch.Tensor:
        mm.throw_exception_if_processing_interrupted()
        grey = (to_bytes(images) * torch.tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True) / 255
        values = torch.cat([features(grey), features(halved(grey))], dim=1)
        low, high = self.model["min"], self.model["max"]
        scaled = -1 + 2 * (values - low) / (high - low)
        distances = (scaled[:, None] - self.model["vectors"]).square().sum(-1)
        scores = (self.model["coefficients"] * torch.exp(-self.model["gamma"] * distances)).sum(
            1
        ) - self.model["rho"]
        varied = grey.flatten(1).amax(1) > grey.flatten(1).amin(
            1
        )  # the black surroundings give even a flat image some statistics
        return scores.where(varied, torch.nan)


def _shapes(sizes: State) -> dict[str, tuple[int, ...]]:
    vectors = sizes["coefficients"].numel()
    ends = {"min": (_NUMBERS,), "max": (_NUMBERS,)}
    return {"vectors": (vectors, _NUMBERS), "coefficients": (vectors,), "gamma": (), "rho": (), **ends}


def features(grey: torch.Tensor) -> torch.Tensor:
    """[B, 1, H, W] in [0, 1] -> 18 shape numbers per image [B, 18]."""
    field = normalised(grey)
    alpha, left, right = fit(field)
    columns = [alpha, (left + right) / 2]
    neighbours = (
        (field[..., :, :-1], field[..., :, 1:]),
        (field[..., :-1, :], field[..., 1:, :]),
        (field[..., :-1, :-1], field[..., 1:, 1:]),
        (field[..., 1:, :-1], field[..., :-1, 1:]),
    )
    for one, other in neighbours:
        alpha, left, right = fit(one * other)
        spread = torch.exp((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2)
        mean = (
            (right.sqrt() - left.sqrt())
            * spread
            * torch.exp(torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha))
        )
        columns += [alpha, mean, left, right]
    return torch.stack(columns, dim=1)


def normalised(grey: torch.Tensor) -> torch.Tensor:
    """Each pixel minus its local mean, over its local deviation (7 x 7 Gaussian of deviation 7/6; black beyond the border)."""
    mean = _smooth(grey)
    deviation = (mean.square() - _smooth(grey.square())).abs().sqrt()
    return (grey - mean) / (deviation + 1 / 255)


def halved(grey: torch.Tensor) -> torch.Tensor:
    """Half as wide and high, by cubic convolution without antialiasing."""
    taps = torch.tensor(_HALVING, dtype=grey.dtype)
    height, width = (round(side / 2) for side in grey.shape[-2:])
    grey = F.pad(grey, (1, 3, 1, 3), mode="replicate")
    return F.conv2d(
        F.conv2d(grey, taps.view(1, 1, 1, 4), stride=(1, 2)), taps.view(1, 1, 4, 1), stride=(2, 1)
    )[..., :height, :width]


def fit(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An asymmetric generalised Gaussian by moments: (shape in [0.2, 10], mean square left of 0, mean square right of it), each [B]."""
    values = values.flatten(1)
    below = values < 0
    left = values.square().where(below, 0).sum(1) / below.sum(1)
    right = values.square().where(~below, 0).sum(1) / (~below).sum(1)
    gamma = (left / right).sqrt()
    ratio = (
        values.abs().mean(1).square()
        / values.square().mean(1)
        * (gamma**3 + 1)
        * (gamma + 1)
        / (gamma**2 + 1).square()
    )
    low, high = torch.full_like(ratio, 0.2), torch.full_like(ratio, 10.0)
    for _ in range(50):  # the moment ratio grows with the shape
        middle = (low + high) / 2
        too_low = (
            torch.exp(2 * torch.lgamma(2 / middle) - torch.lgamma(1 / middle) - torch.lgamma(3 / middle))
            < ratio
        )
        low, high = middle.where(too_low, low), high.where(too_low, middle)
    return low.where(ratio.isfinite(), torch.nan), left, right


def _smooth(grey: torch.Tensor) -> torch.Tensor:
    offsets = torch.arange(-3, 4, dtype=grey.dtype)
    kernel = torch.exp(-offsets.square() / (2 * (7 / 6) ** 2))
    kernel = kernel / kernel.sum()
    return F.conv2d(
        F.conv2d(grey, kernel.view(1, 1, 1, 7), padding=(0, 3)), kernel.view(1, 1, 7, 1), padding=(3, 0)
    )
