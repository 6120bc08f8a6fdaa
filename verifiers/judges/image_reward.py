"""ImageReward: a model of which image of a prompt people prefer (Xu et al. 2023, arXiv 2304.05977)."""

from __future__ import annotations

from pathlib import Path

import torch

from ..base import Batch, ImageVerifier
from ..networks.blip_reward import Head, load_reward, load_tokenizer, read_tokens
from ..networks.managed import ManagedModel
from ..networks.preprocess import Preprocess

TOKENS = 35
WHAT = "ImageReward as published (ImageReward.pt)"
HEAD = Head(
    (0, 2, 4, 6, 7),  # between them dropouts, which do nothing when scoring
    mean=0.16717362830052426,  # of the reward over the authors' data
    std=1.0333394966054072,
)


class BlipReward(ImageVerifier):
    """Base of the rewards that are a BLIP. reads: how many tokens of the prompt; head, what: of the network in the file."""

    needs_prompt = True
    reads: int
    head: Head
    what: str

    def __init__(self, path: Path, device: str = "auto"):
        network = load_reward(path, self.head, self.what)
        self.model = ManagedModel(network, device, half=True, row_bytes=128 * 2**20, source=path)
        self.preprocess, self.tokenizer = Preprocess(self.model.network.image_size), load_tokenizer()

    def judge(self, batch: Batch) -> torch.Tensor:
        ids, mask = self.tokens(batch.prompt)
        return self.model.run(
            lambda network, rows: network(rows, ids.to(rows.device), mask.to(rows.device)),
            batch.images,
            self.preprocess,
        )

    def tokens(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, attention mask), each int64 [reads]."""
        return read_tokens(self.tokenizer, prompt, self.reads)

    def notes(self, prompt: str) -> tuple[str, ...]:
        used = len(self.tokenizer.encode(prompt).ids)
        return (
            (f"reads {self.reads} of the prompt's {used} tokens; the end is ignored",)
            if used > self.reads
            else ()
        )


class ImageReward(BlipReward):
    """The reward, about -2 to 2; the authors' training images have mean 0 and deviation 1."""

    name = "ImageReward"
    reads, head, what = TOKENS, HEAD, WHAT


def load_network(path: Path) -> torch.nn.Module:
    """The network of a file with the published names: pixels [B, 3, S, S], ids and mask [T] -> rewards [B]."""
    return load_reward(path, HEAD, WHAT)
