"""One round of reflow (Liu et al. 2022, arXiv 2209.03003) on the digits: the net learns the straight lines between its own noise and its own samples.

Its control had as many more steps on the data, from the same start.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from safetensors.torch import load_file, save_file

from . import demo_world as world
from . import digits

PAIRS, PAIR_STEPS = 16_384, 24
TRAINING = 800
STEPS = (1, 2, 4, 8, 12)


@torch.inference_mode()
def make_pairs(model, count, steps, seed=21, batch=512):
    """(noise, latents, numbers of the prompts) of `count` samples of the model's flow; a tenth of the prompts are empty."""
    generator = torch.Generator().manual_seed(seed)
    context, pooled = world.prompts()
    words = torch.arange(count) % 10
    words[torch.rand(count, generator=generator) < 0.1] = world.EMPTY
    noise = torch.randn(count, 16, 8, 8, generator=generator)
    sample = digits.euler(steps)
    ends = [
        sample(model, context[w], pooled[w], x, generator)
        for x, w in zip(noise.split(batch), words.split(batch))
    ]
    return noise, torch.cat(ends), words


def pairs(model):
    """Those of the tuned teacher, made once."""
    path = digits.CACHE / "reflow_pairs.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(zip(("noise", "latents", "words"), make_pairs(model, PAIRS, PAIR_STEPS))), path)
    state = load_file(path)
    return state["noise"], state["latents"], state["words"]


def straight_loss(model, known, step, size):
    """Flow matching on pairs that belong together, at noise levels evenly spread over (0, 1)."""
    noise, latents, words = known
    pick = torch.randperm(len(words), generator=torch.Generator().manual_seed(step * size // len(words)))
    pick = pick[torch.arange(step * size, (step + 1) * size) % len(words)]
    context, pooled = world.prompts()
    z, x0, w = noise[pick], latents[pick], words[pick]
    sigma = (torch.randperm(size) + torch.rand(size)) / size
    level = sigma.view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model((1 - level) * x0 + level * z, sigma, context[w], pooled[w])
    return (velocity.float() - (z - x0)).square().mean()


def train(name, teacher, loss, size=128, rate=6e-4):
    """`teacher` after TRAINING more steps of loss(model, step, size)."""
    model = copy.deepcopy(teacher)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    state = digits.run(
        name, model, TRAINING, lambda step: loss(model, step, size), optimiser, decay=0.998, hold=0.2
    )
    return world.network(state, smooth=True)


@torch.inference_mode()
def curvature(velocity, noise, steps=32):
    """How far the paths are from straight lines: the mean over time of |velocity - (noise - sample)|^2 / |noise - sample|^2; 0 = straight. velocity(x, sigma)."""
    x, seen = noise, []
    levels = torch.linspace(1, 0, steps + 1)
    for high, low in zip(levels[:-1], levels[1:]):
        seen.append(velocity(x, high.expand(len(x))))
        x = x + (low - high) * seen[-1]
    whole = noise - x
    return float(torch.stack([(v - whole).square().mean() for v in seen]).mean() / whole.square().mean())


def curvature_of(model, count=500, seed=8):
    context, pooled = (part[torch.arange(count) % 10] for part in world.prompts())
    noise = torch.randn(count, 16, 8, 8, generator=torch.Generator().manual_seed(seed))
    return curvature(lambda x, sigma: model(x, sigma, context, pooled), noise)


def fill(table, steps=STEPS, per_digit=200):
    """Curvature of the paths, and FID at a few steps: the tuned teacher, after reflow, and after as many more steps on the data."""

    def straightened():
        teacher = digits.tune_teacher()
        known = pairs(teacher)
        return train("reflow", teacher, lambda model, step, size: straight_loss(model, known, step, size))

    def longer():
        # step numbers beyond the teacher's own, so that the batches go on where its training ended
        return train(
            "teacher_longer",
            digits.tune_teacher(),
            lambda model, step, size: digits.flow_loss(model, step + digits.TEACHER_STEPS, size),
        )

    for name, net in (
        ("tuned teacher", digits.tune_teacher),
        ("after reflow", straightened),
        ("as many plain steps", longer),
    ):
        table.row(f"{name}, curvature", lambda n=net: {"curvature": curvature_of(n())})
        for count in steps:
            table.row(f"{name}, {count} steps", partial(_worth, net, count, per_digit))


def _worth(net, steps, per_digit):
    return digits.worth(net(), digits.euler(steps), per_digit, 8)
