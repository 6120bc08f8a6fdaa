"""Files for every scorer and feature network whose published one is not in this pack: tiny or random weights of the true layout, in the
place and under a name where the catalogue finds them.

Each function writes into `verifiers` and `clips`, folders that ComfyUI lists, and returns the name to choose ("auto" for the published one).
"""

import json
from pathlib import Path

import torch
from inception_weights import weights as inception_weights
from reward_weights import ALL_WORDS, weights
from safetensors.torch import save_file
from test_verifiers_image_reward import REFERENCE
from verifier_helpers import lively, write_clip_folder

from noisesearch.verifiers.catalogue import (
    AESTHETIC_HEAD,
    CYCLE_REWARD,
    DINO,
    FID_INCEPTION,
    IMAGE_REWARD,
    OPENAI_L14,
)
from noisesearch.verifiers.files import AUTO


def image_reward(verifiers, clips, seed=0):
    words = "blip.text_encoder.embeddings.word_embeddings.weight"
    shapes = {**REFERENCE["shapes"], words: (ALL_WORDS, REFERENCE["shapes"][words][1])}
    state = {name: torch.from_numpy(value) for name, value in weights(shapes).items()}
    state["mlp.layers.7.bias"] += seed
    torch.save(state, verifiers / IMAGE_REWARD.name)
    (verifiers / "med_config.json").write_text("{}")
    return AUTO


def cycle_reward(verifiers, clips, seed=0):
    fixture = Path(__file__).parent / "fixtures" / "cycle_reward.json"
    shapes = json.loads(fixture.read_text(encoding="utf-8"))["values"]["shapes"]
    state = {name: torch.from_numpy(value) for name, value in weights(shapes).items()}
    state["mlp.layers.8.bias"] += seed
    torch.save(state, verifiers / CYCLE_REWARD[0].name)
    return AUTO


def clip(verifiers, clips, seed=0):
    write_clip_folder(clips / "tiny", seed)
    return "tiny"


def aesthetic(verifiers, clips, seed=0):
    """On a folder that is called like the file: it has no other name to be found by."""
    write_clip_folder(clips / OPENAI_L14[0].name, model_changes={"embed_dim": 768})
    sizes = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer, (outputs, inputs) in sizes.items():
        state[f"layers.{layer}.weight"] = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
        state[f"layers.{layer}.bias"] = torch.randn(outputs, generator=generator)
    torch.save(state, verifiers / AESTHETIC_HEAD.name)
    return AUTO


def dino(verifiers, clips, seed=0):
    import timm

    torch.manual_seed(seed)
    network = timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True)
    save_file(lively(network).state_dict(), verifiers / DINO[1].name)
    return AUTO


def fid_inception(verifiers, clips, seed=0):
    from torchvision.models import inception_v3

    plain = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    shapes = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in inception_weights(shapes).items()}
    state["Mixed_7c.branch_pool.bn.bias"] += seed
    torch.save(state, verifiers / FID_INCEPTION.name)
    return AUTO


SCORERS = {
    "ImageReward": image_reward,
    "CLIPScore": clip,
    "CLIP cosine": clip,
    "PickScore": clip,
    "HPSv2.1": clip,
    "aesthetic (LAION v2)": aesthetic,
    "CycleReward": cycle_reward,
    "ImageReward (package)": image_reward,
}
FEATURES = {"CLIP": clip, "DINO": dino, "Inception (FID)": fid_inception}


class PackagedNetwork(torch.nn.Module):
    """Stands in for the package image-reward's network, as its `load` gives it: one prompt, one PIL image, a float."""

    def __init__(self, path, config):
        super().__init__()
        self.path, self.config, self.device = path, config, None
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def score(self, prompt, image):
        import numpy as np

        red = torch.tensor(np.array(image), dtype=torch.float32, device=self.device)[..., 0].mean()
        return (self.gain * red / 255 + len(prompt)).detach().item()
