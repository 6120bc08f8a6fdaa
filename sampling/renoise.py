"""The forward process between two noise levels (paper section 3, step 2 of search over paths)."""

from __future__ import annotations

import torch

from .levels import Levels, Values


def coefficients(levels: Levels, low: Values, high: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, spread) in x_r = scale x_s + spread z, with z standard normal: from level s = `low` up to r = `high` (model sigmas).

        scale = a_r / a_s      spread^2 = b_r^2 - (a_r / a_s)^2 b_s^2

    float64. Raises ValueError where `high` is less noisy than `low`.
    """
    (a_s, b_s), (a_r, b_r) = levels.coefficients(low), levels.coefficients(high)
    scale = a_r / a_s
    variance = b_r**2 - scale**2 * b_s**2
    if bool((variance < -1e-12 * b_r**2).any()):
        raise ValueError(
            f"Noise can be put back only upwards: from sigma {low} to a higher one, not to {high}."
        )
    return scale, variance.clamp(min=0).sqrt()


def renoise(levels: Levels, x: torch.Tensor, low: Values, high: Values, noise: torch.Tensor) -> torch.Tensor:
    """A sample at level `low`, noised up to `high`. x, noise: [B, ...] in model space; the levels are model sigmas."""
    scale, spread = coefficients(levels, low, high)
    return float(scale) * x + float(spread) * noise.to(x)
