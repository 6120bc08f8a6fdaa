"""The one file of the laboratory that touches ComfyUI and the rest of the pack: the digits' data, prompts, teacher and the judge's features."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..demo.codecs import PixelCodec
from ..demo.text_encoder import PAD, encoder_for, padded, tokens_of
from ..demo.worlds import DIGITS
from .networks import DigitNet

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "models" / "demo"
DATA = ROOT / ".cache" / "lab" / "digits.safetensors"
EMPTY = len(DIGITS)  # the number of the empty prompt among the prompts


def codec():
    model = PixelCodec()
    model.load_state_dict(load_file(FOLDER / "digits" / "vae.safetensors"))
    return model


@cache
def prompts():
    """Context [11, 4, 128] and pooled [11, 128] of "digit zero" to "digit nine" and of the empty prompt."""
    with torch.inference_mode(False), torch.no_grad():  # kept for training too, whoever asks first
        path = FOLDER / "digits" / "text_encoder.safetensors"
        with safe_open(path, "pt") as file:
            words = json.loads(file.metadata()["vocabulary"])
        state = {name: value.float() for name, value in load_file(path).items()}
        encoder, length = encoder_for(state), state["positions"].shape[0]
        encoder.load_state_dict(state)
        tokens = [padded(tokens_of(f"digit {name}", words), length) for name in DIGITS] + [[PAD] * length]
        return encoder(torch.tensor(tokens))


@cache
def data():
    """Latents [10000, 16, 8, 8] and the prompts they were shown with in the teacher's training, 15 % of them wrong on purpose."""
    if not DATA.is_file():
        raise FileNotFoundError(f"{DATA} is missing: run `python tools/train_lab.py data` first.")
    state = load_file(DATA)
    return state["latents"], state["prompts"]


def make_data(images, prompts):
    """Write the latents of uint8 images [N, 32, 32] and the numbers of their prompts, for `data`."""
    small = torch.from_numpy(images)[:, None].float() / 255
    with torch.no_grad():
        latents = codec().encode(
            small.repeat_interleave(2, -1).repeat_interleave(2, -2).expand(-1, 3, -1, -1)
        )
    DATA.parent.mkdir(parents=True, exist_ok=True)
    save_file({"latents": latents.contiguous(), "prompts": torch.from_numpy(prompts).contiguous()}, DATA)


def network(state, smooth=False):
    """The DigitNet of a state dict in Stable Diffusion 3's layout."""
    width = state["x_embedder.proj.weight"].shape[0]
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("joint_blocks."))
    head = state["joint_blocks.0.x_block.attn.ln_q.weight"].shape[0]
    model = DigitNet(width, depth, head, smooth=smooth)
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.train(False)


def teacher():
    """The shipped generator of the digits."""
    return network(load_file(FOLDER / "digits" / "generator.safetensors"))


def student():
    """The shipped two-step student."""
    return network(load_file(FOLDER / "digits" / "two_step.safetensors"), smooth=True)


def pictures(latents):
    """Images [B, 64, 64, 3] in [0, 1] of latents, as the pack's VAE decodes them."""
    with torch.no_grad():
        return codec().decode(latents.float()).clamp(0, 1).movedim(1, -1)


@cache
def _judge():
    from ..demo.classifiers import ClassifierFeatures  # with ComfyUI, which training can do without

    return ClassifierFeatures(FOLDER / "verifiers" / "digits_judge.safetensors")


def judge_features(images):
    """What the last layer of the digits' independent judge reads, float64 [B, D]."""
    return _judge().image_features(images).double()


@cache
def _classifier(name):
    from ..demo.classifiers import ManagedClassifier

    return ManagedClassifier(FOLDER / "verifiers" / f"{name}.safetensors", heads=(len(DIGITS),))


def log_probabilities(images, judge=False):
    """[B, 10] by the verifier, or by the independent judge that no search may see."""
    return _classifier("digits_judge" if judge else "digits_classifier")(images)[0]
