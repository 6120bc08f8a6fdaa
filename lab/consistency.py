"""sCM: continuous-time consistency models in TrigFlow (Lu and Song 2024, arXiv 2410.11081), distilled (sCD) or trained alone (sCT).

    x_t = cos t x0 + sin t z, z ~ N(0, s^2 I), s = sigma_data         f(x, t) = cos t x - sin t s F(x / s, t), the clean sample

A consistency model gives the same f all along a path of the probability flow, so its tangent df/dt is driven to zero. Every stabiliser is a switch of `Recipe`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, jvp

HALF_PI = math.pi / 2


@dataclass(frozen=True)
class Recipe:
    """How a consistency model is trained. The defaults are the paper's, but for `prior_weight`, which at small size is better left out."""

    distil: bool = True  # dx/dt from a teacher (sCD); else from the data and its noise (sCT)
    p_mean: float = -1.0  # of the log-normal tau, t = arctan(e^tau / s)
    p_std: float = 1.4
    warm_up: int = 300  # iterations over which the unstable part of the tangent comes in; 0 = at once
    normalise: bool = True  # tangent / (rms + c)
    c: float = 0.1
    adaptive_weight: bool = False  # e^w(t) learned along with the net
    prior_weight: bool = False  # 1 / (s tan t)
    finite_difference: float = (
        0.0  # step of a one-sided difference in place of the exact forward derivative; 0 = exact
    )
    levels: int = 0  # discrete time: the tangent is f's change over one of so many levels, by a step of the teacher; 0 = continuous time
    anchor: float = 0.0  # weight of a flow-matching loss beside it, as in FACM (arXiv 2507.03738)
    sigma_data: float = 1.0


def angles(count, recipe, generator=None):
    """[count] angles in (0, pi/2): stratified log-normal tau."""
    even = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    tau = recipe.p_mean + recipe.p_std * math.sqrt(2) * torch.erfinv((2 * even - 1).clamp(-0.9999, 0.9999))
    return torch.atan(tau.exp() / recipe.sigma_data)


def column(t, x):
    """t [B] shaped to multiply x [B, ...]."""
    return t.view(-1, *[1] * (x.ndim - 1))


def denoise(F, x, t, s=1.0):
    """f(x, t) for a network F(x / s, t)."""
    c = column(t, x)
    return c.cos() * x - c.sin() * s * F(x / s, t)


def derivative(F, x, t, speed, s=1.0, step=0.0):
    """(F, cos t sin t dF/dt) at (x / s, t) along dx/dt = speed: exact, or a one-sided difference of that step.

    The factor cos t sin t keeps the tangent finite at both ends (the paper's rearranged JVP).
    """
    factor = t.cos() * t.sin()
    along = column(factor, x) * speed / s
    if not step:
        return jvp(F, (x / s, t), (along, factor))
    here = F(x / s, t)
    return here, (F(x / s + step * along, t + step * factor) - here) / step


def tangent(value, slope, x, t, speed, r, recipe):
    """g, the direction in which F must move: -cos^2 t (s F - dx/dt) - r (cos t sin t x + s cos t sin t dF/dt), normalised."""
    s, c = recipe.sigma_data, column(t, x)
    return bounded(-(c.cos() ** 2) * (s * value - speed) - r * (c.cos() * c.sin() * x + s * slope), recipe)


def bounded(g, recipe):
    """The tangent g, normalised where the recipe says so."""
    if not recipe.normalise:
        return g
    return g / column(g.flatten(1).square().mean(1).sqrt() + recipe.c, g)


def discrete_tangent(F, value, x, t, speed, recipe):
    """What g becomes in discrete time: cos t times the change of f over pi / (2 levels), along one step of the teacher (a rotation, which is DDIM)."""
    s, lower = recipe.sigma_data, (t - HALF_PI / recipe.levels).clamp(min=0)
    turn, c = column(t - lower, x), column(t, x)
    here = c.cos() * x - c.sin() * s * value
    below = denoise(F, turn.cos() * x - turn.sin() * speed, lower, s)
    return bounded(c.cos() * (here - below) / turn, recipe)


class Weight(nn.Module):
    """w(t): a linear layer on a few cosines, zero at first. Its optimum is minus the log of the loss at t, so that all t weigh the same."""

    def __init__(self, waves=8):
        super().__init__()
        self.register_buffer("waves", torch.arange(waves).float())
        self.out = nn.Linear(waves, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, t):
        return self.out((2 * t[:, None] * self.waves).cos()).squeeze(-1)


