"""Rewards of a tiny ImageReward by the package's own modules, and by its own `score` from prompts and pictures, as JSON on stdout (run by make.py, with transformers 4).

The package itself cannot be imported (its __init__ wants a trainer's dependencies), so its modules are loaded one by one, with a
stand-in for the one name it takes from fairscale (gradient checkpointing, unused) and the three that transformers moved.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
import types
from pathlib import Path

import torch
import transformers.modeling_utils
import transformers.pytorch_utils
from PIL import Image
from reward_weights import (
    ALL_WORDS,
    IMAGE,
    LAYERS,
    PATCH,
    PROMPTS,
    TEXT_WIDTH,
    WIDTH,
    WORDS,
    inputs,
    pictures,
    weights,
)
from transformers import BertTokenizer
from transformers.models.bert.configuration_bert import BertConfig

for name in ("apply_chunking_to_forward", "find_pruneable_heads_and_indices", "prune_linear_layer"):
    setattr(transformers.modeling_utils, name, getattr(transformers.pytorch_utils, name))
checkpoint = types.ModuleType("fairscale.nn.checkpoint.checkpoint_activations")
checkpoint.checkpoint_wrapper = lambda module: module
for name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[checkpoint.__name__] = checkpoint


folder = Path(importlib.util.find_spec("ImageReward").submodule_search_locations[0])
for name in (
    "ImageReward",
    "ImageReward.models",
    "ImageReward.models.BLIP",
):  # packages without their __init__
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(folder.parent.joinpath(*name.split(".")))]

from ImageReward.ImageReward import MLP, ImageReward, _transform  # noqa: E402
from ImageReward.models.BLIP.med import BertModel  # noqa: E402
from ImageReward.models.BLIP.vit import VisionTransformer  # noqa: E402


class Tiny(torch.nn.Module):
    device, mean, std, preprocess = (
        "cpu",
        0.16717362830052426,
        1.0333394966054072,
        staticmethod(_transform(IMAGE)),
    )  # as the package's class has them
    score = ImageReward.score

    def __init__(self, words):
        super().__init__()
        self.blip = torch.nn.Module()
        self.blip.visual_encoder = VisionTransformer(
            img_size=IMAGE, patch_size=PATCH, embed_dim=WIDTH, depth=LAYERS, num_heads=WIDTH // 64
        )
        settings = dict(
            vocab_size=words,
            hidden_size=TEXT_WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=TEXT_WIDTH // 64,
            intermediate_size=256,
        )
        config = BertConfig(
            **settings,
            max_position_embeddings=64,
            layer_norm_eps=1e-12,
            add_cross_attention=True,
            encoder_width=WIDTH,
        )
        self.blip.text_encoder = BertModel(config, add_pooling_layer=False)
        self.mlp = MLP(TEXT_WIDTH)

    def forward(self, pixels, ids, mask):
        seen = self.blip.visual_encoder(pixels)
        seen_mask = torch.ones(seen.size()[:-1], dtype=torch.long)
        read = self.blip.text_encoder(
            ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=seen_mask,
            return_dict=True,
        )
        return (self.mlp(read.last_hidden_state[:, 0, :].float()) - self.mean) / self.std


def made(words):
    """(the network with weights that any program can make, their shapes)."""
    model = Tiny(words).eval()
    shapes = {
        name: list(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith("position_ids")
    }
    model.load_state_dict(
        {name: torch.from_numpy(value) for name, value in weights(shapes).items()}, strict=False
    )
    return model, shapes


def tokenizer():
    """The package's, from the words in this repository instead of a download."""
    with tempfile.TemporaryDirectory() as words:
        shutil.copy("models/verifiers/bert_vocab.txt", Path(words) / "vocab.txt")
        made = BertTokenizer.from_pretrained(words)
    made.add_special_tokens({"bos_token": "[DEC]"})
    made.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return made


torch.set_num_threads(1)
model, shapes = made(WORDS)
pixels, ids, mask = map(torch.from_numpy, inputs())
with torch.no_grad():
    rewards = [
        [model(pixels[i : i + 1], ids[t : t + 1], mask[t : t + 1]).item() for i in range(len(pixels))]
        for t in range(len(ids))
    ]
    whole, _ = made(ALL_WORDS)
    whole.blip.tokenizer = tokenizer()
    scores = [[whole.score(prompt, Image.fromarray(picture)) for picture in pictures()] for prompt in PROMPTS]
print(json.dumps({"shapes": shapes, "rewards": rewards, "scores": scores}))
