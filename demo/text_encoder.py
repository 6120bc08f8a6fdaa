"""A tiny text encoder for a closed vocabulary: words in, tokens for the generator's attention and one pooled vector out."""

import re

import torch
from torch import nn
from torch.nn import functional as F

PAD, UNKNOWN = 0, 1


class Block(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.proj(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        )
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TinyTextEncoder(nn.Module):
    """int64 tokens [B, L] -> context [B, L, width] and pooled [B, width] (the mean over what is not padding).

    Padding is attended to, in training as in use: an empty prompt, all padding, is the unconditional one.
    """

    HEAD_WIDTH = 32

    def __init__(self, vocabulary, length, width=128, depth=2):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, width // self.HEAD_WIDTH) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.words(tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        context = self.norm(x)
        weight = (tokens != PAD).unsqueeze(-1).to(context.dtype)
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, torch.ones_like(weight))
        return context, (context * weight).sum(1) / weight.sum(1)


def encoder_for(state_dict):
    """An empty TinyTextEncoder of the size that a state dict has."""
    vocabulary, width = state_dict["words.weight"].shape
    depth = 1 + max(int(name.split(".")[1]) for name in state_dict if name.startswith("blocks."))
    return TinyTextEncoder(vocabulary, state_dict["positions"].shape[0], width, depth)


def tokens_of(text, vocabulary):
    """The ids of the words of a text; a word that is not in the vocabulary is UNKNOWN."""
    return [vocabulary.get(word, UNKNOWN) for word in re.findall(r"[a-z]+|\d", text.lower())]


def padded(tokens, length, padding=PAD):
    """A list of exactly `length` tokens: filled up with padding, or cut."""
    return (tokens + [padding] * length)[:length]
