"""The networks of the laboratory: the digits' MMDiT in plain torch (Stable Diffusion 3's layout, exact forward derivatives) and a small one for points.

Attention is written out, for the fused kernels have no forward derivative on the CPU.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

FREQUENCIES = 128  # of the stock time embedding: a cosine and a sine of each
SMOOTH = 8.0  # radians that the fastest frequency kept turns between clean and noise


def rms_norm(x, weight=1.0, eps=1e-6):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def layer_norm(x, eps=1e-6):
    return F.layer_norm(x, x.shape[-1:], eps=eps)


class Norm(nn.Module):
    """RMS norm over one head."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return rms_norm(x, self.weight)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Attention(nn.Module):
    def __init__(self, width, head, last):
        super().__init__()
        self.head = head
        self.qkv = nn.Linear(width, 3 * width)
        self.ln_q, self.ln_k = Norm(head), Norm(head)
        if not last:
            self.proj = nn.Linear(width, width)

    def split(self, x):
        """q, k, v [B, heads, L, head]."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, -1, self.head).permute(2, 0, 3, 1, 4)
        return self.ln_q(q), self.ln_k(k), v


class Stream(nn.Module):
    """What the picture or the text does in a block; the text's last one only lends its keys and values."""

    def __init__(self, width, head, last=False):
        super().__init__()
        self.attn, self.last = Attention(width, head, last), last
        if not last:
            self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, (2 if last else 6) * width))

    def before(self, x, c):
        shift, scale, *rest = (
            self.adaLN_modulation(c)
            .unsqueeze(1)
            .chunk(self.adaLN_modulation[1].out_features // x.shape[-1], -1)
        )
        return self.attn.split(layer_norm(x) * (1 + scale) + shift), rest

    def after(self, x, attended, rest):
        gate, shift, scale, gate_mlp = rest
        x = x + gate * self.attn.proj(attended)
        return x + gate_mlp * self.mlp(layer_norm(x) * (1 + scale) + shift)


class JointBlock(nn.Module):
    def __init__(self, width, head, last):
        super().__init__()
        self.context_block, self.x_block = Stream(width, head, last), Stream(width, head)

    def forward(self, x, context, c):
        text, text_rest = self.context_block.before(context, c)
        picture, picture_rest = self.x_block.before(x, c)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(text, picture))
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        attended = (weights @ v).transpose(1, 2).flatten(2)
        length = context.shape[1]
        x = self.x_block.after(x, attended[:, length:], picture_rest)
        if not self.context_block.last:
            context = self.context_block.after(context, attended[:, :length], text_rest)
        return x, context


