"""CLIP models as image and text features: loaded once, shared by every verifier that uses the same file."""

import json
import weakref
from pathlib import Path

import torch

from . import clip_models
from .features import ImageFeatures, unit
from ..files import CLIP_CONFIG, WrongFile, load_strict, load_weights, taken_for, written
from .managed import ManagedModel
from .preprocess import Preprocess

_LOADED = weakref.WeakValueDictionary()  # alive for as long as a verifier uses them
_FITS = {"shortest": "crop", "squash": "squash", "longest": "pad"}  # open_clip's words for ours
_REMEMBERED_TEXTS = 64


class ClipTower(ImageFeatures):
    """Unit-length features of images and texts. Features of the last images and texts are remembered.

    tokenizer: texts, context_length -> token ids [B, context_length]; context: how many tokens the network reads.
    """

    def __init__(self, network, tokenizer, preprocess, context, device="auto"):
        self.model = ManagedModel(network, device, half=True)
        self.tokenizer, self.preprocess, self.context = tokenizer, preprocess, context
        self._texts = {}

    def image_features(self, images, look=None):
        """[B, H, W, 3] in [0, 1] -> float32 [B, D] of length 1. look: other preprocessing than the tower's own."""
        return super().image_features(images, look or self.preprocess)

    def features(self, images, look):
        return unit(
            self.model.run(lambda network, rows: network.encode_image(rows), images, look)
        )  # made of length 1 in single precision

    def text_features(self, texts):
        """A tuple of texts -> float32 [len(texts), D] of length 1."""
        if texts not in self._texts:
            if len(self._texts) >= _REMEMBERED_TEXTS:
                self._texts.clear()
            tokens = self.tokenizer(list(texts), context_length=self.context)
            self._texts[texts] = unit(self.model.run(lambda network, rows: network.encode_text(rows), tokens))
        return self._texts[texts]

    @property
    def scale(self):
        """What the network multiplies a cosine with to make a logit."""
        return self.model.network.logit_scale.exp().item()

    def truncation(self, text):
        """What is cut off a text, in words, or None when the network reads all of it."""
        room = max(
            2 * self.context, len(text.encode("utf-8", "replace")) + 2
        )  # no tokenizer makes more tokens than bytes and two marks
        tokens, padding = (
            self.tokenizer([text], context_length=room)[0],
            self.tokenizer([""], context_length=room)[0, -1],
        )
        used = int((tokens != padding).sum())
        return (
            f"reads {self.context} of the prompt's {used} tokens; the end is ignored"
            if used > self.context
            else None
        )


def load_tower(path, architecture="auto", device="auto"):
    """The CLIP in a safetensors / torch file or in an open_clip folder, shared with whoever loaded it before.

    architecture: a name of `clip_models.MODELS`, or "auto": from the file's name, or the folder's config.
    ImportError without open_clip; ValueError when the weights do not fit or the folder wants code or downloads.
    """
    path = Path(path)
    known = (
        None
        if path.is_dir()
        else clip_models.by_file(path.name)
        if architecture == "auto"
        else clip_models.by_name(architecture)
    )
    key = (str(path), written(path), known, device)
    tower = _LOADED.get(key)
    if tower is None:
        tower = _LOADED[key] = (
            _from_folder(path, device) if known is None else _from_file(path, known, device)
        )
    return tower


def require_open_clip():
    """The open_clip module, or an ImportError that says how to get it."""
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            "This verifier needs the package open_clip_torch, which is not part of ComfyUI. Install it into ComfyUI's Python: "
            f"pip install open_clip_torch (it changes no other package), then restart ComfyUI. ({error})"
        ) from error
    return open_clip


def _from_file(path, known, device):
    open_clip = require_open_clip()
    config = open_clip.get_model_config(known.architecture)
    if known.quick_gelu:
        config["quick_gelu"] = True
    network = _filled(config, path, known.name)
    preprocess = Preprocess(_image_size(network), known.fit, known.interpolation, known.mean, known.std)
    return ClipTower(
        network, open_clip.get_tokenizer(known.architecture), preprocess, _context(config), device
    )


def _from_folder(path, device):
    open_clip = require_open_clip()
    with taken_for(f"an open_clip model (folder {path.name})", path / CLIP_CONFIG):
        settings = json.loads((path / CLIP_CONFIG).read_text(encoding="utf-8"))
        config, look, defaults = settings["model_cfg"], settings.get("preprocess_cfg", {}), Preprocess()
        network = _filled(config, _weights_in(path), path.name)
        preprocess = Preprocess(
            _image_size(network),
            _FITS[look.get("resize_mode") or "shortest"],
            look.get("interpolation") or "bicubic",
            tuple(look.get("mean") or defaults.mean),
            tuple(look.get("std") or defaults.std),
        )
    # Tokenizer files come from strangers too: no code from the folder, nothing from the network.
    safe = (
        {"trust_remote_code": False, "local_files_only": True}
        if config["text_cfg"].get("hf_tokenizer_name")
        else {}
    )
    try:
        tokenizer = open_clip.get_tokenizer(f"local-dir:{path}", **safe)
    except Exception as error:
        raise WrongFile(
            f"The tokenizer files of the folder {path.name} are missing, broken, or of a kind that would have to run code ({type(error).__name__}). "
            "Take the model's whole folder; only tokenizers that transformers itself knows can be used."
        ) from error
    return ClipTower(network, tokenizer, preprocess, _context(config), device)


