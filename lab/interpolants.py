"""One formulation of diffusion and flow matching: every model adds noise as z = alpha x + sigma eps, and every network output is a mix of x and eps.

What a schedule calls time is a matter of taste: two schedules at the same log-SNR, lambda = 2 log(alpha / sigma), hold the same sample but for its scale. Gao et al. 2024.
All of it works in the dtype it is given; the tests use float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.func import jvp


# Schedules


@dataclass(frozen=True)
class Schedule:
    """alpha and sigma as functions of time, and back from log-SNR; `start` (nearly clean) to `end` (noise)."""

    start: float = 1e-3
    end: float = 1 - 1e-3

    def alpha(self, t):
        raise NotImplementedError

    def sigma(self, t):
        raise NotImplementedError

    def time(self, log_snr):
        raise NotImplementedError

    def log_snr(self, t):
        return 2 * (self.alpha(t).log() - self.sigma(t).log())


@dataclass(frozen=True)
class Flow(Schedule):
    """Straight lines from data to noise."""

    def alpha(self, t):
        return 1 - t

    def sigma(self, t):
        return t

    def time(self, log_snr):
        return torch.sigmoid(-log_snr / 2)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Nichol and Dhariwal 2021 without their offset; variance preserving."""

    def alpha(self, t):
        return (math.pi / 2 * t).cos()

    def sigma(self, t):
        return (math.pi / 2 * t).sin()

    def time(self, log_snr):
        return (-log_snr / 2).exp().atan() / (math.pi / 2)


@dataclass(frozen=True)
class TrigFlow(Schedule):
    """The same circle with the angle itself as time, for data of spread `sigma_data`: z = cos t x + sin t sigma_data eps."""

    sigma_data: float = 1.0
    end: float = math.pi / 2 - 1e-3

    def alpha(self, t):
        return t.cos()

    def sigma(self, t):
        return self.sigma_data * t.sin()

    def time(self, log_snr):
        return ((-log_snr / 2).exp() / self.sigma_data).atan()


