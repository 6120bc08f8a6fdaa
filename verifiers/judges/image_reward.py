"""ImageReward: a model of which image of a prompt people prefer (Xu et al. 2023, arXiv 2304.05977).

The published weights run in transformers' own BLIP modules, which compute the same thing; the package `image-reward`, whose
pinned dependencies break other packages, is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..base import Batch, ImageVerifier
from ..networks.managed import ManagedModel
from ..networks.preprocess import Preprocess
from ..networks.weights import State, load_into, named, outline, taken_for

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the reward over the authors' data
TOKENS = 35
MOST_LAYERS = 64  # the published network has 24 and 12
WHAT = "ImageReward as published (ImageReward.pt)"
PUBLISHED = (
    "blip.visual_encoder.pos_embed",
    "blip.text_encoder.embeddings.word_embeddings.weight",
    "mlp.layers.0.weight",
)  # of the names in its file
_VOCABULARY = Path(__file__).resolve().parents[2] / "models" / "verifiers" / "bert_vocab.txt"
_VISION_PARTS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
}
_VISION_PARTS |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}


class ImageReward(ImageVerifier):
    """The reward, about -2 to 2; the authors' training images have mean 0 and deviation 1."""

    name = "ImageReward"
    needs_prompt = True

    def __init__(self, path: Path, device: str = "auto"):
        self.model = ManagedModel(load_network(path), device, half=True, row_bytes=128 * 2**20, source=path)
        self.preprocess, self.tokenizer = Preprocess(self.model.network.image_size), load_tokenizer()

    def judge(self, batch: Batch) -> torch.Tensor:
        ids, mask = self.tokens(batch.prompt)
        return self.model.run(
            lambda network, rows: network(rows, ids.to(rows.device), mask.to(rows.device)),
            batch.images,
            self.preprocess,
        )

    def tokens(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, attention mask), each int64 [TOKENS]."""
        ids = self.tokenizer.encode(prompt).ids
        ids = ids if len(ids) <= TOKENS else [*ids[: TOKENS - 1], ids[-1]]
        padding = TOKENS - len(ids)
        return torch.tensor(ids + [0] * padding), torch.tensor([1] * len(ids) + [0] * padding)

    def notes(self, prompt: str) -> tuple[str, ...]:
        used = len(self.tokenizer.encode(prompt).ids)
        return (f"reads {TOKENS} of the prompt's {used} tokens; the end is ignored",) if used > TOKENS else ()


class RewardNetwork(torch.nn.Module):
    """BLIP's image encoder, its text encoder with cross-attention to the image, and five linear layers on the first text position."""

    def __init__(self, vision: Any, text: Any, head: torch.nn.Module):
        super().__init__()
        self.vision, self.text, self.head = vision, text, head
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
        return (self.head(read[:, 0])[:, 0].float() - MEAN) / STD


def load_network(path: Path) -> torch.nn.Module:
    """The RewardNetwork of a file with the published names."""
    with taken_for(WHAT, path):
        sizes = named(outline(path), PUBLISHED, path, WHAT)
        return load_into(
            lambda: empty_network(sizes), path, "ImageReward", lambda state, network: renamed(state)
        )


def empty_network(state: State) -> RewardNetwork:
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
        BlipVisionModel(vision), BlipTextModel(text, add_pooling_layer=False), _head(text_width)
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


def load_tokenizer() -> Any:
    """BERT's uncased word pieces, without padding and truncation."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True)
    tokenizer.add_special_tokens(
        ["[DEC]", "[ENC]"]
    )  # as the package has; they count as one token where a prompt holds them
    return tokenizer


def _vision_name(name: str) -> str:
    names = {"cls_token": "embeddings.class_embedding", "pos_embed": "embeddings.position_embedding"}
    if name in names:
        return names[name]
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blocks."):
        _, layer, part = stem.split(".", 2)
        return f"encoder.layers.{layer}.{_VISION_PARTS[part]}.{kind}"
    return {"patch_embed.proj": "embeddings.patch_embedding", "norm": "post_layernorm"}[stem] + f".{kind}"


def _head(width: int) -> torch.nn.Module:
    """The published positions in a Sequential with dropouts, which do nothing when scoring."""
    linear, nothing = torch.nn.Linear, torch.nn.Identity
    return torch.nn.Sequential(
        linear(width, 1024),
        nothing(),
        linear(1024, 128),
        nothing(),
        linear(128, 64),
        nothing(),
        linear(64, 16),
        linear(16, 1),
    )


def _layers(state: State, prefix: str) -> int:
    found = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    if len(found) > MOST_LAYERS or found != set(map(str, range(len(found)))):
        raise ValueError(f"its layers {prefix}N are not numbered 0 to at most {MOST_LAYERS - 1}")
    return len(found)
