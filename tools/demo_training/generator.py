"""Trains a text encoder and an MMDiT in Stable Diffusion 3's layout, jointly, on latents: rectified flow with unit-scale latents."""

import copy
import math
import time

import torch
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper, get_2d_sincos_pos_embed
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .solver import Solver

from noisesearch.demo.codecs import CHANNELS
from noisesearch.demo.text_encoder import PAD, TinyTextEncoder

GRID = 8  # the largest latent, in tokens of 2x2: 16x16 latents, 128x128 pixels
TEXT_WIDTH = 128


class Generator(nn.Module):
    """Noisy latents [B, 16, h, w], sigma [B] in [0, 1] and tokens [B, L] -> the velocity noise - latent."""

    def __init__(self, depth, vocabulary, length):
        super().__init__()
        self.text = TinyTextEncoder(vocabulary, length, TEXT_WIDTH)
        width = 64 * depth
        self.net = OpenAISignatureMMDITWrapper(
            input_size=None,
            patch_size=2,
            in_channels=CHANNELS,
            depth=depth,
            adm_in_channels=TEXT_WIDTH,
            num_patches=GRID**2,
            pos_embed_max_size=GRID,
            qk_norm="rms",
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": TEXT_WIDTH, "out_features": width},
            },
            operations=torch.nn,
        )
        self.net.pos_embed.copy_(torch.from_numpy(get_2d_sincos_pos_embed(width, GRID)).unsqueeze(0))
        for name, parameter in self.net.named_parameters():
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)
            elif name.endswith(("ln_q.weight", "ln_k.weight")):
                nn.init.ones_(parameter)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x, sigma, tokens):
        context, pooled = self.text(tokens)
        return self.net(x, sigma * 1000, context=context, y=pooled)


def train(model, latents, tokens, steps, seed, batch=128, rate=1.2e-3, ema_decay=0.999, log=print):
    """`model`, a Generator, averaged over `steps` steps of training on latents [N, 16, h, w] and tokens [N, L]; one prompt in ten is dropped."""
    torch.manual_seed(seed)
    model.train().requires_grad_(True)
    average = copy.deepcopy(model).requires_grad_(False)
    pairs = list(zip(average.parameters(), model.parameters()))
    solver = Solver(model, rate, steps)
    started, running = time.process_time(), None
    order = torch.randperm(len(latents))
    for step in range(steps):
        pick = order[torch.arange(step * batch, (step + 1) * batch) % len(order)]
        x0, words = latents[pick].float(), tokens[pick].clone()
        words[torch.rand(batch) < 0.1] = PAD
        quantile = (
            torch.randperm(batch) + torch.rand(batch)
        ) / batch  # stratified: the same spread of noise levels in every batch
        sigma = torch.sigmoid(
            0.3 + 1.1 * math.sqrt(2) * torch.erfinv((2 * quantile - 1).clamp(-0.999, 0.999))
        )
        noise = torch.randn_like(x0)
        level = sigma.view(-1, 1, 1, 1)
        with (
            torch.autocast("cpu", torch.bfloat16),
            sdpa_kernel(SDPBackend.MATH),
        ):  # flash attention's backward is slower at this size
            velocity = model((1 - level) * x0 + level * noise, sigma, words)
        loss = (velocity.float() - (noise - x0)).square().mean()
        solver.update(loss)
        weight = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - weight)
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            log(f"step {step + 1}/{steps} loss {running:.4f} cpu {time.process_time() - started:.0f} s")
    return average.train(False)


@torch.no_grad()
def denoise(model, x, tokens, levels, cfg):
    """Latents at levels[0] brought down to levels[-1] by Euler steps."""
    empty = torch.full_like(tokens, PAD)
    for high, low in zip(levels[:-1], levels[1:]):
        sigma = high.expand(len(x))
        velocity = model(x, sigma, tokens)
        if cfg != 1:
            base = model(x, sigma, empty)
            velocity = base + cfg * (velocity - base)
        x = x + (low - high) * velocity
    return x
