"""Between pictures and the generators' unit-scale latents [B, 16, H/8, W/8]. Tiny on purpose: decoding costs a fraction of one evaluation."""

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = 16
RATIO = 8


class PixelCodec(nn.Module):
    """Digits: a grey picture at half size, every 4x4 block of it one latent position (nothing is lost but resolution and colour)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.1))
        self.register_buffer("std", torch.tensor(0.3))

    def encode(self, images):
        """[B, 3, H, W] in [0, 1] -> latents."""
        small = F.interpolate(images.mean(1, keepdim=True), scale_factor=0.5, mode="area")
        return F.pixel_unshuffle((small - self.mean) / self.std, 4)

    def decode(self, latents):
        small = F.pixel_shuffle(latents, 4) * self.std + self.mean
        return F.interpolate(small, scale_factor=2, mode="bicubic").expand(-1, 3, -1, -1)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class PatchCodec(nn.Module):
    """Scenes: a small autoencoder whose convolutions all run on the 8x8 patches, trained with noisy latents so that small errors do not show."""

    def __init__(self, width=96):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3 * RATIO**2, width, 1), Residual(width), nn.Conv2d(width, CHANNELS, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, width, 1),
            Residual(width),
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 3 * RATIO**2, 1),
        )

    def encode(self, images):
        """[B, 3, H, W] in [0, 1] -> latents of zero mean and unit variance per channel."""
        return self.encoder(F.pixel_unshuffle(images * 2 - 1, RATIO))

    def decode(self, latents):
        return F.pixel_shuffle(self.decoder(latents), RATIO) / 2 + 0.5


def codec_for(state_dict):
    """An empty codec of the kind and size that a state dict has."""
    weight = state_dict.get("encoder.0.weight")
    return PixelCodec() if weight is None else PatchCodec(weight.shape[0])
