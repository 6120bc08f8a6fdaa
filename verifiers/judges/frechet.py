"""The FID oracle: greedily build the set of images whose features are distributed like a reference (Ma et al. 2025, section 4.1).

Not a judge of single images: a candidate's score is minus the Frechet distance between the reference and the images accepted so far
with the candidate added. An upper bound for what a search can do to FID, which needs the very statistics it is measured by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import comfy.model_management as mm
import numpy as np
import torch

from ...untrusted import Short
from ..base import Batch, ImageVerifier, reference_images
from ..networks.archive import open_archive
from ..networks.weights import State, WrongFile, load_named, taken_for

MOST_FEATURES = 4096  # a covariance of so many has 128 MiB
_BLOCK = 64  # rows of a covariance that are looked at together: what is compared is copied


@dataclass(frozen=True)
class Statistics(Short):
    """Mean [D] and covariance [D, D] of features, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor

    def __post_init__(self) -> None:
        size = self.mean.shape
        if len(size) != 1 or 0 in size or self.covariance.shape != (*size, *size):
            raise ValueError(
                f"Feature statistics need a mean [D] and a covariance [D, D]; these are {list(size)} and {list(self.covariance.shape)}."
            )
        if not all(torch.isfinite(rows).all() for rows in (self.mean, *self.covariance.split(_BLOCK))):
            raise ValueError("Feature statistics hold NaN or infinity.")
        largest = float(max(self.covariance.max(), -self.covariance.min()))
        if not all(
            torch.allclose(rows, columns.T, rtol=1e-3, atol=1e-6 * largest)
            for rows, columns in zip(self.covariance.split(_BLOCK), self.covariance.split(_BLOCK, dim=1))
        ):
            raise ValueError("The covariance of feature statistics must be symmetric.")


def statistics_of(features: torch.Tensor) -> Statistics:
    """Statistics of features [N, D], N >= 2, with the unbiased covariance."""
    if len(features) < 2:
        raise ValueError(
            f"Feature statistics need at least 2 images, better several times as many as features; there is {len(features)}."
        )
    features = features.double()
    return Statistics(features.mean(0), torch.cov(features.T))


def load_statistics(path: Path) -> Statistics:
    """Statistics from a safetensors file with `mean` and `covariance`, or an .npz with `mu` and `sigma` (as FID tools write it, arrays only)."""
    path = Path(path)
    with taken_for("feature statistics", path):
        if path.suffix.lower() == ".npz":
            return Statistics(*_arrays(path))
        state = load_named(path, ("mean", "covariance"), "feature statistics", _shapes)
        return Statistics(state["mean"], state["covariance"])


def _shapes(sizes: State) -> dict[str, tuple[int, ...]]:
    (count,) = sizes["mean"].shape
    return {"mean": (_sane(count),), "covariance": (count, count)}


def _sane(count: int) -> int:
    if not 0 < count <= MOST_FEATURES:
        raise ValueError(f"statistics of {count} features, where 1 to {MOST_FEATURES} are allowed")
    return count


def _arrays(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """mu and sigma of an .npz, as float64. The shapes are compared before either is inflated."""
    try:
        with open(path, "rb") as file, open_archive(file) as archive:
            mean, covariance = (_header(archive, name) for name in ("mu", "sigma"))
            (count,) = mean[0]
            if covariance[0] != (_sane(count), count):
                raise ValueError(f"mu has shape {mean[0]} and sigma {covariance[0]}, which do not fit")
            return _array(archive, "mu", *mean), _array(archive, "sigma", *covariance)
    except (MemoryError, OSError):
        raise
    except KeyError as error:
        raise WrongFile(
            f"{path.name} does not hold feature statistics: it needs the arrays mu and sigma."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WrongFile(f"{path.name} was refused: it is not a plain .npz of arrays ({reason}).") from error


def _header(archive: ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and kind of the numbers of one array."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, _, kind = read(file)
        if kind.kind not in "fiu" or kind.itemsize > 8:
            raise ValueError(f"its {name} holds no plain numbers")
        size = archive.getinfo(f"{name}.npy").file_size
        if size != file.tell() + kind.itemsize * math.prod(shape):
            raise ValueError(f"its {name} has another size than its shape says")
        return shape, kind


def _array(archive: ZipFile, name: str, shape: tuple[int, ...], kind: np.dtype) -> torch.Tensor:
    with archive.open(f"{name}.npy") as file:
        found = np.lib.format.read_array(file, allow_pickle=False)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float64))


class FrechetOracle(ImageVerifier):
    """Minus the Frechet distance of the accepted images and the candidate to the reference, at most 0.

    features: an object with `image_features`; accepted: images that are already in the set [N, H, W, 3].
    """

    name = "FID oracle"

    def __init__(self, features: Any, reference: Statistics, accepted: torch.Tensor | None = None):
        self.features, self.reference = features, reference
        values, vectors = torch.linalg.eigh(reference.covariance)
        if values[0] < -1e-3 * values[-1].abs():
            raise ValueError(
                f"The covariance of the reference statistics has a negative variance ({values[0]:.3g}), so it is none. Make the statistics anew."
            )
        self._root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        self.accepted = torch.zeros(0, len(reference.mean), dtype=torch.float64)
        if accepted is not None:
            self.accept(accepted)

    def accept(self, images: torch.Tensor) -> None:
        """Add images [N, H, W, 3] to the set."""
        self.accepted = torch.cat([self.accepted, self._features(reference_images(images, self.name))])

    def judge(self, batch: Batch) -> torch.Tensor:
        return torch.stack([-self._with(candidate) for candidate in self._features(batch.images)]).float()

    def _with(self, candidate: torch.Tensor) -> torch.Tensor:
        mm.throw_exception_if_processing_interrupted()
        return self.distance(torch.cat([self.accepted, candidate[None]]))

    def distance(self, features: torch.Tensor) -> torch.Tensor:
        """The Frechet distance of features [N, D] to the reference; one image has no spread."""
        mean = features.mean(0)
        scattered = (features - mean) / max(len(features) - 1, 1) ** 0.5
        # The trace of the root of the product of both covariances: a sum of singular values, without a matrix root.
        shared = torch.linalg.svdvals(scattered @ self._root).sum()
        return (
            (mean - self.reference.mean).square().sum()
            + scattered.square().sum()
            + self.reference.covariance.trace()
            - 2 * shared
        )

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features.image_features(images).double()
        if features.shape[1] != len(self.reference.mean):
            raise ValueError(
                f"The reference statistics have {len(self.reference.mean)} features and this network gives {features.shape[1]}: use the same network."
            )
        return features
