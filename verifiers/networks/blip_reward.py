"""Rewards on BLIP: what ImageReward and CycleReward share.

The published weights run in transformers' own BLIP modules, which compute the same thing; the authors' packages, whose pinned dependencies
break other packages, are not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .weights import State, load_into, named, outline, taken_for

MOST_LAYERS = 64  # the published networks have 24 and 12
PUBLISHED = (
    "blip.visual_encoder.pos_embed",
    "blip.text_encoder.embeddings.word_embeddings.weight",
)  # of the names in their files
_VOCABULARY = Path(__file__).resolve().parents[2] / "models" / "verifiers" / "bert_vocab.txt"
_VISION_PARTS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


@dataclass(frozen=True)
class Head:
    """What stands on BLIP. layers: where the published Sequential has its five linear layers; between: what stands between them; the reward
    is what they give, less mean and over std."""

    layers: tuple[int, ...]
    between: Callable[[], torch.nn.Module] = torch.nn.Identity
    mean: float = 0.0
    std: float = 1.0


def load_reward(path: Path, kind: Head, what: str) -> torch.nn.Module:
    """The RewardNetwork of a file with the published names. what: the file, for the error."""
    names = (*PUBLISHED, *(f"mlp.layers.{layer}.weight" for layer in kind.layers))
    with taken_for(what, path):
        sizes = named(outline(path), names, path, what)
        name = what.split(" ")[0]
        return load_into(
            lambda: empty_network(sizes, kind), path, name, lambda state, network: renamed(state)
        )


def load_tokenizer() -> Any:
    """BERT's uncased word pieces, without padding and truncation."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True)
    tokenizer.add_special_tokens(
        ["[DEC]", "[ENC]"]
    )  # as the package has; they count as one token where a prompt holds them
    return tokenizer


def read_tokens(tokenizer: Any, prompt: str, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, attention mask) of a prompt, each int64 [most]: filled up, or cut before the last mark."""
    ids = tokenizer.encode(prompt).ids
    ids = ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
    padding = most - len(ids)
    return torch.tensor(ids + [0] * padding), torch.tensor([1] * len(ids) + [0] * padding)


class RewardNetwork(torch.nn.Module):
    """BLIP's image encoder, its text encoder with cross-attention to the image, and five linear layers on the first text position."""

    def __init__(self, vision: Any, text: Any, head: torch.nn.Module, kind: Head):
        super().__init__()
        self.vision, self.text, self.head, self.kind = vision, text, head, kind
        self.image_size = vision.config.image_size

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """pixels [B, 3, S, S], ids and mask [T] -> rewards [B]."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        rows = len(pixels)
        read = self.text(
            input_ids=ids.expand(rows, -1),
            attention_mask=mask.expand(rows, -1),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            is_decoder=False,
        ).last_hidden_state
        return (self.head(read[:, 0])[:, 0].float() - self.kind.mean) / self.kind.std


def empty_network(state: State, kind: Head) -> RewardNetwork:
    """A RewardNetwork of the sizes that the published weights have (heads are 64 wide, as in every BLIP)."""
    from transformers import BlipTextConfig, BlipVisionConfig
    from transformers.models.blip.modeling_blip import BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    patches, width = state["blip.visual_encoder.pos_embed"].shape[1:]
    patch = state["blip.visual_encoder.patch_embed.proj.weight"].shape[-1]
    vision = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["blip.visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_layers(state, "blip.visual_encoder.blocks."),
        num_attention_heads=width // 64,
        image_size=round((patches - 1) ** 0.5) * patch,
        patch_size=patch,
        layer_norm_eps=1e-6,
    )
    words, text_width = state["blip.text_encoder.embeddings.word_embeddings.weight"].shape
    text = BlipTextConfig(
        vocab_size=words,
        hidden_size=text_width,
        encoder_hidden_size=width,
        intermediate_size=state["blip.text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=_layers(state, "blip.text_encoder.encoder.layer."),
        num_attention_heads=text_width // 64,
        max_position_embeddings=state["blip.text_encoder.embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=1e-12,
        is_decoder=True,  # else transformers builds no cross-attention
    )
    return RewardNetwork(
        BlipVisionModel(vision), BlipTextModel(text, add_pooling_layer=False), _head(text_width, kind), kind
    )


def renamed(state: State) -> State:
    """The published names as RewardNetwork's; weights that no score depends on are left out."""
    out = {}
    for name, value in state.items():
        if name.startswith("blip.visual_encoder."):
            out["vision." + _vision_name(name.removeprefix("blip.visual_encoder."))] = value
        elif name.startswith("blip.text_encoder.") and not name.endswith("position_ids"):
            out["text." + name.removeprefix("blip.text_encoder.")] = value
        elif name.startswith("mlp.layers."):
            out["head." + name.removeprefix("mlp.layers.")] = value
    return out


def _vision_name(name: str) -> str:
    names = {"cls_token": "embeddings.class_embedding", "pos_embed": "embeddings.position_embedding"}
    if name in names:
        return names[name]
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blocks."):
        _, layer, part = stem.split(".", 2)
        return f"encoder.layers.{layer}.{_VISION_PARTS[part]}.{kind}"
    return {"patch_embed.proj": "embeddings.patch_embedding", "norm": "post_layernorm"}[stem] + f".{kind}"


def _head(width: int, kind: Head) -> torch.nn.Module:
    """The published positions in a Sequential; between them what does something when scoring, or nothing."""
    sizes = (width, 1024, 128, 64, 16, 1)
    parts: list[torch.nn.Module] = [kind.between() for _ in range(kind.layers[-1] + 1)]
    for place, inputs, outputs in zip(kind.layers, sizes, sizes[1:]):
        parts[place] = torch.nn.Linear(inputs, outputs)
    return torch.nn.Sequential(*parts)


def _layers(state: State, prefix: str) -> int:
    found = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    if len(found) > MOST_LAYERS or found != set(map(str, range(len(found)))):
        raise ValueError(f"its layers {prefix}N are not numbered 0 to at most {MOST_LAYERS - 1}")
    return len(found)
