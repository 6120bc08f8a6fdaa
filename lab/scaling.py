"""Bigger is not always better (Mei et al. 2024, arXiv 2404.01367): digit generators that differ in width only, at equal cost.

Cost = network rows x GFLOPs of one. A row is one evaluation for one sample; guidance takes two; a search takes as many again for every candidate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import demo_world as world
from . import digits, features
from .consistency import HALF_PI
from .networks import DigitNet
from .results import rounded

WIDTHS = (32, 64, 96, 128, 192)
TRAINING = 1800  # steps, as the shipped generator's
KEPT = (300, 600, 1200)
STEPS = (2, 4, 8, 16)
KINDS = {"ddim": STEPS, "ddpm": (8, 16), "dpm++": (8, 16)}  # and the step counts each is run at
GUIDANCES = (1.0, 1.5, 2.0, 3.0)
DISTILLED = {1: (HALF_PI,), 2: (HALF_PI, math.atan(3)), 4: (HALF_PI, 1.4, math.atan(3), 0.7)}  # steps: angles
DISTILLED_WIDTHS, DISTILLING = (64, 128), 600
CANDIDATES = (1, 2, 4, 8, 16, 32)
MOST = {32: 32, 64: 16}  # candidates; 8 for the larger ones; under guidance half as many
SEARCHED = (2, 4, 8, 16)  # step counts that are searched on


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


def distilling_gflops(width, steps, size=96):
    """The teacher once, the student's net twice for the tangent and once forward and back: six forward passes' worth."""
    return 6 * gflops(width) * size * steps


def fid(model, kind, steps, guidance, per_digit):
    sampler = digits.euler(steps, guidance) if kind == "ddim" else digits.stock(kind, steps, guidance)
    return digits.worth(model, sampler, per_digit, seed=9)


def fill_quality(table, widths=WIDTHS, steps=STEPS, per_digit=100, per_digit_first=30):
    """FID of every (width, steps): guidance found first on fewer samples and another seed, then DDIM, DDPM and DPM-Solver++ at it; FID against training compute."""
    for width in widths:
        for count in steps:
            _fill_cell(table, width, count, per_digit, per_digit_first)
        for step in (*KEPT, TRAINING):
            table.row(f"{width} trained {step}", partial(_after, width, step, per_digit))
    for width in DISTILLED_WIDTHS:
        best = best_guidance(table.row(f"{width} x {max(steps)} guidance", dict))
        for count, angles in DISTILLED.items():
            name = f"{width} distilled x {count}"
            table.row(name, partial(_at_once, width, count, angles, best, per_digit))
        table.row(f"{width} tuned x 12", partial(_own_teacher, width, best, per_digit))


def best_guidance(found):
    return float(min(found, key=found.get))


def _fill_cell(table, width, steps, per_digit, per_digit_first):
    def guidances():
        model = train(width)
        return {
            str(g): digits.worth(model, digits.euler(steps, g), per_digit_first, 8)["fid"] for g in GUIDANCES
        }

    def at(kind):
        cost = gflops(width) * steps * (1 if best == 1 else 2)
        quality = fid(train(width), kind, steps, best, per_digit)
        return {"width": width, "steps": steps, "guidance": best, "gflops": cost, **quality}

    found = table.row(f"{width} x {steps} guidance", guidances)
    best = best_guidance(found)
    for kind in (kind for kind, counts in KINDS.items() if steps in counts):
        table.row(f"{width} x {steps} {kind}", partial(at, kind))


def distil(width, guidance):
    """A generator smoothed and tuned, then distilled under its best guidance, as the student was without and in fewer steps."""
    name = f"distilled_{width}"
    return digits.distil(tuned(width), 1, DISTILLING, name=name, guidance=guidance)


def tuned(width):
    return digits.tune_teacher(DISTILLING, name=f"smooth_{width}", base=partial(train, width))


def _at_once(width, steps, angles, guidance, per_digit):
    quality = digits.worth(distil(width, guidance), digits.consistency(*angles), per_digit)
    cost = gflops(width) * steps
    return {"width": width, "steps": steps, "guidance": guidance, "gflops": cost, **quality}


def _own_teacher(width, guidance, per_digit):
    return {"guidance": guidance, **digits.worth(tuned(width), digits.euler(12, guidance), per_digit)}


def _after(width, step, per_digit):
    quality = fid(trained(width, step), "ddim", 16, 1.0, per_digit)
    return {"training gflops": training_gflops(width, step), **quality}


def trained(width, step):
    """The generator as it was after so many steps."""
    model = train(width)
    if step == TRAINING:
        return model
    return world.network(digits.load_file(digits.CACHE / f"width_{width}_at_{step}.safetensors"))


@torch.inference_mode()
def candidates(model, sampler, prompts, most, seed=10, batch=512):
    """For each of `prompts` prompts, the digits in turn, `most` candidates: verifier's score and judge's verdict [prompts, most], judge's features [prompts, most, D].

    And the CPU seconds of one candidate as a search pays them: sampled, decoded and scored, not judged.
    """
    context, pooled = world.prompts()
    words = (torch.arange(prompts) % 10).repeat_interleave(most)
    generator = torch.Generator().manual_seed(seed)
    scores, right, seen, seconds = [], [], [], 0.0
    for part in words.split(batch):
        noise = torch.randn(len(part), 16, 8, 8, generator=generator)
        rows = torch.arange(len(part))
        started = time.process_time()
        images = world.pictures(sampler(model, context[part], pooled[part], noise, generator))
        scores.append(world.log_probabilities(images)[rows, part])
        seconds += time.process_time() - started
        right.append((world.log_probabilities(images, judge=True).argmax(1) == part).float())
        seen.append(world.judge_features(images))
    found = tuple(torch.cat(v).unflatten(0, (prompts, most)) for v in (scores, right, seen))
    return found, seconds / len(words)


def best_of(found, count):
    """What the candidates are worth that the verifier likes best among the first `count` of each prompt: the judge's accuracy and the FID, each with its 95 % interval."""
    scores, right, seen = found
    winner = scores[:, :count].argmax(1)
    rows = torch.arange(len(winner))
    chosen, features_of = right[rows, winner], seen[rows, winner]
    return {
        "accuracy": float(chosen.mean()),
        "accuracy interval": wilson(float(chosen.sum()), len(chosen)),
        **features.measure(features_of),
        "fid +-": features.fid_error(features_of),
    }


