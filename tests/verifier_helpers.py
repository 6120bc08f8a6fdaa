"""Tiny verifiers on disk, made in a moment, in the layout of the real ones."""

import json

import folder_paths
import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def add_root(monkeypatch, folder, path):
    """Put a folder in front of one of ComfyUI's folder lists, for one test."""
    path.mkdir(parents=True, exist_ok=True)
    paths, endings = folder_paths.folder_names_and_paths[folder]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(path), *paths], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return path


def tiny_clip(seed=0, **changes):
    """An open_clip network with random weights, large enough that features differ."""
    torch.manual_seed(seed)
    network = open_clip.CLIP(**{**TINY_CLIP, **changes})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.train(False)


def lively(network):
    """The network with random weights under which different images have clearly different features (timm's layers begin as if they were not there)."""
    for name, parameter in network.named_parameters():
        if "gamma" in name:
            torch.nn.init.ones_(parameter)
        elif parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
    return network.train(False)


def write_clip_folder(path, seed=0, preprocess=None, model_changes=None):
    """An open_clip `local-dir:` folder."""
    path.mkdir(parents=True)
    config = {"model_cfg": {**TINY_CLIP, **(model_changes or {})}, "preprocess_cfg": preprocess or {}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(tiny_clip(seed, **(model_changes or {})).state_dict(), path / "open_clip_model.safetensors")
    return path


def images(count=3, height=48, width=40, seed=0):
    """Smooth random pictures [B, H, W, 3] in [0, 1] with some detail."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (
        (smooth + 0.1 * torch.rand(count, 3, height, width, generator=generator)).clamp(0, 1).movedim(1, -1)
    )


def pil(image):
    """One [H, W, 3] image as ComfyUI saves it."""
    return Image.fromarray((image.numpy() * 255).astype(np.uint8))
