"""How near a population of digits comes to real ones: the Frechet distance, precision and recall along 16 axes of the judge's features.

The reference is a file, made once and before any training (`python tools/train_lab.py features`), so that no number can choose its own ruler.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

REFERENCE = Path(__file__).resolve().parent / "data" / "digits_features.safetensors"
AXES = 16
NEIGHBOURS = 3


@dataclass(frozen=True)
class Reference:
    """Real digits: the centre [D] and axes [D, 16] of their features, and where each lies along them [N, 16]."""

    centre: torch.Tensor
    axes: torch.Tensor
    points: torch.Tensor

    def project(self, features):
        return (features.double() - self.centre) @ self.axes


def make_reference(features, path=REFERENCE):
    """Write the reference from features [N, D] of real digits."""
    raw = features.double()
    centre = raw.mean(0)
    axes = torch.linalg.svd(raw - centre, full_matrices=False).Vh[:AXES].T
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "centre": centre.float(),
            "axes": axes.float().contiguous(),
            "points": ((raw - centre) @ axes).float().contiguous(),
        },
        path,
    )


@cache
def reference(path=REFERENCE):
    return Reference(**{name: value.double() for name, value in load_file(path).items()})


def frechet(points, others):
    """The Frechet distance between Gaussians fitted to points [N, D] and others [M, D]."""
    a, b = torch.cov(points.T), torch.cov(others.T)
    values, vectors = torch.linalg.eigh(b)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ a @ root).clamp(min=0).sqrt().sum()
    return float((points.mean(0) - others.mean(0)).square().sum() + a.trace() + b.trace() - 2 * shared)


def within(points, others):
    """Share of points that lie within the radius of some other, which reaches to its third neighbour of its own kind (Kynkaanniemi et al. 2019)."""
    radius = torch.cdist(others, others).kthvalue(NEIGHBOURS + 1, dim=1).values
    return float((torch.cdist(points, others) <= radius).any(1).double().mean())


def measure(features, real=None):
    """Frechet distance, precision and recall of features [N, D]; precision and recall as means over parts as large as the reference."""
    real = real or reference()
    points = real.project(features)
    parts = [part for part in points.split(len(real.points)) if len(part) == len(real.points)] or [points]
    return {
        "fid": frechet(points, real.points),
        "precision": sum(within(part, real.points) for part in parts) / len(parts),
        "recall": sum(within(real.points, part) for part in parts) / len(parts),
        "samples": len(points),
    }


def fid_error(features, draws=200, real=None):
    """Half of the 95 % interval of a Frechet distance: 1.96 times its spread over bootstrap draws of the samples (the reference is held)."""
    real = real or reference()
    points, generator = real.project(features), torch.Generator().manual_seed(0)
    again = (points[torch.randint(len(points), (len(points),), generator=generator)] for _ in range(draws))
    return 1.96 * float(torch.tensor([frechet(part, real.points) for part in again]).std())


def floor(count, draws=20, real=None):
    """What `count` of the real digits themselves come to, on average: a Frechet distance of few samples is not 0 for the best of them."""
    real = real or reference()
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randperm(len(real.points), generator=generator)[:count] for _ in range(draws)]
    return sum(frechet(real.points[part], real.points) for part in parts) / draws
