"""Many digits at once: how near they come, as a population, to real ones. Shared by the benchmarks."""

from __future__ import annotations

from functools import cache

import torch
from _trials import ROOT

from noisesearch.demo.load import FOLDER
from noisesearch.demo.classifiers import ClassifierFeatures
from noisesearch.verifiers.judges.frechet import FrechetOracle, statistics_of

AXES = 16  # so that a few hundred winners still have a covariance
NEIGHBOURS = 3


class RealDigits:
    """2000 real digits as the last hidden layer of the digits' independent judge sees them, along the principal axes of its features."""

    def __init__(self):
        from demo_training import digits

        archive = ROOT / ".cache" / "demo" / digits.ARCHIVE
        if not archive.is_file():
            raise SystemExit("The real digits are missing: run `python tools/train_demo.py data` first.")
        images, classes = digits.read(archive)
        chosen = torch.cat([torch.from_numpy((classes == c).nonzero()[0][::5]) for c in range(10)])
        pixels = (
            torch.from_numpy(images)[chosen]
            .float()
            .div(255)[..., None]
            .expand(-1, -1, -1, 3)
            .repeat_interleave(2, 1)
            .repeat_interleave(2, 2)
        )
        self.network = ClassifierFeatures(FOLDER / "verifiers" / "digits_judge.safetensors")
        raw = self.network.image_features(pixels).double()
        self.centre, self.axes = (
            raw.mean(0),
            torch.linalg.svd(raw - raw.mean(0), full_matrices=False).Vh[:AXES].T,
        )
        self.points = (raw - self.centre) @ self.axes
        self.statistics = statistics_of(self.points)

    def image_features(self, images):
        """[B, H, W, 3] in [0, 1] -> float64 [B, AXES]: a feature network, for verifiers too."""
        return (self.network.image_features(images).double() - self.centre) @ self.axes

    def frechet(self, features: torch.Tensor) -> float:
        """The Frechet distance of images to real digits, by their image_features."""
        return float(FrechetOracle(self, self.statistics).distance(features))

    def recall(self, features: torch.Tensor) -> float:
        """Share of real digits that lie among the images (Kynkäänniemi et al. 2019): diversity."""
        return float(_among(self.points, features).mean())

    def precision(self, features: torch.Tensor) -> torch.Tensor:
        """1 for each image that lies among the real digits, else 0; the mean is fidelity."""
        return _among(features, self.points)


@cache
def real_digits() -> RealDigits:
    return RealDigits()


def _among(points, others):
    """1 for each point within the radius of some other, which reaches to its third neighbour of its own kind, else 0."""
    radius = torch.cdist(others, others).kthvalue(NEIGHBOURS + 1, dim=1).values
    return (torch.cdist(points, others) <= radius).any(1).double()


def inception_score(probabilities: torch.Tensor) -> float:
    """exp of the mean divergence of class probabilities [N, C] from their mean: 1 to C, high when images are sure and classes even (Salimans et al. 2016)."""
    p = probabilities.double().clamp(min=1e-12)
    return float(torch.exp((p * (p.log() - p.mean(0).log())).sum(1).mean()))
