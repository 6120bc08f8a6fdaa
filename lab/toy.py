"""Consistency models on a 2-D mixture whose teacher is exact: what each stabiliser is worth, and discrete time against continuous."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace

import torch

from . import consistency as cm
from .mixture import ring, sliced_distance
from .networks import PointNet

DATA = ring(dtype=torch.float32)
BATCH = 256
FULL = cm.Recipe(p_mean=-0.3, p_std=1.5, warm_up=300)
MATCHED = (
    "discrete with sCD's weighting"  # its angles and its normalised tangent too: continuous time is its limit
)
CLEAN = {"positional": True, "double_norm": True}

# name: (changes to the recipe, changes to the network, whether diffusion comes first)
ABLATIONS = {
    "sCD, all on": ({}, {}, True),
    "without tangent normalisation": ({"normalise": False}, {}, True),
    "without warm-up": ({"warm_up": 0}, {}, True),
    "with adaptive weighting": ({"adaptive_weight": True}, {}, True),
    "with the prior weight 1 / tan t": ({"prior_weight": True}, {}, True),
    "Fourier time embedding": ({}, {"positional": False}, True),
    "without double normalisation": ({}, {"double_norm": False}, True),
    "without diffusion first": ({}, {}, False),
    "finite differences (1e-3)": ({"finite_difference": 1e-3}, {}, True),
    "with a flow-matching anchor": ({"anchor": 0.5}, {}, True),
    "sCT, all on": ({"distil": False}, {}, True),
    "sCT without tangent normalisation": ({"distil": False, "normalise": False}, {}, True),
    "sCT without warm-up": ({"distil": False, "warm_up": 0}, {}, True),
}


def exact_teacher(x, t):
    """F of the mixture, in closed form: (cos t x - D(x)) / sin t."""
    c = t[:, None]
    return (c.cos() * x - DATA.denoise(x, t.cos(), t.sin())) / c.sin().clamp(min=1e-4)


def train(model, loss, steps, rate, extra=()):
    """Minimise loss(step); the averaged parameters replace the model's. Returns whether it stayed finite."""
    optimiser = torch.optim.RAdam([*model.parameters(), *extra], lr=rate, betas=(0.9, 0.99))
    average = cm.Average(model, 0.995)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (steps - step) / (steps / 2))
        value = loss(step)
        optimiser.zero_grad()
        value.backward()
        if not math.isfinite(value.item()):
            return False
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        average.update()
    model.load_state_dict(average.state())
    return True


def diffusion(net, steps, seed):
    """A PointNet with those switches, trained as a diffusion model."""
    torch.manual_seed(seed)
    model = PointNet(**net)

    def loss(step):
        return cm.diffusion_loss(model, DATA.draw(BATCH), cm.angles(BATCH, FULL), torch.randn(BATCH, 2))

    train(model, loss, steps, 2e-3)
    return model


def consistency(model, recipe, steps, seed):
    """The model after consistency training; (finite, seconds)."""
    torch.manual_seed(seed + 1)
    weight = cm.Weight() if recipe.adaptive_weight else None
    started = time.process_time()

    def loss(step):
        x0 = DATA.draw(BATCH)
        t = cm.angles(BATCH, recipe).clamp(max=cm.HALF_PI - 1e-4)
        return cm.loss(model, x0, t, torch.randn(BATCH, 2), step, recipe, exact_teacher, weight)

    finite = train(model, loss, steps, 1e-3, () if weight is None else weight.parameters())
    return finite, time.process_time() - started


def discrete(model, grid, steps, seed):
    """The model after discrete-time consistency distillation on `grid` levels."""
    torch.manual_seed(seed + 1)
    started = time.process_time()

    def loss(step):
        return cm.discrete_loss(
            model, model, DATA.draw(BATCH), torch.randn(BATCH, 2), grid, FULL, exact_teacher
        )

    finite = train(model, loss, steps, 1e-3)
    return finite, time.process_time() - started


def worth(model, count=20_000):
    """Sliced Wasserstein distance of one- and two-step samples to the mixture."""
    generator = torch.Generator().manual_seed(4)
    truth, noise = DATA.draw(count, generator), torch.randn(count, 2, generator=generator)
    found = {}
    for name, levels in (("one step", (cm.HALF_PI,)), ("two steps", (cm.HALF_PI, 1.1))):
        found[name] = sliced_distance(cm.multistep(model, noise, levels, generator=generator), truth)
    return found


def floor(count=20_000):
    """The distance of two samples of the mixture itself."""
    generator = torch.Generator().manual_seed(4)
    return sliced_distance(DATA.draw(count, generator), DATA.draw(count, generator))


def teacher_worth(steps, count=20_000):
    """The exact teacher by first-order steps."""
    generator = torch.Generator().manual_seed(4)
    truth, noise = DATA.draw(count, generator), torch.randn(count, 2, generator=generator)
    levels = torch.linspace(cm.HALF_PI, 0, steps + 1)[:-1].tolist()
    return sliced_distance(cm.rotate(exact_teacher, noise, levels), truth)


def fill(
    table, steps=1000, first=600, seed=1, grids=tuple(2**k for k in range(4, 13)), names=tuple(ABLATIONS)
):
    """All rows of a results.Table: distances after one and two steps, CPU seconds. One seed."""
    begun = {}

    def start(net, diffusion_first):
        net = {**CLEAN, **net}
        if not diffusion_first:
            torch.manual_seed(seed)
            return PointNet(**net)
        key = str(net)
        if key not in begun:
            begun[key] = diffusion(net, first, seed)
        return copy.deepcopy(begun[key])

    def ablation(name):
        changes, net, diffusion_first = ABLATIONS[name]
        model = start(net, diffusion_first)
        more = 0 if diffusion_first else first  # the same number of steps in all
        finite, seconds = consistency(model, replace(FULL, **changes), steps + more, seed)
        return {"finite": finite, "seconds": seconds, **(worth(model) if finite else {})}

    def in_discrete_time(grid, matched):
        model = start({}, True)
        if matched:
            finite, seconds = consistency(model, replace(FULL, levels=grid), steps, seed)
        else:
            finite, seconds = discrete(model, grid, steps, seed)
        return {"finite": finite, "seconds": seconds, **(worth(model) if finite else {})}

    table.row("settings", lambda: {"steps": steps, "diffusion steps": first, "batch": BATCH, "seed": seed})
    table.row("floor", lambda: {"two samples of the mixture": floor()})
    table.row("teacher", lambda: {f"{n} steps": teacher_worth(n) for n in (1, 2, 4, 8, 16, 32)})
    for name in names:
        table.row(name, lambda name=name: ablation(name))
    for kind, matched in (("discrete", False), (MATCHED, True)):
        for grid in grids:
            table.row(f"{kind}, N = {grid}", lambda grid=grid, m=matched: in_discrete_time(grid, m))
