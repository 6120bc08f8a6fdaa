"""Trains the verifiers and the judges: small classifiers that must also be calibrated on the imperfect pictures a generator draws."""

import math
import time

import torch
from torch.nn import functional as F


def imperfect(images):
    """A batch [B, H, W, C] in [0, 1] as a generator might have drawn it: moved, turned, scaled, half of it blurred, half of it noisy."""
    count, x = len(images), images.movedim(-1, 1)
    angle, scale = (torch.rand(count) - 0.5) * math.radians(20), 0.88 + 0.27 * torch.rand(count)
    shift = (torch.rand(count, 2) - 0.5) * 0.2
    rows = torch.stack(
        [torch.cos(angle), -torch.sin(angle), shift[:, 0], torch.sin(angle), torch.cos(angle), shift[:, 1]], 1
    ).view(count, 2, 3)
    rows[:, :, :2] /= scale.view(-1, 1, 1)
    x = F.grid_sample(
        x, F.affine_grid(rows, x.shape, align_corners=False), padding_mode="border", align_corners=False
    )
    blurred = blur(x, 0.02 + 0.03 * torch.rand(1).item())
    x = torch.where(torch.rand(count, 1, 1, 1) < 0.5, x, blurred)
    x = x + 0.12 * torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5) * torch.randn_like(x)
    return x.clamp(0, 1).movedim(1, -1)


def blur(x, share):
    """Gaussian blur of [B, C, H, W] with a standard deviation of `share` of the width."""
    radius = max(1, round(3 * share * x.shape[-1]))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / (share * x.shape[-1])) ** 2)
    line, channels = (line / line.sum()).expand(x.shape[1], 1, 1, -1), x.shape[1]
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), line, groups=channels)
    return F.conv2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), line.movedim(-1, -2), groups=channels)


def train(model, images, labels, steps, seed, augment=imperfect, batch=64, rate=2e-3, log=print):
    """`model` (a TinyClassifier) trained on images uint8 [N, H, W, C] and labels int64 [N, heads]; a label of -1 is not learned from."""
    torch.manual_seed(seed)
    solver = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(solver, rate, total_steps=steps, pct_start=0.1)
    order, started = torch.randperm(len(images)), time.process_time()
    for step in range(steps):
        pick = order[torch.arange(step * batch, (step + 1) * batch) % len(order)]
        heads = model(augment(images[pick].float() / 255))
        loss = sum(
            F.nll_loss(head, labels[pick, i], ignore_index=-1)
            for i, head in enumerate(heads)
            if (labels[pick, i] >= 0).any()
        )
        loss.backward()
        solver.step()
        solver.zero_grad(set_to_none=True)
        schedule.step()
        if (step + 1) % 250 == 0:
            log(f"step {step + 1}/{steps} loss {loss.item():.4f} cpu {time.process_time() - started:.0f} s")
    return model.train(False)


@torch.no_grad()
def accuracy(model, images, labels, batch=500):
    """Share of images uint8 [N, H, W, C] with every stated label right."""
    right = []
    for part, truth in zip(images.split(batch), labels.split(batch)):
        guesses = torch.stack([head.argmax(-1) for head in model(part.float() / 255)], 1)
        right.append(((guesses == truth) | (truth < 0)).all(1))
    return torch.cat(right).float().mean().item()
