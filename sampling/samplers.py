"""Custom k-samplers: noise reinjection around any single-step sampler, and multistep consistency sampling.

Both have k-diffusion's signature. A list of seeds in extra_args["seed"], one per row, gives every row the noise it would draw alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.samplers import KSAMPLER

from ..search.seeds import mix
from .levels import Levels
from .proof import at_home
from .renoise import renoise
from .schedule import SNAP
from .solvers import TREE, Solver, row_noise
from .toy import learn, steps_alone

SINGLE_STEP = frozenset(
    (
        "sample_euler",
        "sample_heun",
        "sample_dpm_2",
        "sample_euler_cfg_pp",
        "sample_euler_ancestral",
        "sample_euler_ancestral_cfg_pp",
        "sample_dpm_2_ancestral",
        "sample_dpmpp_2s_ancestral",
        "sample_dpmpp_2s_ancestral_cfg_pp",
        "sample_dpmpp_sde",
        "sample_dpmpp_sde_gpu",
        "sample_ddpm",
        "sample_lcm",
        "sample_seeds_2",
        "sample_seeds_3",
    )
)


Step = Callable[[dict], None]  # what a sampler reports each step to

DEEPEST = 1e-2  # no step overshoots to less than this share of its own sigma: below, float32 divides nothing by nothing


def overshoot(log_snr_from: torch.Tensor, log_snr_to: torch.Tensor, churn: float) -> torch.Tensor:
    """Where a step from one log-SNR to another must go so that falling back by `churn`, its share of the progress, lands on the target.

        d = to - from      from + d / (1 - churn)

    churn = 0.5: a deterministic step of 2d, then noise worth d, which is exactly the DDPM step of d for DDIM / Euler in flow time.
    """
    return log_snr_from + (log_snr_to - log_snr_from) / (1 - churn)


def reinject_noise(
    sampler: KSAMPLER, churn: float, start: float = 1.0, end: float = 0.0, s_noise: float = 1.0
) -> KSAMPLER:
    """A SAMPLER that makes every step of a single-step SAMPLER which lies within the flow-time window [end, start] too long, and noises back up to the user's grid.

    churn: in [0, 1), the share of the progress undone; 0 is the wrapped sampler to the bit. s_noise: scale of the noise put back, 1 = exact.
    Steps that touch an infinite log-SNR (pure noise, clean image) are left alone. Raises ValueError for other samplers.
    """
    solver = Solver(sampler)
    if not (solver.name in SINGLE_STEP and at_home(solver.function)) and not steps_alone(solver):
        raise ValueError(
            f"Noise can be reinjected between the steps of single-step samplers only, as {solver.name.removeprefix('sample_')} is not known to be: others look at earlier or "
            f"later steps. Choose one of: {', '.join(sorted(name.removeprefix('sample_') for name in SINGLE_STEP))}."
        )
    if not 0.0 <= churn < 1.0:
        raise ValueError(f"Churn is the share of each step that is undone, from 0 to below 1, not {churn}.")
    if not 0.0 <= end <= start <= 1.0:
        raise ValueError(
            f"The window runs down in flow time: 1 >= start >= end >= 0, but start = {start}, end = {end}."
        )

    def sample_reinject_noise(
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict | None = None,
        callback: Step | None = None,
        disable: bool | None = None,
        s_noise: float = 1.0,
        **options: Any,
    ) -> torch.Tensor:
        extra_args = {"model_options": {}, **(extra_args or {})}
        seeds = _seeds(extra_args)
        wrapped = Solver(KSAMPLER(solver.function, {**solver.options, **options}))
        sampling = model.inner_model.inner_model.model_sampling
        learn(wrapped, sampling, sigmas)
        levels = Levels(sampling)
        targets = [_target(levels, sigmas, i, churn, start, end) for i in range(len(sigmas) - 1)]
        if not any(target is not None for target in targets):
            return wrapped.run(
                model,
                x,
                sigmas,
                seeds,
                extra_args["model_options"],
                extra_args.get("denoise_mask"),
                callback,
                disable,
            )
        draw = row_noise(x, [mix(seed, 3) for seed in seeds])  # not the noise that the wrapped sampler draws
        stock = wrapped.noise_sources(x, sigmas, seeds)
        for i, target in enumerate(targets):
            stop = sigmas[i + 1] if target is None else target
            step = torch.stack([sigmas[i], stop])
            # steps that go too far overlap, and one Brownian path would give two of them the same noise there
            sources = (
                wrapped.noise_sources(x, step, [mix(seed, 4, i) for seed in seeds])
                if target is not None and wrapped.draws == TREE
                else stock
            )
            x = wrapped.run(
                model,
                x,
                step,
                seeds,
                dict(extra_args["model_options"]),
                extra_args.get("denoise_mask"),
                _at(callback, i),
                True,
                sources,
            )
            if target is not None:
                x = renoise(levels, x, target, sigmas[i + 1], s_noise * draw(target, sigmas[i + 1]))
        return x

    return KSAMPLER(
        _seeded(sample_reinject_noise, solver.batches), {"s_noise": s_noise}, sampler.inpaint_options
    )


def _target(
    levels: Levels, sigmas: torch.Tensor, i: int, churn: float, start: float, end: float
) -> torch.Tensor | None:
    """The model sigma that step i overshoots to; None for a step left alone."""
    times = levels.time(sigmas[i : i + 2])
    if churn == 0.0 or not (
        times[1] > 0.0 and times[0] < 1.0 and times[0] <= start + SNAP and times[1] >= end - SNAP
    ):
        return None
    before, after = levels.log_snr(sigmas[i : i + 2])
    return (
        levels.sigma_from_log_snr(overshoot(before, after, churn))
        .float()
        .to(sigmas)
        .clamp(min=DEEPEST * float(sigmas[i + 1]))
    )


def multistep_consistency(
    angles: list[float] | None = None, times: list[float] | None = None, sigma_data: float = 1.0
) -> KSAMPLER:
    """Multistep consistency sampling (sCM, arXiv 2410.11081, in TrigFlow): x_r = a_r D(x_s) + b_r z from the first level to the last.

    angles: intermediate levels as TrigFlow angles in (0, pi/2), falling, on a latent scale of sigma_data. times: or as flow times in (0, 1).
    Neither: the levels of the schedule it is given, which on an ordinary model is the stochastic sampler of latent consistency models (`lcm`).
    """
    for name, values, most in (("angles", angles, torch.pi / 2), ("flow times", times, 1.0)):
        if values is not None and (
            not values
            or any(not 0.0 < v < most for v in values)
            or any(b >= a for a, b in zip(values, values[1:]))
        ):
            raise ValueError(
                f"Intermediate {name} lie between 0 and {most:.4g} and fall from step to step, but got {values}."
            )
    if not sigma_data > 0.0:
        raise ValueError(f"sigma_data is the spread of clean latents, above 0, not {sigma_data}.")

    def sample_multistep_consistency(
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict | None = None,
        callback: Step | None = None,
        disable: bool | None = None,
    ) -> torch.Tensor:
        extra_args = {"model_options": {}, **(extra_args or {})}
        sampling = model.inner_model.inner_model.model_sampling
        grid = (
            sigmas
            if angles is None and times is None
            else _grid(Levels(sampling), sigmas, angles, times, sigma_data)
        )
        draw = row_noise(x, _seeds(extra_args))
        ones = x.new_ones([x.shape[0]])
        extra_args = {**extra_args, "seed": _seeds(extra_args)[0]}
        for i in range(len(grid) - 1):
            denoised = model(x, grid[i] * ones, **extra_args)
            if callback is not None:
                callback({"x": x, "i": i, "sigma": grid[i], "sigma_hat": grid[i], "denoised": denoised})
            x = (
                denoised
                if grid[i + 1] == 0
                else sampling.noise_scaling(grid[i + 1], draw(grid[i], grid[i + 1]), denoised)
            )
        return x

    return KSAMPLER(_seeded(sample_multistep_consistency, True))


def _grid(
    levels: Levels,
    sigmas: torch.Tensor,
    angles: list[float] | None,
    times: list[float] | None,
    sigma_data: float,
) -> torch.Tensor:
    """The first and last of the schedule's sigmas, and the intermediate levels between them."""
    inner = levels.sigma(times or ()) if angles is None else levels.sigma_from_angle(angles, sigma_data)
    inner = inner.float().to(sigmas)
    inner = inner[(inner < sigmas[0]) & (inner > sigmas[-1])]
    return torch.cat([sigmas[:1], inner, sigmas[-1:]])


def _seeded(function: Any, per_row: bool) -> Any:
    """The sampler function, which says whether it takes a seed per row."""
    function.seeds_per_row = per_row
    return function


def _seeds(extra_args: dict) -> list[int]:
    seed = extra_args.get("seed") or 0
    return list(seed) if isinstance(seed, (list, tuple)) else [seed]


def _at(callback: Step | None, step: int) -> Step | None:
    """The callback of a one-step piece, told which step of the whole it is."""
    return None if callback is None else lambda info: callback({**info, "i": step})
