"""What a schedule that comes in through a socket must be, before anything is built on it."""

from __future__ import annotations

import torch

MOST_STEPS = 10_000  # as ComfyUI's own nodes make
HIGHEST = 1e6  # above all models' noise (80 to 5000), far below where a float32 squared overflows


def checked(sigmas: torch.Tensor) -> torch.Tensor:
    """The sigmas as float32 on the CPU. Raises ValueError unless they fall from some noise by finite steps, not too many of them."""
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError(
            f"A schedule needs at least 2 sigmas (one step), but got {tuple(sigmas.shape)}. Check steps and denoise, or the node that makes the SIGMAS."
        )
    if len(sigmas) - 1 > MOST_STEPS:
        raise ValueError(
            f"A schedule has at most {MOST_STEPS} steps, but these sigmas have {len(sigmas) - 1}. Check the node that makes the SIGMAS."
        )
    sigmas = sigmas.detach().float().cpu()
    shown = ", ".join(f"{float(sigma):.4g}" for sigma in sigmas[:12]) + (", ..." if len(sigmas) > 12 else "")
    if not bool((sigmas[1:] <= sigmas[:-1]).all()):  # nor do NaNs
        raise ValueError(f"The sigmas of a schedule fall from step to step, but got {shown}.")
    if not 0 < float(sigmas[0]) <= HIGHEST or float(sigmas[-1]) < 0:
        raise ValueError(
            f"The sigmas of a schedule fall from at most {HIGHEST:.0f} to 0 or above, and begin with some noise, but got {shown}."
        )
    return sigmas
