"""Rewards of a tiny CycleReward by the package's own `score`, from prompts and pictures, as JSON on stdout (run by make.py).

The package's class itself, but for three things that it fetches or that are too large: the weights of BLIP it begins with, BERT's
tokenizer, and the size of its picture network, which has no setting.
"""

import json
import shutil
import tempfile
from pathlib import Path

import cyclereward.model
import torch
from cyclereward.blip import blip_pretrain
from cyclereward.blip.vit import VisionTransformer
from PIL import Image
from reward_weights import ALL_WORDS, IMAGE, LAYERS, PATCH, PROMPTS, TEXT_WIDTH, WIDTH, pictures, weights
from transformers import BertTokenizer

SETTINGS = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": TEXT_WIDTH // 64,
    "max_position_embeddings": 128,
    "vocab_size": ALL_WORDS,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "add_cross_attention": True,
}


def small(*sizes):
    sizes = {"img_size": IMAGE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": LAYERS}
    return VisionTransformer(**sizes, num_heads=WIDTH // 64), WIDTH


def tokenizer():
    """The package's, from the words in this repository instead of a download."""
    with tempfile.TemporaryDirectory() as words:
        shutil.copy("models/verifiers/bert_vocab.txt", Path(words) / "vocab.txt")
        made = BertTokenizer.from_pretrained(words)
    made.add_special_tokens({"bos_token": "[DEC]"})
    made.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return made


torch.set_num_threads(1)
blip_pretrain.create_vit, blip_pretrain.init_tokenizer = small, tokenizer
cyclereward.model.cyclereward_args.update(blip_path="", image_size=IMAGE, mlp_dim=TEXT_WIDTH)
with tempfile.TemporaryDirectory() as folder:
    config = Path(folder, "med_config.json")
    config.write_text(json.dumps(SETTINGS))
    model = cyclereward.model.CycleReward(med_config=str(config)).eval()
shapes = {
    name: list(value.shape) for name, value in model.state_dict().items() if not name.endswith("position_ids")
}
model.load_state_dict(
    {name: torch.from_numpy(value) for name, value in weights(shapes).items()}, strict=False
)
prompts = (*PROMPTS, "a long caption, word by word, " * 30)
scores = [
    [model.score(model.preprocess(Image.fromarray(picture))[None], prompt).item() for picture in pictures()]
    for prompt in prompts
]
print(json.dumps({"shapes": shapes, "prompts": prompts, "scores": scores}))
