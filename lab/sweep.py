"""Which integrator is best depends on the data: three of them on the probability flow of N(0, spread^2), where the truth is a formula."""

from __future__ import annotations

import torch

from . import samplers, weightings
from .interpolants import Cosine, Flow

SPREADS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0)


def integrator_errors(spread, steps=8, low=-8.0, high=8.0):
    """{integrator: relative error of the final sample} over log-SNRs from low to high.

    flow time: Euler in flow time, which is DDIM, evenly spaced there; log-SNR: DDIM, evenly spaced in log-SNR; angle: Euler on the circle, evenly spaced in its angle.
    """
    ends = torch.tensor([low, high], dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    alpha, sigma = samplers.circle(ends)
    deviation = (alpha**2 * spread**2 + sigma**2).sqrt()
    truth = deviation[1] / deviation[0]

    def denoiser(z, log_snr):
        a, b = samplers.circle(log_snr)
        return a * spread**2 / (a**2 * spread**2 + b**2) * z

    flow = torch.linspace(*Flow().time(ends).tolist(), steps + 1, dtype=torch.float64)
    angle = torch.linspace(*Cosine().time(ends).tolist(), steps + 1, dtype=torch.float64)
    found = {
        "flow time": samplers.sample(denoiser, one, Flow().log_snr(flow)),
        "log-SNR": samplers.sample(denoiser, one, torch.linspace(low, high, steps + 1, dtype=torch.float64)),
        "angle": samplers.euler_of_probability_flow(
            lambda x, s: x * spread**2 / (spread**2 + s**2), one, Cosine(), angle
        ),
    }
    return {name: float((z / truth - 1).abs()) for name, z in found.items()}


def loss_spread(schedule, low=-7.0, high=9.0, draws=20_000, spread=0.7):
    """Mean and relative spread of one draw of a sigmoid-weighted loss, for N(0, spread^2) data and the best denoiser, with lambda drawn by a schedule's uniform time."""
    ends = schedule.time(torch.tensor([high, low], dtype=torch.float64))
    place = torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    log_snr = schedule.log_snr(ends[0] + (ends[1] - ends[0]) * place)
    error = spread**2 / (spread**2 + (-log_snr).exp())
    drawn = weightings.sigmoid(log_snr) / weightings.density(schedule, log_snr) * error * (ends[1] - ends[0])
    return {"loss": float(drawn.mean()), "relative spread": float(drawn.std() / drawn.mean())}