class TimeEmbedder(nn.Module):
    """Stable Diffusion 3's time embedding of 1000 sigma. `smooth` leaves out the frequencies that turn more than SMOOTH radians over [0, 1].

    What it leaves out it never reads, so with zeros in those columns of its weights the stock embedding gives the same.
    """

    def __init__(self, width, smooth=False):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        frequencies = 1000 * torch.exp(-math.log(10000) * torch.arange(FREQUENCIES) / FREQUENCIES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.register_buffer(
            "kept", ((frequencies <= SMOOTH) if smooth else torch.ones(FREQUENCIES)).float(), persistent=False
        )

    def forward(self, sigma):
        angle = sigma[:, None] * self.frequencies
        return self.mlp(torch.cat([angle.cos() * self.kept, angle.sin() * self.kept], -1))

    @torch.no_grad()
    def forget_unread(self):
        """Zeros in the columns that are not read."""
        self.mlp[0].weight.mul_(torch.cat([self.kept, self.kept]))


class DigitNet(nn.Module):
    """Noisy latents [B, 16 + given, h, w], sigma [B] in [0, 1], context [B, L, 128], pooled [B, 128] -> flow velocity, noise - latent [B, 16, h, w].

    given: channels beside the noisy latent that are read only, a small picture say.

    The parameters have Stable Diffusion 3's names. With head = 64 and width = 64 depth the file loads in stock loaders.
    """

    def __init__(self, width=128, depth=2, head=64, text=128, channels=16, grid=8, smooth=False, given=0):
        super().__init__()
        self.settings = {"width": width, "depth": depth, "head": head, "smooth": smooth}
        self.grid = grid
        self.x_embedder = nn.Module()
        self.x_embedder.proj = nn.Conv2d(channels + given, width, 2, stride=2)
        self.register_buffer("pos_embed", torch.zeros(1, grid * grid, width))
        self.t_embedder = TimeEmbedder(width, smooth)
        self.y_embedder = nn.Module()
        self.y_embedder.mlp = nn.Sequential(nn.Linear(text, width), nn.SiLU(), nn.Linear(width, width))
        self.context_embedder = nn.Linear(text, width)
        self.joint_blocks = nn.ModuleList(JointBlock(width, head, i == depth - 1) for i in range(depth))
        self.final_layer = nn.Module()
        self.final_layer.linear = nn.Linear(width, 4 * channels)
        self.final_layer.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self._begin()

    @torch.no_grad()
    def _begin(self):
        self.pos_embed.copy_(sine_positions(self.pos_embed.shape[-1], self.grid))
        for name, parameter in self.named_parameters():
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def positions(self, height, width):
        """The middle of the grid of positions."""
        top, left = (self.grid - height) // 2, (self.grid - width) // 2
        grid = self.pos_embed.view(self.grid, self.grid, -1)
        return grid[top : top + height, left : left + width].flatten(0, 1)

    def forward(self, x, sigma, context, pooled):
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        tokens = self.x_embedder.proj(x).flatten(2).transpose(1, 2) + self.positions(height, width)
        c = self.t_embedder(sigma) + self.y_embedder.mlp(pooled)
        context = self.context_embedder(context)
        for block in self.joint_blocks:
            tokens, context = block(tokens, context, c)
        shift, scale = self.final_layer.adaLN_modulation(c).unsqueeze(1).chunk(2, -1)
        patches = self.final_layer.linear(layer_norm(tokens) * (1 + scale) + shift)
        patches = patches.view(len(x), height, width, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
        return patches.reshape(len(x), -1, *x.shape[-2:])


def sine_positions(width, grid):
    """[1, grid^2, width]: half of the channels say the column, half the row, each as sines then cosines."""
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    along = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    one = torch.cat([along.sin(), along.cos()], -1)
    column, row = one[None].expand(grid, -1, -1), one[:, None].expand(-1, grid, -1)
    return torch.cat([column, row], -1).flatten(0, 1)[None].float()


class PointNet(nn.Module):
    """F(x, t) for points in the plane: residual blocks modulated by time, with the paper's architectural stabilisers as switches.

    positional: cosines and sines of small multiples of t, else a random Fourier embedding of scale 16. double_norm: scale and shift are normalised too.
    """

    def __init__(self, width=96, blocks=3, positional=True, double_norm=True):
        super().__init__()
        self.double_norm = double_norm
        waves = torch.arange(1, 9).float() if positional else 16 * 2 * math.pi * torch.randn(8)
        self.register_buffer("waves", waves)
        self.enter, self.leave = nn.Linear(2, width), nn.Linear(width, 2)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.modulate = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(blocks))

    def forward(self, x, t):
        angle = t[:, None] * self.waves
        c, h = self.time(torch.cat([angle.cos(), angle.sin()], -1)), self.enter(x)
        for modulate, up, down in zip(self.modulate, self.up, self.down):
            scale, shift = modulate(c).chunk(2, -1)
            if self.double_norm:
                scale, shift = rms_norm(scale), rms_norm(shift)
            h = h + down(F.silu(up(layer_norm(h) * (1 + scale) + shift)))
        return self.leave(layer_norm(h))
