"""The FID oracle: greedily build the set of images whose features are distributed like a reference (Ma et al. 2025, section 4.1).

Not a judge of single images: a candidate's score is minus the Frechet distance between the reference and the images accepted so far
with the candidate added. An upper bound for what a search can do to FID, which needs the very statistics it is measured by.
"""

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management as mm
import torch

from ...untrusted import Short
from ..base import ImageVerifier, reference_images
from ..files import WrongFile, load_named, taken_for


@dataclass(frozen=True)
class Statistics(Short):
    """Mean [D] and covariance [D, D] of features, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor

    def __post_init__(self):
        size = self.mean.shape
        if len(size) != 1 or 0 in size or self.covariance.shape != (*size, *size):
            raise ValueError(
                f"Feature statistics need a mean [D] and a covariance [D, D]; these are {list(size)} and {list(self.covariance.shape)}."
            )
        if not (torch.isfinite(self.mean).all() and torch.isfinite(self.covariance).all()):
            raise ValueError("Feature statistics hold NaN or infinity.")
        if not torch.allclose(
            self.covariance, self.covariance.T, rtol=1e-3, atol=1e-6 * float(self.covariance.abs().max())
        ):
            raise ValueError("The covariance of feature statistics must be symmetric.")


def statistics_of(features):
    """Statistics of features [N, D], N >= 2, with the unbiased covariance."""
    if len(features) < 2:
        raise ValueError(
            f"Feature statistics need at least 2 images, better several times as many as features; there is {len(features)}."
        )
    features = features.double()
    return Statistics(features.mean(0), torch.cov(features.T))


def load_statistics(path):
    """Statistics from a safetensors file with `mean` and `covariance`, or an .npz with `mu` and `sigma` (as FID tools write it, arrays only)."""
    path = Path(path)
    with taken_for("feature statistics", path):
        if path.suffix.lower() == ".npz":
            return Statistics(*_arrays(path))
        state = load_named(path, ("mean", "covariance"), "feature statistics")
        return Statistics(
            state["mean"].double().clone(), state["covariance"].double().clone()
        )  # not the file's own memory


def _arrays(path):
    """mu and sigma of an .npz, as float64."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {
                name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float64))
                for name in ("mu", "sigma")
                if name in arrays
            }
    except Exception as error:
        raise WrongFile(f"{path.name} was refused: it is not a plain .npz of arrays ({error}).") from error
    if len(found) < 2:
        raise WrongFile(f"{path.name} does not hold feature statistics: it needs the arrays mu and sigma.")
    return found["mu"], found["sigma"]


class FrechetOracle(ImageVerifier):
    """Minus the Frechet distance of the accepted images and the candidate to the reference, at most 0.

    features: an object with `image_features`; accepted: images that are already in the set [N, H, W, 3].
    """

    name = "FID oracle"

    def __init__(self, features, reference, accepted=None):
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

    def accept(self, images):
        """Add images [N, H, W, 3] to the set."""
        self.accepted = torch.cat([self.accepted, self._features(reference_images(images, self.name))])

    def judge(self, batch):
        return torch.stack([-self._with(candidate) for candidate in self._features(batch.images)]).float()

    def _with(self, candidate):
        mm.throw_exception_if_processing_interrupted()
        return self.distance(torch.cat([self.accepted, candidate[None]]))

    def distance(self, features):
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

    def _features(self, images):
        features = self.features.image_features(images).double()
        if features.shape[1] != len(self.reference.mean):
            raise ValueError(
                f"The reference statistics have {len(self.reference.mean)} features and this network gives {features.shape[1]}: use the same network."
            )
        return features
