"""The noise of a seed, as stock nodes draw it for one sample of a latent batch."""

from __future__ import annotations

import comfy.model_management as mm
import comfy.sample
import torch

from .. import compat

MOST_SKIPPED = 2**28  # numbers drawn for the samples before: about 2 seconds, which cannot be cancelled


def seeded_noise(sample: torch.Tensor, seed: int, index: int) -> torch.Tensor:
    """Noise like `sample`, [1, ...]: what stock nodes give to number `index` of a batch. Ends when the user cancels.

    ValueError for an index so high that drawing the noises of all samples before it, as stock nodes do, takes too long.
    """
    _check(sample, index)
    return comfy.sample.prepare_noise(sample, seed, [index])


def quiet_noise(sample: torch.Tensor, seed: int, index: int) -> torch.Tensor:
    """The same, without moving torch's global generator: that collects a stack trace for every device that is not there."""
    _check(sample, index)
    return compat.draw_noise(sample, seed, [index])


def _check(sample: torch.Tensor, index: int) -> None:
    mm.throw_exception_if_processing_interrupted()
    if index * sample.numel() > MOST_SKIPPED:
        raise ValueError(
            f"The noise of sample {index} of a batch is drawn after those of all samples before it: too many for a latent of shape "
            f"{list(sample.shape)}, which goes up to sample {MOST_SKIPPED // sample.numel()}. Correct the index of the recipe, or the batch_index of the latent."
        )