@dataclass(frozen=True)
class VP(Schedule):
    """Variance preserving with a linear beta (Ho et al. 2020, Song et al. 2021)."""

    low: float = 0.1
    high: float = 20.0

    def _integral(self, t):
        return self.low * t + (self.high - self.low) * t**2 / 2

    def alpha(self, t):
        return (-self._integral(t) / 2).exp()

    def sigma(self, t):
        return (-torch.expm1(-self._integral(t))).sqrt()

    def time(self, log_snr):
        area = torch.nn.functional.softplus(-log_snr)  # the integral of beta: alpha^2 = sigmoid(lambda)
        slope = self.high - self.low
        return 2 * area / ((self.low**2 + 2 * slope * area).sqrt() + self.low)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding, sigma geometric in time."""

    low: float = 0.01
    high: float = 100.0
    start: float = 0.0
    end: float = 1.0

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return self.low * (t * math.log(self.high / self.low)).exp()

    def time(self, log_snr):
        return (-log_snr / 2 - math.log(self.low)) / math.log(self.high / self.low)


SCHEDULES = {
    "flow": Flow(),
    "cosine": Cosine(),
    "TrigFlow": TrigFlow(),
    "TrigFlow, sigma_data 0.5": TrigFlow(sigma_data=0.5),
    "VP": VP(),
    "VE": VE(),
}


def convert(z, t, source, target):
    """The sample z of one schedule at time t as another schedule holds it: (z, t) there. Same log-SNR, another scale."""
    there = target.time(source.log_snr(t))
    return z * (target.alpha(there) / source.alpha(t)), there


# Network outputs. Each is p x + q eps; (p, q) at given alpha and sigma:

PREDICTIONS = {
    "x0": lambda alpha, sigma, s: (torch.ones_like(alpha), torch.zeros_like(alpha)),
    "eps": lambda alpha, sigma, s: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "v": lambda alpha, sigma, s: (-sigma / torch.hypot(alpha, sigma), alpha / torch.hypot(alpha, sigma)),
    "F": lambda alpha, sigma, s: (
        -(sigma / s) / torch.hypot(alpha, sigma / s) / s,
        alpha / torch.hypot(alpha, sigma / s),
    ),
    "flow": lambda alpha, sigma, s: (-torch.ones_like(alpha), torch.ones_like(alpha)),
}


def output(kind, x, eps, alpha, sigma, s=1.0):
    """What a perfect network of that kind gives for a clean x and a noise eps. s: sigma_data of F (TrigFlow)."""
    p, q = PREDICTIONS[kind](alpha, sigma, s)
    return p * x + q * eps


def clean_and_noise(kind, value, z, alpha, sigma, s=1.0):
    """(x, eps) that a network output and the noisy z imply: two equations, two unknowns."""
    p, q = PREDICTIONS[kind](alpha, sigma, s)
    determinant = alpha * q - sigma * p
    return (q * z - sigma * value) / determinant, (alpha * value - p * z) / determinant


def translate(source, target, value, z, alpha, sigma, s=1.0):
    """A network output of one kind as another kind."""
    return output(target, *clean_and_noise(source, value, z, alpha, sigma, s), alpha, sigma, s)


# Diffusion's words for a process are (f, g, eta), flow matching's (alpha, sigma, epsilon)


def rate(function, t):
    """d function / dt, exactly."""
    t = t.clone(memory_format=torch.contiguous_format)  # forward derivatives refuse expanded tensors
    return jvp(function, (t,), (torch.ones_like(t),))[1]


def drift_and_diffusion(schedule, t):
    """(f, g^2) of the forward process dz = f z dt + g dW: f = d log alpha / dt, g^2 = 2 alpha sigma d(sigma / alpha) / dt."""
    f = rate(lambda u: schedule.alpha(u).log(), t)
    ratio = rate(lambda u: schedule.sigma(u) / schedule.alpha(u), t)
    return f, 2 * schedule.alpha(t) * schedule.sigma(t) * ratio


def alpha_and_sigma(f, g_squared, start, t, alpha_start, sigma_start, pieces=8):
    """(alpha, sigma) at times t from functions f and g^2: alpha = exp(int f), sigma = alpha (int g^2 / alpha^2)^(1/2).

    Integrated by Gauss-Legendre from `start`, where both are known; the inner integral at every node of the outer one.
    """
    nodes, weights = (torch.as_tensor(v, dtype=t.dtype) for v in _gauss(24))
    log_alpha = lambda a, b: _integral(f, a, b, nodes, weights, pieces)  # noqa: E731
    begin = torch.as_tensor(start, dtype=t.dtype).expand_as(t)

    def grown(u):
        return (
            g_squared(u)
            * (-2 * (math.log(alpha_start) + log_alpha(begin[..., None, None].expand_as(u), u))).exp()
        )

    alpha = (math.log(alpha_start) + log_alpha(begin, t)).exp()
    spread = (sigma_start / alpha_start) ** 2 + _integral(grown, begin, t, nodes, weights, pieces)
    return alpha, alpha * spread.sqrt()


def _integral(function, a, b, nodes, weights, pieces):
    """The integral of a function from a to b (elementwise), in `pieces` equal pieces."""
    width = (b - a)[..., None, None] / pieces
    places = a[..., None, None] + width * (torch.arange(pieces, dtype=a.dtype)[:, None] + (nodes + 1) / 2)
    return (function(places) * weights * width / 2).sum((-1, -2))


def _gauss(count):
    import numpy as np

    return np.polynomial.legendre.leggauss(count)


def epsilon_of(eta, schedule, t):
    """Flow matching's noise rate epsilon from diffusion's eta: epsilon = eta g."""
    return eta * drift_and_diffusion(schedule, t)[1].sqrt()


def eta_of(epsilon, schedule, t):
    """Diffusion's eta from flow matching's epsilon."""
    return epsilon / drift_and_diffusion(schedule, t)[1].sqrt()


def diffusion_drift(z, score, f, g_squared, eta):
    """The drift of the generating process in diffusion's words: dz = (f z - (1 + eta^2) / 2 g^2 score) dt + eta g dW, time running down."""
    return f * z - (1 + eta**2) / 2 * g_squared * score


def flow_drift(velocity, score, epsilon):
    """The same in flow matching's words: dz = (u - epsilon^2 / 2 score) dt + epsilon dW, time running down."""
    return velocity - epsilon**2 / 2 * score


def path_velocity(schedule, t, x, eps):
    """u = alpha' x + sigma' eps, the velocity of the path through z."""
    return rate(schedule.alpha, t) * x + rate(schedule.sigma, t) * eps
