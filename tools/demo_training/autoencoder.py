"""Trains the scenes' codec: L1 on pictures decoded from noisy latents, so that the decoder forgives what a small generator gets slightly wrong."""

import time

import torch

from noisesearch.demo.codecs import PatchCodec


def train(images, steps, seed, batch=48, rate=2e-3, noise=0.5, log=print):
    """A PatchCodec from images uint8 [N, 64, 64, 3], whose latents have zero mean and unit variance per channel."""
    torch.manual_seed(seed)
    codec = PatchCodec()
    solver = torch.optim.AdamW(codec.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(solver, rate, total_steps=steps, pct_start=0.05)
    started, order = time.process_time(), torch.randperm(len(images))
    for step in range(steps):
        picture = to_pixels(images[order[torch.arange(step * batch, (step + 1) * batch) % len(order)]])
        latents = codec.encode(picture)
        mean, std = latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)
        latents = (latents - mean) / std
        latents = latents + noise * torch.rand(batch, 1, 1, 1) * torch.randn_like(latents)
        loss = (codec.decode(latents) - picture).abs().mean()
        loss.backward()
        solver.step()
        solver.zero_grad(set_to_none=True)
        schedule.step()
        if (step + 1) % 250 == 0:
            log(f"step {step + 1}/{steps} L1 {loss.item():.4f} cpu {time.process_time() - started:.0f} s")
    return whiten(codec.train(False), images[:4000])


@torch.no_grad()
def whiten(codec, images):
    """Fold the latents' statistics into the encoder's last layer: it then gives the zero mean and unit variance that the decoder was trained on."""
    latents = encode(codec, images)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    last = codec.encoder[-1]
    last.weight.div_(std.view(-1, 1, 1, 1))
    last.bias.sub_(mean).div_(std)
    return codec


@torch.no_grad()
def encode(codec, images, batch=500):
    """Latents float32 [N, 16, 8, 8] of images uint8 [N, 64, 64, 3]."""
    return torch.cat([codec.encode(to_pixels(part)) for part in images.split(batch)])


def to_pixels(images):
    return images.movedim(-1, 1).float() / 255
