"""A mixture of isotropic Gaussians, for which everything is known: denoiser, score, density at every noise level."""

from __future__ import annotations

import math

import torch


class Mixture:
    """means [K, D], one spread for all, weights [K]."""

    def __init__(self, means, spread, weights=None):
        self.means, self.spread = means, float(spread)
        self.weights = (
            torch.full((len(means),), 1 / len(means), dtype=means.dtype) if weights is None else weights
        )

    def _parts(self, z, alpha, sigma):
        """Log-weight [B, K] of every component at z [B, D], and their differences [B, K, D]; alpha, sigma: numbers or [B]."""
        alpha, sigma = (torch.as_tensor(v, dtype=z.dtype).expand(len(z)) for v in (alpha, sigma))
        variance = alpha**2 * self.spread**2 + sigma**2
        gap = z[:, None] - alpha[:, None, None] * self.means
        logs = (
            self.weights.log()
            - gap.square().sum(-1) / (2 * variance[:, None])
            - z.shape[1] / 2 * (2 * math.pi * variance[:, None]).log()
        )
        return logs, gap, alpha, sigma, variance

    def log_density(self, z, alpha=1.0, sigma=0.0):
        return self._parts(z, alpha, sigma)[0].logsumexp(1)

    def score(self, z, alpha, sigma):
        logs, gap, _, _, variance = self._parts(z, alpha, sigma)
        return -(logs.softmax(1)[..., None] * gap).sum(1) / variance[:, None]

    def denoise(self, z, alpha, sigma):
        """E[x | z]."""
        logs, gap, alpha, sigma, variance = self._parts(z, alpha, sigma)
        shrink = (alpha * self.spread**2 / variance)[:, None, None]
        return (logs.softmax(1)[..., None] * (self.means + shrink * gap)).sum(1)

    def draw(self, count, generator=None):
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        return self.means[which] + self.spread * noise


def ring(modes=8, radius=1.2, spread=0.12, dtype=torch.float64):
    """The 2-D mixture of the experiments: `modes` on a ring, unequally heavy; about unit spread in all."""
    angle = torch.arange(modes, dtype=dtype) * 2 * math.pi / modes
    weights = torch.linspace(1, 2, modes, dtype=dtype)
    return Mixture(
        torch.stack([radius * angle.cos(), radius * angle.sin()], 1), spread, weights / weights.sum()
    )


def sliced_distance(a, b, directions=64):
    """Sliced Wasserstein-2 distance of two equally large samples [N, D]."""
    angle = torch.arange(directions, dtype=a.dtype) * math.pi / directions
    if a.shape[1] != 2 or len(a) != len(b):
        raise ValueError(
            f"Two samples [N, 2] of one size are compared, not {list(a.shape)} and {list(b.shape)}."
        )
    turned = torch.stack([angle.cos(), angle.sin()])
    return float(((a @ turned).sort(0).values - (b @ turned).sort(0).values).square().mean().sqrt())
