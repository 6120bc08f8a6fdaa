"""Bigger is not always better (Mei et al. 2024, arXiv 2404.01367): digit generators that differ in width only, at equal cost.

Cost = network rows x GFLOPs of one. A row is one evaluation for one sample; guidance takes two; a search takes as many again for every candidate.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import demo_world as world
from . import digits, features
from .networks import DigitNet

WIDTHS = (32, 64, 96, 128, 192)
TRAINING = 1200
KEPT = (300, 600)
STEPS = (2, 4, 8, 16, 32)
GUIDANCES = (1.0, 1.5, 2.0)
CANDIDATES = (1, 2, 4, 8, 16)
SEARCHED = (1, 2, 4, 8, 16)  # step counts that are searched on


@cache
def gflops(width):
    """Of one network row: one 16 x 8 x 8 latent, four words."""
    model = DigitNet(width, head=32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 16, 8, 8), torch.zeros(1), torch.zeros(1, 4, 128), torch.zeros(1, 128))
    return counter.get_total_flops() / 1e9


def train(width):
    return digits.generator(f"width_{width}", width, seed=1, steps=TRAINING, keep=KEPT)


def training_gflops(width, steps):
    """Forward and backward: three forward passes' worth."""
    return 3 * gflops(width) * 128 * steps


def fid(model, kind, steps, guidance, per_digit):
    sampler = digits.euler(steps, guidance) if kind == "ddim" else digits.stock(kind, steps, guidance)
    return digits.worth(model, sampler, per_digit, seed=9)


def fill_quality(table, widths=WIDTHS, steps=STEPS, per_digit=200, per_digit_first=100):
    """FID of every (width, steps): guidance found first on fewer samples and another seed, then DDIM, DDPM and DPM-Solver++ at it; FID against training compute."""
    for width in widths:
        model = None
        for count in steps:
            if f"{width} x {count} ddim" in table.rows and f"{width} x {count} dpm++" in table.rows:
                continue
            model = model or train(width)
            guidance = table.row(
                f"{width} x {count} guidance",
                lambda m=model, c=count: {
                    str(g): digits.worth(m, digits.euler(c, g), per_digit_first, seed=8)["fid"]
                    for g in GUIDANCES
                },
            )
            best = float(min(guidance, key=guidance.get))
            for kind in ("ddim", "ddpm", "dpm++"):
                table.row(
                    f"{width} x {count} {kind}",
                    lambda m=model, c=count, k=kind, g=best: {
                        "width": width,
                        "steps": c,
                        "guidance": g,
                        "gflops": gflops(width) * c * (1 if g == 1 else 2),
                        **fid(m, k, c, g, per_digit),
                    },
                )
        for step in (*KEPT, TRAINING):
            table.row(
                f"{width} trained {step}",
                lambda w=width, s=step: {
                    "training gflops": training_gflops(w, s),
                    **fid(trained(w, s), "ddim", 16, 1.0, per_digit),
                },
            )


def trained(width, step):
    """The generator as it was after so many steps."""
    model = train(width)
    if step == TRAINING:
        return model
    return world.network(digits.load_file(digits.CACHE / f"width_{width}_at_{step}.safetensors"))


@torch.inference_mode()
def candidates(model, sampler, prompts, most, seed=10, batch=512):
    """For each of `prompts` prompts, the digits in turn, `most` candidates: verifier's score and judge's verdict [prompts, most], judge's features [prompts, most, D]."""
    context, pooled = world.prompts()
    words = (torch.arange(prompts) % 10).repeat_interleave(most)
    generator = torch.Generator().manual_seed(seed)
    scores, right, seen = [], [], []
    for part in words.split(batch):
        noise = torch.randn(len(part), 16, 8, 8, generator=generator)
        images = world.pictures(sampler(model, context[part], pooled[part], noise, generator))
        rows = torch.arange(len(part))
        scores.append(world.log_probabilities(images)[rows, part])
        right.append((world.log_probabilities(images, judge=True).argmax(1) == part).float())
        seen.append(world.judge_features(images))
    return tuple(torch.cat(v).unflatten(0, (prompts, most)) for v in (scores, right, seen))


def best_of(found, count):
    """(judge's accuracy, FID) of the candidates that the verifier likes best among the first `count` of each prompt."""
    scores, right, seen = found
    winner = scores[:, :count].argmax(1)
    rows = torch.arange(len(winner))
    return float(right[rows, winner].mean()), features.measure(seen[rows, winner])


def fill_search(table, models, prompts=800, steps=SEARCHED, counts=CANDIDATES):
    """Every (model, steps, candidates): judge's accuracy, FID of the winners, GFLOPs. models: name -> (width, network, {steps: sampler})."""
    for name, (width, network, samplers) in models.items():
        for count in steps:
            if count not in samplers or f"{name} x {count} x {max(counts)}" in table.rows:
                continue
            found = candidates(network(), samplers[count], prompts, max(counts))
            for n in counts:
                accuracy, quality = best_of(found, n)
                table.row(
                    f"{name} x {count} x {n}",
                    lambda w=width, c=count, n=n, a=accuracy, q=quality, name=name: {
                        "model": name,
                        "steps": c,
                        "candidates": n,
                        "gflops": gflops(w) * c * n,
                        "accuracy": a,
                        **q,
                    },
                )


def optimal(rows, budgets, by="accuracy"):
    """The best (model, steps, candidates) that each budget in GFLOPs per image pays for; by: accuracy (high) or fid (low)."""
    sign = 1 if by == "accuracy" else -1
    chosen = {}
    for budget in budgets:
        affordable = [row for row in rows if row["gflops"] <= budget * (1 + 1e-9)]
        if affordable:
            chosen[budget] = max(affordable, key=lambda row: (sign * row[by], -row["gflops"]))
    return chosen
