"""CycleReward: does the prompt come back when the image is described? Learnt from such comparisons, without people (Bahng et al. 2025, arXiv 2506.02095)."""

from __future__ import annotations

import torch

from ..networks.blip_reward import Head
from .image_reward import BlipReward

HEAD = Head((0, 2, 4, 6, 8), torch.nn.GELU)


class CycleReward(BlipReward):
    """The reward, a number without a unit. Trained on long captions, of which it reads 128 tokens."""

    name = "CycleReward"
    reads, head = 128, HEAD
    what = "CycleReward as published (CycleReward-Combo.pth)"