def wilson(hits, count, z=1.96):
    """Wilson's 95 % interval of a share."""
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [max(0.0, middle - half), min(1.0, middle + half)]


@dataclass(frozen=True)
class Searched:
    """What a search is run on. evaluations: network rows of one step, two under guidance; most: candidates; network(): the model."""

    width: int
    network: Callable
    samplers: dict  # steps: sampler
    most: int = 8
    evaluations: int = 1


def fill_search(table, models, prompts=400, steps=None, counts=CANDIDATES):
    """Every (model, steps, candidates): judge's accuracy, FID of the winners, GFLOPs, CPU ms. models: name -> Searched."""
    table.row("as many real digits", lambda: {"fid": features.floor(prompts)})
    for name, model in models.items():
        tried = [n for n in counts if n <= model.most]
        for count, sampler in model.samplers.items():
            if (steps and count not in steps) or f"{name} x {count} x {max(tried)}" in table.rows:
                continue
            found, seconds = candidates(model.network(), sampler, prompts, max(tried))
            for n in tried:
                cost = gflops(model.width) * model.evaluations * count * n
                row = {
                    "model": name,
                    "steps": count,
                    "candidates": n,
                    "gflops": cost,
                    "ms": 1000 * seconds * n,
                }
                table.rows[f"{name} x {count} x {n}"] = rounded({**row, **best_of(found, n)})
            table.write()
            print(f"search: {name}, {count} steps, up to {max(tried)} candidates", flush=True)


def evaluations(row, width=128):
    """Network evaluations of a row of a network of that width: steps x candidates, twice that under guidance."""
    return round(row["gflops"] / gflops(width))


def of_width(rows, width):
    """The rows of one of the five generators, with guidance and without."""
    return [row for row in rows if row.get("model") in (f"width {width}", f"width {width}, guided")]


def optimal(rows, budgets, by="accuracy"):
    """The best (model, steps, candidates) that each budget in GFLOPs per image pays for; by: accuracy (high) or fid (low)."""
    sign = 1 if by == "accuracy" else -1
    chosen = {}
    for budget in budgets:
        affordable = [row for row in rows if row["gflops"] <= budget * (1 + 1e-9)]
        if affordable:
            chosen[budget] = max(affordable, key=lambda row: (sign * row[by], -row["gflops"]))
    return chosen
