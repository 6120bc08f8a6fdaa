"""A vision-language model as ComfyUI loads one, seen from outside: the same names, calls and traps, with any function in the place of the network.

    clip = StandIn(lambda picture, said: 0.9)      # p(yes); or a text, which it writes letter by letter
    vlm_judge(clip, "the whole prompt")

Needs ComfyUI on sys.path.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import comfy.utils
import torch

LETTERS = 256
WORDS = ("Yes", "No", "yes", "no")
END, PAD, PICTURE, START = (LETTERS + len(WORDS) + i for i in range(4))
SIZE = START + 1
MARKS = {
    "qwen3vl_4b": "<|image_pad|>",
    "qwen35_4b": "<|image_pad|>",
    "gemma3_4b": "<image_soft_token>",
    "gemma4": "<|image|>",
}

Mind = Callable[
    [torch.Tensor | None, str], Any
]  # (picture [1, h, w, 3] or None, all that it reads) -> p(yes), or a text


class Words:
    """The tokenizer proper: letters, and a few whole words. many: makes several tokens of every word. start: puts a mark before all it reads."""

    def __init__(self, many: bool = False, start: bool = False):
        self.many, self.start = many, start
        self.tokenizer = types.SimpleNamespace(bos_id=lambda: START)  # sentencepiece's own, inside ComfyUI's

    def __call__(self, text: str) -> dict:
        ids = (
            [LETTERS + WORDS.index(text)]
            if text in WORDS and not self.many
            else [ord(c) % LETTERS for c in text]
        )
        return {"input_ids": [START] * self.start + ids}


class Tokenizer:
    """As ComfyUI's `SD1Tokenizer` around one of a vision-language model. takes: the name by which a picture is taken; None drops it.

    padding: so many tokens at least, padded on the left.
    """

    def __init__(self, encoder: str, takes: str | None, padding: int = 0, **words: bool):
        self.clip_name = self.clip = encoder
        self.takes, self.padding, self.mark = takes, padding, MARKS.get(encoder, "<|image_pad|>")
        setattr(self, encoder, types.SimpleNamespace(tokenizer=Words(**words), pad_token=PAD))
        if takes == "images":
            self.tokenize_with_weights = self._images

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict:
        return self._tokens(text, kwargs.get(self.takes))

    def _images(self, text: str, return_word_ids: bool = False, images: list = (), **kwargs: Any) -> dict:
        return self._tokens(text, *images)

    def _tokens(self, text: str, picture: torch.Tensor | None = None) -> dict:
        before, mark, after = text.partition(self.mark)
        row: list[tuple] = [(ord(c) % LETTERS, 1.0) for c in before]
        if mark:
            row.append((PICTURE if picture is None else {"type": "image", "data": picture}, 1.0))
        row += [(ord(c) % LETTERS, 1.0) for c in after]
        return {self.clip_name: [[(PAD, 1.0)] * (self.padding - len(row)) + row]}


class Transformer(torch.nn.Module):
    """What answers. seen: how often it had to look at a picture. read: all that it was told."""

    def __init__(self, mind: Mind, lm_head: bool):
        super().__init__()
        self.mind, self.seen, self.read, self.padded = mind, 0, [], 0
        self.visual = torch.nn.Linear(2, 2)
        self.model = torch.nn.Module()
        self.model.config = types.SimpleNamespace(stop_tokens=[END], final_norm=True, lm_head=lm_head)
        if lm_head:
            self.model.lm_head = torch.nn.Linear(4, SIZE, bias=False)

    def preprocess_embed(self, embed: dict, device: Any) -> tuple:
        self.seen += 1
        return embed.pop("data"), None  # as Gemma 4's does

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def generate(self, row: list, max_length: int) -> list[int]:
        pictures = [self.preprocess_embed(one, None)[0] for one in row if isinstance(one, dict)]
        self.padded = row.count(PAD)
        said = "".join(chr(one) for one in row if isinstance(one, int) and one < LETTERS)
        self.read.append(said)
        answer = self.mind(pictures[0] if pictures else None, said)
        bar = comfy.utils.ProgressBar(max_length)
        wanted = _logits(answer)
        ids: list[int] = []
        for _ in range(max_length):
            ids.append(int(self.logits(next(wanted)[None, None])[0, -1].argmax()))
            bar.update(1)
            if ids[-1] in self.model.config.stop_tokens:
                break
        return ids


def _logits(answer: Any):
    """The logits [SIZE] of each token in turn."""
    if not isinstance(answer, str):
        p = torch.as_tensor(answer, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        first = torch.full((SIZE,), -60.0, dtype=torch.float64)
        first[LETTERS], first[LETTERS + 1] = p.log(), (1 - p).log()
        yield first.float()
    for letter in answer if isinstance(answer, str) else "":
        yield torch.nn.functional.one_hot(torch.tensor(ord(letter) % LETTERS), SIZE) * 30.0
    while True:
        yield torch.nn.functional.one_hot(torch.tensor(END), SIZE) * 30.0


class Encoder(torch.nn.Module):
    def __init__(self, name: str, transformer: torch.nn.Module):
        super().__init__()
        self.clip = name
        inner = torch.nn.Module()
        inner.transformer = transformer
        setattr(self, name, inner)


class StandIn:
    """As `comfy.sd.CLIP`. loads: how often it was asked to be where it runs."""

    def __init__(
        self,
        mind: Mind = lambda picture, said: 0.5,
        encoder: str = "qwen3vl_4b",
        takes: str | None = "images",
        padding: int = 0,
        lm_head: bool = True,
        **words: bool,
    ):
        torch.manual_seed(0)
        self.transformer = Transformer(mind, lm_head)
        self.tokenizer = Tokenizer(encoder, takes, padding, **words)
        self.cond_stage_model = Encoder(encoder, self.transformer)
        self.loads = 0

    def tokenize(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict:
        return self.tokenizer.tokenize_with_weights(text, return_word_ids, **kwargs)

    def generate(
        self, tokens: dict, do_sample: bool = True, max_length: int = 256, **others: Any
    ) -> list[int]:
        assert not do_sample, "the same answer every time"
        self.loads += 1
        (row,) = tokens[self.tokenizer.clip_name]
        return self.transformer.generate([token for token, _ in row], max_length)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(chr(one) if one < LETTERS else "" for one in ids)
