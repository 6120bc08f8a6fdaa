"""What a search costs that is written down as one would say it: the baseline that ours is compared with. Uses nothing of the pack.

Batch 1; the pivot paid again in each round; a decode and a verdict for every candidate; everything kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy.sample
import torch


@dataclass
class Naive:
    """guider, sampler, sigmas, latent: of a stock SamplerCustomAdvanced. decode: latents -> images. judge: images -> scores."""

    guider: object
    sampler: object
    sigmas: torch.Tensor
    latent: torch.Tensor
    decode: object
    judge: object
    noises: list = field(default_factory=list)
    latents: list = field(default_factory=list)
    images: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    def candidate(self, noise, seed) -> int:
        """Sample, decode and judge one noise; returns its place in the lists."""
        samples = self.guider.sample(
            noise, self.latent, self.sampler, self.sigmas, seed=seed, disable_pbar=True
        )
        image = self.decode(samples)
        self.noises.append(noise)
        self.latents.append(samples)
        self.images.append(image)
        self.scores.append(float(self.judge(image)[0]))
        return len(self.scores) - 1

    def random(self, seed: int, count: int) -> float:
        """The best score of `count` random noises."""
        for i in range(count):
            self.candidate(comfy.sample.prepare_noise(self.latent, seed + i), seed + i)
        return max(self.scores)

    def zero_order(self, seed: int, rounds: int, neighbours: int, cosine: float) -> float:
        """The best score after `rounds` rounds of hill climbing."""
        pivot = comfy.sample.prepare_noise(self.latent, seed)
        for round in range(rounds):
            tried = [self.candidate(pivot, seed)]
            for i in range(neighbours):
                direction = comfy.sample.prepare_noise(self.latent, seed + 1000 * (round + 1) + i)
                tried.append(self.candidate(near(pivot, direction, cosine), seed))
            pivot = self.noises[max(tried, key=lambda id: self.scores[id])]
        return max(self.scores)


def near(noise, direction, cosine):
    """A noise of the same norm at this cosine similarity."""
    unit = noise / noise.norm()
    across = direction - (direction * unit).sum() * unit
    return noise.norm() * (cosine * unit + (1 - cosine**2) ** 0.5 * across / across.norm())
