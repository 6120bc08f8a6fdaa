"""Super-resolution, a downstream task of Mei et al. 2024: digits of 8 x 8 pixels made 32 x 32, by generators that differ in width only.

The small picture is one more input channel. Prompts are left out. Every fifth digit is kept from training and measured on.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from . import demo_world as world
from . import digits, features, scaling
from .networks import DigitNet

WIDTHS = (32, 64, 128)
TRAINING = 600
STEPS = (1, 2, 4, 8, 16, 32)
HELD_OUT = 5  # every n-th digit


class Upscaler(nn.Module):
    """A DigitNet that is told the small picture [B, 1, 8, 8] too."""

    def __init__(self, width):
        super().__init__()
        self.net = DigitNet(width, head=32, given=1)

    def forward(self, x, sigma, small):
        context, pooled = (part[world.EMPTY].expand(len(x), *part.shape[1:]) for part in world.prompts())
        return self.net(torch.cat([x, small], 1), sigma, context, pooled)


def shrunk(latents):
    """[B, 1, 8, 8]: the picture at a quarter of its sides, in the latents' units. A latent's 16 channels are the 16 pixels of a block."""
    return latents.mean(1, keepdim=True)


def split():
    """(training, held out) latents."""
    latents, _ = world.data()
    held = torch.arange(len(latents)) % HELD_OUT == 0
    return latents[~held], latents[held]


def loss_of(model, step, size):
    latents, _ = split()
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(7))
    x0 = latents[order[torch.arange(step * size, (step + 1) * size) % len(order)]]
    sigma, noise = digits.sigmas_of(size), torch.randn_like(x0)
    level = sigma.view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model((1 - level) * x0 + level * noise, sigma, shrunk(x0))
    return (velocity.float() - (noise - x0)).square().mean()


def train(width, size=128, rate=1.2e-3):
    torch.manual_seed(1)
    model = Upscaler(width)
    state = digits.run(
        f"upscaler_{width}",
        model,
        TRAINING,
        lambda step: loss_of(model, step, size),
        digits.Both(model, rate),
        decay=0.998,
        hold=0.6,
        warm=100,
    )
    model.load_state_dict(state)
    return model.train(False)


@torch.inference_mode()
def enlarge(model, small, steps, seed=9, batch=500):
    """Latents of small pictures, by Euler from sigma 1 to 0."""
    generator, parts = torch.Generator().manual_seed(seed), []
    levels = torch.linspace(1, 0, steps + 1)
    for part in small.split(batch):
        x = torch.randn(len(part), 16, *part.shape[-2:], generator=generator)
        for high, low in zip(levels[:-1], levels[1:]):
            x = x + (low - high) * model(x, high.expand(len(x)), part)
        parts.append(x)
    return torch.cat(parts)


def measured(pictures, truth):
    """FID, precision and recall to real digits, and the rms distance to the true pictures, of [B, 64, 64, 3]."""
    error = (pictures - truth).square().mean().sqrt()
    seen = torch.cat([world.judge_features(part) for part in pictures.split(500)])
    return {**features.measure(seen), "rms error": float(error)}


def bicubic(small):
    """Latents of the small pictures enlarged without a network."""
    return F.pixel_unshuffle(F.interpolate(small, scale_factor=4, mode="bicubic"), 4)


def fill(table, widths=WIDTHS, steps=STEPS, most=2000):
    """FID and rms error by width and steps; those of the true pictures and of bicubic enlargement beside them."""
    held = split()[1]
    held = held[:: max(1, len(held) // most)][:most]  # the data lie digit by digit
    small, truth = shrunk(held), world.pictures(held)
    table.row("true pictures", lambda: measured(truth, truth))
    table.row("bicubic", lambda: measured(world.pictures(bicubic(small)), truth))

    def cell(width, count):
        found = measured(world.pictures(enlarge(train(width), small, count)), truth)
        return {"width": width, "steps": count, "gflops": scaling.gflops(width) * count, **found}

    for width in widths:
        for count in steps:
            table.row(f"{width} x {count}", partial(cell, width, count))