def _build(config):
    """The network that an open_clip model config describes, with random weights and without downloads."""
    from open_clip import CLIP, CustomTextCLIP

    config = {**config, "vision_cfg": {**config["vision_cfg"], "timm_model_pretrained": False}}
    if (
        "hf_model_name" in config["text_cfg"]
        or "multimodal_cfg" in config
        or ":" in config["vision_cfg"].get("timm_model_name", "")
    ):
        raise ValueError(
            "This open_clip model builds on another model that would have to be downloaded; choose one that is complete in itself."
        )
    return (CustomTextCLIP if config.pop("custom_text", False) else CLIP)(**config)


def _filled(config, path, what):
    """The network of a config with the weights of a file. A config that does not fit the file is refused before anything of its size is made."""
    from open_clip.convert import convert_state_dict

    with taken_for(f"the weights of {what}", path):
        state = {
            name.removeprefix("module."): value for name, value in load_weights(path).items()
        }  # as open_clip's training saves them
        if "vision_model.embeddings.class_embedding" in state and "text_projection.weight" not in state:
            raise WrongFile(
                f"{path.name} is the image half of a CLIP only, as ComfyUI's CLIP Vision models are. A verifier reads the prompt, too: take the whole CLIP, "
                "or connect Load CLIP Vision to a node that has a socket for it."
            )
        if "text_model.embeddings.token_embedding.weight" in state:
            state = from_transformers(state)
    if any(
        isinstance(layers := part.get("layers"), int) and layers > len(state)
        for part in (config["vision_cfg"], config["text_cfg"])
    ):
        raise WrongFile(f"{path.name} has fewer tensors than {what} is said to have layers.")
    plan = _plan(config) or _build(config)
    with taken_for(f"the weights of {what}", path):
        state = convert_state_dict(plan, state)
        for name in ("logit_scale", "logit_bias"):  # saved as a number or as a list of one
            if name in state and getattr(plan, name, None) is not None:
                state[name] = state[name].reshape(getattr(plan, name).shape)
        plan.load_state_dict(state, assign=True)
        return load_strict(_build(config), state, path, what)


def _plan(config):
    """The network of a config without its numbers, which takes no memory however large; None where timm cannot do that (before 1.0.22)."""
    try:
        with torch.device("meta"):
            return _build(config)
    except (NotImplementedError, RuntimeError):
        return None


def from_transformers(state):
    """The weights of a transformers CLIPModel under open_clip's names."""
    state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    out = {
        "logit_scale": state["logit_scale"],
        "text_projection": state["text_projection.weight"].T,
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
    }
    norms = {
        "ln_final": "text_model.final_layer_norm",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
    }
    parts = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
    renamed = dict(norms)
    for ours, theirs in (("", "text_model."), ("visual.", "vision_model.")):
        layer = 0
        while f"{theirs}encoder.layers.{layer}.layer_norm1.weight" in state:
            block, source = f"{ours}transformer.resblocks.{layer}", f"{theirs}encoder.layers.{layer}"
            renamed.update({f"{block}.{part}": f"{source}.{name}" for part, name in parts.items()})
            for kind in ("weight", "bias"):
                out[f"{block}.attn.in_proj_{kind}"] = torch.cat(
                    [state[f"{source}.self_attn.{qkv}_proj.{kind}"] for qkv in "qkv"]
                )
            layer += 1
    out.update(
        {
            f"{new}.{kind}": state[f"{old}.{kind}"]
            for new, old in renamed.items()
            for kind in ("weight", "bias")
        }
    )
    return out


def _weights_in(folder):
    """The weights file of an open_clip folder, safetensors first."""
    stems = ("open_clip_model", "open_clip_pytorch_model", "model")
    files = [folder / f"{stem}{ending}" for ending in (".safetensors", ".bin", ".pt") for stem in stems]
    found = [file for file in files if file.is_file()]
    if not found:
        raise ValueError(
            f"The folder {folder.name} has a {CLIP_CONFIG} but no open_clip_model.safetensors beside it."
        )
    return found[0]


def _image_size(network):
    size = network.visual.image_size
    sides = set(size) if isinstance(size, (tuple, list)) else {size}
    if len(sides) > 1:
        raise ValueError(f"This CLIP sees {size[1]} x {size[0]} pixels; only square ones are supported.")
    return sides.pop()


def _context(config):
    return config["text_cfg"].get("context_length", 77)