def loss(F, x0, t, noise, iteration, recipe, teacher=None, weight=None):
    """The consistency loss of one batch. F(x / s, t) has gradients; teacher: the same signature, for sCD; weight: a Weight or None."""
    s, c = recipe.sigma_data, column(t, x0)
    z = s * noise
    x = c.cos() * x0 + c.sin() * z
    straight = c.cos() * z - c.sin() * x0
    r = min(1.0, (iteration + 1) / recipe.warm_up) if recipe.warm_up else 1.0
    with torch.no_grad():
        speed = s * teacher(x / s, t) if recipe.distil else straight
        if recipe.levels:
            value = F(x / s, t)
            g = discrete_tangent(F, value, x, t, speed, recipe)
        else:
            value, slope = derivative(F, x, t, speed, s, recipe.finite_difference)
            g = tangent(value, slope, x, t, speed, r, recipe)
    moved = F(x / s, t)
    error = (moved - value - g).flatten(1).square().mean(1)
    if recipe.prior_weight:
        error = error / (s * t.tan()).clamp(min=1e-4)
    total = error.mean() if weight is None else (weight(t).exp() * error - weight(t)).mean()
    if recipe.anchor:
        total = total + recipe.anchor * (s * moved - straight).square().mean()
    return total


def diffusion_loss(F, x0, t, noise, s=1.0):
    """The TrigFlow diffusion loss: s F against cos t z - sin t x0."""
    c, z = column(t, x0), s * noise
    x = c.cos() * x0 + c.sin() * z
    return (s * F(x / s, t) - (c.cos() * z - c.sin() * x0)).square().mean()


def discrete_loss(F, target, x0, noise, steps, recipe, teacher, generator=None):
    """Discrete-time consistency distillation: f at one of `steps` angles against the target's f one step of the teacher further down."""
    s = recipe.sigma_data
    place = torch.randint(1, steps + 1, (len(x0),), generator=generator)
    t, lower = place / steps * HALF_PI, (place - 1) / steps * HALF_PI
    x = column(t, x0).cos() * x0 + column(t, x0).sin() * s * noise
    with torch.no_grad():
        speed = s * teacher(x / s, t)
        turn = column(t - lower, x0)
        below = turn.cos() * x - turn.sin() * speed  # one rotation, which is DDIM
        wanted = denoise(target, below, lower, s)
    return ((denoise(F, x, t, s) - wanted).square().flatten(1).mean(1)).mean() * steps


@torch.no_grad()
def multistep(F, noise, levels, s=1.0, generator=None):
    """Samples by multistep consistency: noise [B, ...] of unit scale, the first of `levels` (angles) first."""
    x = s * noise
    for i, level in enumerate(levels):
        t = x.new_full((len(x),), float(level))
        clean = denoise(F, x, t, s)
        if i + 1 < len(levels):
            fresh = s * torch.randn(x.shape, dtype=x.dtype, generator=generator)
            x = math.cos(levels[i + 1]) * clean + math.sin(levels[i + 1]) * fresh
    return clean


@torch.no_grad()
def rotate(F, noise, levels, s=1.0):
    """Samples of the probability flow: first-order steps, each a rotation by the difference of two angles, down to 0."""
    x = s * noise
    for t, lower in zip(levels, [*levels[1:], 0.0]):
        speed = s * F(x / s, x.new_full((len(x),), float(t)))
        x = math.cos(t - lower) * x - math.sin(t - lower) * speed
    return x


def from_flow(velocity):
    """The TrigFlow network F(x, t), s = 1, of a flow-matching one, velocity(x, sigma) = noise - data. Exact, nothing is trained.

    sigma = sin t / D, D = cos t + sin t: the flow's sample is x / D, and F = ((cos t - sin t) x + velocity) / D.
    """

    def F(x, t):
        c = column(t, x)
        D = c.cos() + c.sin()
        return ((c.cos() - c.sin()) * x + velocity(x / D, t.sin() / (t.cos() + t.sin()))) / D

    return F


def flow_time(angle):
    """sigma of a TrigFlow angle when s = 1."""
    return math.sin(angle) / (math.sin(angle) + math.cos(angle))


class Average:
    """An exponential moving average of a module's parameters, young at first."""

    def __init__(self, module, decay):
        self.decay, self.module = decay, module
        self.values = [p.detach().clone() for p in module.parameters()]
        self.count = 0

    @torch.no_grad()
    def update(self):
        self.count += 1
        share = 1 - min(self.decay, self.count / (10 + self.count))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.module.parameters()], share)

    def state(self):
        """A state dict of the module with averaged parameters."""
        names = [name for name, _ in self.module.named_parameters()]
        return {**self.module.state_dict(), **dict(zip(names, (v.clone() for v in self.values)))}


def bind(module, state):
    """The module as a function, with other tensors for its parameters."""
    return lambda *inputs: functional_call(module, state, inputs)
