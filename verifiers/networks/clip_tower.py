"""CLIP models as image and text features: loaded once, shared by every verifier that uses the same file."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..files import CLIP_CONFIG, written
from . import clip_models
from .clip_models import ClipModel
from .features import ImageFeatures, unit
from .managed import ManagedModel
from .preprocess import Preprocess
from .weights import State, WrongFile, load_into, outline, read_config, taken_for

_LOADED: weakref.WeakValueDictionary = (
    weakref.WeakValueDictionary()
)  # alive for as long as a verifier uses them
_FITS = {"shortest": "crop", "squash": "squash", "longest": "pad"}  # open_clip's words for ours
_REMEMBERED_TEXTS = 64
_MOST_LAYERS = 128  # the largest have 50
_READ_LETTERS = 64  # that are looked at for each token a network reads; a token has about five
_COUNTED_LETTERS = 20_000  # that are looked at to say how many tokens a text has
_LONG_WORD = re.compile(
    r"([^\W\d_]{64})(?=[^\W\d_])"
)  # open_clip's own tokenizer takes seconds for words of thousands of letters
_TOKENIZER_FILES = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
_TOKENIZER_SETTINGS = {
    "clean",
    "strip_sep_token",
    "tokenizer_mode",
}  # open_clip's that name no file and draw no lots
_TOKENIZER_BYTES = 64 * 2**20  # of all tokenizer files; the largest published ones have 35 MB


class ClipTower(ImageFeatures):
    """Unit-length features of images and texts. Features of the last images and texts are remembered.

    tokenizer: texts, context_length -> token ids [B, context_length]; context: how many tokens the network reads.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        tokenizer: Callable,
        preprocess: Preprocess,
        context: int,
        device: str = "auto",
        source: Path | None = None,
    ):
        self.model = ManagedModel(network, device, half=True, source=source)
        self.tokenizer, self.preprocess, self.context = tokenizer, preprocess, context
        self._texts: dict[tuple[str, ...], torch.Tensor] = {}

    def image_features(self, images: torch.Tensor, look: Callable | None = None) -> torch.Tensor:
        """[B, H, W, 3] in [0, 1] -> float32 [B, D] of length 1. look: other preprocessing than the tower's own."""
        return super().image_features(images, look or self.preprocess)

    def features(self, images: torch.Tensor, look: Callable) -> torch.Tensor:
        return unit(
            self.model.run(lambda network, rows: network.encode_image(rows), images, look)
        )  # made of length 1 in single precision

    def text_features(self, texts: tuple[str, ...]) -> torch.Tensor:
        """A tuple of texts -> float32 [len(texts), D] of length 1."""
        if texts not in self._texts:
            if len(self._texts) >= _REMEMBERED_TEXTS:
                self._texts.clear()
            found = self.model.run(lambda network, rows: network.encode_text(rows), self.tokens(texts))
            self._texts[texts] = unit(found)
        return self._texts[texts]

    def tokens(self, texts: tuple[str, ...], most: int | None = None) -> torch.Tensor:
        """The token ids of texts, at most as many as the network reads (or `most`). ValueError for a text that has none."""
        letters = _READ_LETTERS * self.context if most is None else _COUNTED_LETTERS
        readable = [_LONG_WORD.sub(r"\1 ", text[:letters]) for text in texts]
        return self.tokenizer(readable, context_length=most or self.context)

    @property
    def scale(self) -> float:
        """What the network multiplies a cosine with to make a logit."""
        return self.model.network.logit_scale.exp().item()

    def truncation(self, text: str) -> str | None:
        """What is cut off a text, in words, or None when the network reads all of it."""
        begin = text[:_COUNTED_LETTERS]
        room = max(
            2 * self.context, len(begin.encode("utf-8", "replace")) + 2
        )  # no tokenizer makes more tokens than bytes and two marks
        tokens, padding = self.tokens((begin,), room)[0], self.tokens(("",), room)[0, -1]
        used = int((tokens != padding).sum())
        if used <= self.context:
            return None
        more = "more than " if len(begin) < len(text) else ""
        return f"reads {self.context} of the prompt's {more}{used} tokens; the end is ignored"


def load_tower(path: Path, architecture: str = "auto", device: str = "auto") -> ClipTower:
    """The CLIP in a safetensors / torch file or in an open_clip folder, shared with whoever loaded it before.

    architecture: a name of `clip_models.MODELS`, or "auto": from the file's name, or the folder's config.
    ImportError without open_clip; ValueError when the weights do not fit or the folder wants code or downloads.
    """
    path = Path(path)
    known = (
        None
        if path.is_dir()
        else clip_models.by_file(path)
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


def require_open_clip() -> Any:
    """The open_clip module, or an ImportError that says how to get it."""
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            "This verifier needs the package open_clip_torch, which is not part of ComfyUI. Install it into ComfyUI's Python: "
            f"pip install open_clip_torch (it changes no other package), then restart ComfyUI. ({error})"
        ) from error
    return open_clip


