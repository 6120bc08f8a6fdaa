"""The vision-language models that ComfyUI loads as text encoders: which there are, how each is spoken to, and what to load when none is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...compat import COMFYUI
from ...untrusted import excerpt
from .preprocess import to_bytes
from .resize import resize_bytes

GENERATES, BEST = "0.15.0", "0.26.0"  # the first ComfyUI with text generation, and with Qwen3-VL
SIZES = (64, 2048)  # pixels of the longer side
WHAT_TO_LOAD = (
    "Load one of these with Load CLIP, out of models/text_encoders: qwen3vl_4b_fp8_scaled.safetensors (Qwen3-VL, the best tried; also the encoder of "
    "Krea 2, Mage-Flow and FLUX.3 klein), qwen3vl_8b_fp8_scaled.safetensors (of Qwen-Image 2.1), qwen3.5_4b_bf16.safetensors, or a Gemma 3 or Gemma 4 that sees. "
    f"Qwen3-VL needs ComfyUI {BEST} or later"
)
BLIND_TYPES = "With the types flux and flux2 Load CLIP leaves out the part that sees: choose another type for the same file, such as stable_diffusion or krea2. "
FIT_QWEN, FIT_SQUARE, FIT_OWN = "a multiple of 32 pixels", "896 x 896 pixels", "as it is"
_MARK = re.compile(r"<(?=[|/a-zA-Z])")  # begins what a tokenizer takes for a mark of its own
_EMBEDDING = re.compile(r"embedding:", re.IGNORECASE)  # begins what ComfyUI takes for a file


@dataclass(frozen=True)
class Kind:
    """One family of models.

    encoders: the names by which ComfyUI's tokenizers call it. seen, unseen: a whole turn, with and without a picture, where {} is what the user
    says; as ComfyUI's own tokenizer of that family writes it, without thinking. fit: what becomes of a picture before ComfyUI is given it.
    """

    name: str
    encoders: tuple[str, ...]
    seen: str
    unseen: str
    fit: str

    def turn(self, text: str, picture: bool, opening: str = "") -> str:
        """Everything the model reads. opening: what its answer begins with. Marks in the text are broken, so that no prompt can close its own turn."""
        said = _EMBEDDING.sub("embedding ", _MARK.sub("< ", text))
        before, after = (self.seen if picture else self.unseen).split("{}")
        return before + said + after + opening


QWEN3_VL = Kind(
    "Qwen3-VL",
    ("qwen3vl_4b", "qwen3vl_8b"),
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    FIT_QWEN,
)
QWEN35 = Kind(
    "Qwen3.5",
    tuple(f"qwen35_{size}" for size in ("08b", "2b", "4b", "9b", "27b")),
    QWEN3_VL.seen + "<think>\n</think>\n",
    QWEN3_VL.unseen + "<think>\n</think>\n",
    FIT_QWEN,
)
_GEMMA3 = "<start_of_turn>system\nYou are a helpful assistant.<end_of_turn>\n<start_of_turn>user\n"
GEMMA3 = Kind(
    "Gemma 3",
    ("gemma3_4b", "gemma3_12b"),
    _GEMMA3 + "\n<image_soft_token>{}<end_of_turn>\n\n<start_of_turn>model\n",
    _GEMMA3 + "{}<end_of_turn>\n<start_of_turn>model\n",
    FIT_SQUARE,
)
GEMMA4 = Kind(
    "Gemma 4",
    ("gemma4",),
    "<|turn>user\n{}\n\n<|image><|image|><image|>\n\n<turn|>\n<|turn>model\n",
    "<|turn>user\n{}<turn|>\n<|turn>model\n",
    FIT_OWN,
)
KINDS = (QWEN3_VL, QWEN35, GEMMA3, GEMMA4)


def require_text_generation(clip: Any, who: str) -> None:
    """ValueError unless this ComfyUI can let a text encoder answer."""
    if not all(callable(getattr(clip, name, None)) for name in ("generate", "tokenize", "decode")):
        raise ValueError(
            f"{who} lets a text encoder answer, which ComfyUI can from {GENERATES} on; this is {COMFYUI or 'an older one'}. Update ComfyUI, best to {BEST} or later. {WHAT_TO_LOAD}."
        )


def encoder_name(tokenizer: Any) -> str:
    """What ComfyUI calls the encoder that a tokenizer is for."""
    known = getattr(tokenizer, "clip_name", None) or getattr(tokenizer, "embedding_key", None)
    return known if isinstance(known, str) else type(tokenizer).__name__


def kind_of(tokenizer: Any, who: str) -> Kind:
    """ValueError for a model whose language is not known."""
    name = encoder_name(tokenizer)
    for kind in KINDS:
        if name in kind.encoders:
            return kind
    hint = BLIND_TYPES if name in ("qwen3_4b", "qwen3_8b") else ""
    raise ValueError(
        f"{who} cannot ask this text encoder ({excerpt(name, 60)}): it is none of {', '.join(kind.name for kind in KINDS)}. {hint}{WHAT_TO_LOAD}."
    )


def fitted(image: torch.Tensor, size: int, fit: str) -> torch.Tensor:
    """One picture [H, W, 3] in [0, 1] as ComfyUI shall be given it, [1, h, w, 3]: no larger than `size` on its longer side, resized as Pillow does.

    In a shape that ComfyUI's own resize, which is not antialiased, leaves alone.
    """
    height, width = image.shape[:2]
    wanted = FITS[fit](height, width, size)
    if wanted == (height, width):
        return image[None, ..., :3].float().clamp(0, 1).cpu()
    return (resize_bytes(to_bytes(image[None, ..., :3]), *wanted) / 255).float().movedim(1, -1).contiguous()


def _by_32(height: int, width: int, size: int) -> tuple[int, int]:
    scale = min(1.0, size / max(height, width))
    rows, columns = (max(1, round(side * scale / 32)) for side in (height, width))
    if rows * columns < 4:  # ComfyUI would enlarge it: 3136 pixels is the least
        rows, columns = 2 * rows, 2 * columns
    return 32 * rows, 32 * columns


def _within(height: int, width: int, size: int) -> tuple[int, int]:
    scale = min(1.0, size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


FITS: dict[str, Callable[[int, int, int], tuple[int, int]]] = {
    FIT_QWEN: _by_32,
    FIT_SQUARE: lambda height, width, size: (896, 896),
    FIT_OWN: _within,
}
