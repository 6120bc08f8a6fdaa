"""The files of a demo world as ComfyUI's MODEL, CLIP and VAE."""

import json
from pathlib import Path

import comfy.sd
import comfy.utils

from .clip import load_clip
from .vae import DemoVAE
from .worlds import WORLDS

FOLDER = Path(__file__).resolve().parent.parent / "models" / "demo"


def load_world(world):
    """(MODEL, CLIP, VAE) of a world. The MODEL has its world's shift; ComfyUI's own default for this layout is 3."""
    if world not in WORLDS:
        raise ValueError(f"No demo world is called {world!r}; there are {', '.join(WORLDS)}.")
    world = WORLDS[world]
    model = comfy.sd.load_diffusion_model_state_dict(_weights(world, world.generator)[0])
    model.model.model_sampling.set_parameters(shift=world.shift)
    weights, metadata = _weights(world, "text_encoder")
    return model, load_clip(weights, json.loads(metadata["vocabulary"])), DemoVAE(_weights(world, "vae")[0])


def _weights(world, part):
    """Tensors and metadata of one file."""
    path = FOLDER / world.folder / f"{part}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. The demo models belong to the pack: reinstall it, or train them with tools/train_demo.py."
        )
    return comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
