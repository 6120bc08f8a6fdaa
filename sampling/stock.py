"""What the stock KSampler does with its widgets, in parts."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch

from ..compat import fix_empty_latent
from ..untrusted import choice
from .ledger import Ledger

LONGEST = 1_000_000  # steps of a schedule of which denoise takes the end: what KSampler's widgets go to


def cfg_guider(model: Any, positive: list, negative: list, cfg: float) -> Any:
    """The guider of a stock KSampler."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def ksampler_sigmas(
    model: Any, steps: int, sampler_name: str, scheduler: str, denoise: float
) -> torch.Tensor:
    """The sigmas of a stock KSampler, none for denoise 0. ValueError for names that ComfyUI would quietly take for others."""
    choice(sampler_name, comfy.samplers.KSampler.SAMPLERS, "sampler")
    choice(scheduler, comfy.samplers.KSampler.SCHEDULERS, "scheduler")
    if denoise > 0 and steps / denoise > LONGEST:
        raise ValueError(
            f"{steps} steps at denoise {denoise:.3g} are the end of a schedule of {steps / denoise:.3g} steps; at most {LONGEST} can be made. Raise denoise."
        )
    return comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options
    ).sigmas


def ksample(guider: Any, sampler: Any, sigmas: torch.Tensor, latent: dict, seed: int) -> tuple[dict, Ledger]:
    """A stock KSampler run; returns its LATENT and what it cost."""
    model, ledger = guider.model_patcher, Ledger()
    latent = fix_empty_latent(model, latent)
    noise = comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))
    callback = latent_preview.prepare_callback(model, len(sigmas) - 1)
    samples = ledger.watch(guider).sample(
        noise,
        latent["samples"],
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return {**latent, "samples": samples.to(mm.intermediate_device())}, ledger