def _from_file(path: Path, known: ClipModel, device: str) -> ClipTower:
    open_clip = require_open_clip()
    config = open_clip.get_model_config(known.architecture)
    if known.quick_gelu:
        config["quick_gelu"] = True
    network = _filled(config, path, known.name)
    preprocess = Preprocess(_image_size(network), known.fit, known.interpolation, known.mean, known.std)
    return ClipTower(
        network, open_clip.get_tokenizer(known.architecture), preprocess, _context(config), device, path
    )


def _from_folder(path: Path, device: str) -> ClipTower:
    require_open_clip()
    with taken_for(f"an open_clip model (folder {path.name})", path / CLIP_CONFIG):
        settings = read_config(path / CLIP_CONFIG)
        config, look, defaults = settings["model_cfg"], settings.get("preprocess_cfg", {}), Preprocess()
        network = _filled(config, _weights_in(path), path.name)
        preprocess = Preprocess(
            _image_size(network),
            _FITS[look.get("resize_mode") or "shortest"],
            look.get("interpolation") or "bicubic",
            tuple(look.get("mean") or defaults.mean),
            tuple(look.get("std") or defaults.std),
        )
    return ClipTower(network, _tokenizer_in(path, config), preprocess, _context(config), device, path)


def _tokenizer_in(path: Path, config: dict) -> Callable:
    """A folder's tokenizer. Its files come from strangers, too: no code from the folder, nothing from the network."""
    own = bool(config["text_cfg"].get("hf_tokenizer_name"))
    safe = {"trust_remote_code": False, "local_files_only": True} if own else {}
    size = sum(file.stat().st_size for file in path.iterdir() if file.suffix in _TOKENIZER_FILES)
    try:
        settings = set(config["text_cfg"].get("tokenizer_kwargs") or {})
        if size > _TOKENIZER_BYTES or not settings <= _TOKENIZER_SETTINGS:
            raise ValueError(f"{size} bytes of tokenizer files, settings {settings}")
        return require_open_clip().get_tokenizer(f"local-dir:{path}", **safe)
    except Exception as error:
        raise WrongFile(
            f"The tokenizer files of the folder {path.name} are missing, broken, or of a kind that would have to run code ({type(error).__name__}). "
            "Take the model's whole folder; only tokenizers that transformers itself knows can be used."
        ) from error


def _build(config: dict) -> torch.nn.Module:
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


def _filled(config: dict, path: Path, what: str) -> torch.nn.Module:
    """The network of a config with the weights of a file. A config that does not fit the file is refused before anything of its size is made."""
    from open_clip.convert import convert_state_dict

    sizes = _plain(outline(path))
    if "vision_model.embeddings.class_embedding" in sizes and "text_projection.weight" not in sizes:
        raise WrongFile(
            f"{path.name} is the image half of a CLIP only, as ComfyUI's CLIP Vision models are. A verifier reads the prompt, too: take the whole CLIP, "
            "or connect Load CLIP Vision to a node that has a socket for it."
        )
    for part in (config["vision_cfg"], config["text_cfg"]):
        layers = part.get("layers", 0)
        if sum(layers if isinstance(layers, list) else [layers]) > min(_MOST_LAYERS, len(sizes)):
            raise WrongFile(
                f"{what} is said to have {str(layers)[:60]} layers: {path.name} has {len(sizes)} tensors, and {_MOST_LAYERS} layers are allowed."
            )

    def translate(state: State, network: Any) -> State:
        state = convert_state_dict(network, _plain(state))
        if "text_model.embeddings.token_embedding.weight" in state:
            state = from_transformers(state)
        for name in ("logit_scale", "logit_bias"):  # saved as a number or as a list of one
            if name in state and getattr(network, name, None) is not None:
                state[name] = state[name].reshape(getattr(network, name).shape)
        return state

    return load_into(lambda: _build(config), path, what, translate)


def _plain(state: State) -> State:
    """Without what open_clip's training puts before the names."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def from_transformers(state: State) -> State:
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


def _weights_in(folder: Path) -> Path:
    """The weights file of an open_clip folder, safetensors first."""
    stems = ("open_clip_model", "open_clip_pytorch_model", "model")
    files = [folder / f"{stem}{ending}" for ending in (".safetensors", ".bin", ".pt") for stem in stems]
    found = [file for file in files if file.is_file()]
    if not found:
        raise ValueError(
            f"The folder {folder.name} has a {CLIP_CONFIG} but no open_clip_model.safetensors beside it."
        )
    return found[0]


def _image_size(network: Any) -> int:
    size = network.visual.image_size
    sides = set(size) if isinstance(size, (tuple, list)) else {size}
    if len(sides) > 1:
        raise ValueError(f"This CLIP sees {size[1]} x {size[0]} pixels; only square ones are supported.")
    return sides.pop()


def _context(config: dict) -> int:
    return config["text_cfg"].get("context_length", 77)
