"""Vision-language models of the true layouts, tiny and with random weights, in files that ComfyUI's own Load CLIP reads. For ComfyUI 0.26 and later.

Sizes are the only thing that is changed, in ComfyUI's own tables, while a file is made or loaded.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import folder_paths
import torch
from safetensors.torch import save_file

WIDTH = 64
VISION = {"hidden_size": 64, "intermediate_size": 96, "depth": 3, "num_heads": 4}
SIGLIP = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
SENTENCES = (
    "Does this figure show a red cube? Please answer Yes or No.",
    "Is there a cat on a roof?",
    "user model system",
)


@dataclass(frozen=True)
class Layout:
    """module: of comfy.text_encoders. shrink: what makes it tiny, as context managers. build: the encoder's class, made when it is tiny."""

    name: str
    module: str
    shrink: Callable[[Any], Iterator[Any]]
    build: Callable[[Any], Any]
    rename: tuple[tuple[str, str], ...] = ()
    extra: Callable[[], dict[str, torch.Tensor]] = dict


def available(layout: Layout) -> str:
    """Nothing where this ComfyUI has the layout; else why not."""
    if not hasattr(importlib.import_module("comfy.sd").CLIP, "generate"):
        return "this ComfyUI cannot generate text: 0.15 can, and 0.26 has Qwen3-VL"
    try:
        module = importlib.import_module(f"comfy.text_encoders.{layout.module}")
        with ExitStack() as stack:
            for patch in layout.shrink(module):
                stack.enter_context(patch)
    except (ImportError, AttributeError, KeyError) as error:
        return f"this ComfyUI has no {layout.name}: {type(error).__name__} {error}"
    return ""


@contextmanager
def tiny(layout: Layout) -> Iterator[Any]:
    module = importlib.import_module(f"comfy.text_encoders.{layout.module}")
    with ExitStack() as stack:
        for patch in layout.shrink(module):
            stack.enter_context(patch)
        yield module


def write(layout: Layout, folder: Path, seed: int = 0, without: tuple[str, ...] = ()) -> str:
    """A file with random weights; its name. without: what its names must not hold."""
    with tiny(layout) as module:
        network = layout.build(module)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        scale = name.endswith("norm.weight") or "layernorm" in name
        drawn = torch.randn(value.shape, generator=generator) * 0.05
        state[name] = (1 + drawn if scale else drawn).to(torch.float32)
    for ours, theirs in layout.rename:
        state = {
            theirs + name.removeprefix(ours) if name.startswith(ours) else name: v
            for name, v in state.items()
        }
    state = {name: v for name, v in state.items() if not any(part in name for part in without)}
    path = folder / f"{layout.name.replace(' ', '_').lower()}_{seed}.safetensors"
    save_file({name: value.contiguous() for name, value in {**state, **layout.extra()}.items()}, path)
    return path.name


def true_size_file(folder: Path) -> tuple[str, int]:
    """(name, number of weights) of a file of Qwen3-VL 4B in bf16, all of them 0: a hole on the disk that takes no room."""
    module = importlib.import_module("comfy.text_encoders.qwen3vl")
    network = module._make_qwen3vl_model("qwen3vl_4b")({}, torch.bfloat16, "meta", _ops())
    header, end, count = {}, 0, 0
    for name, value in network.state_dict().items():
        for ours, theirs in QWEN_NAMES:
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
                break
        size = 2 * value.numel()
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [end, end + size]}
        end, count = end + size, count + value.numel()
    text = json.dumps(header).encode()
    path = folder / "qwen3vl_4b_empty.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path.name, count


def load(layout: Layout | None, folder: Path, name: str, kind: str = "stable_diffusion") -> Any:
    """The CLIP that ComfyUI's Load CLIP gives for a file of a folder. layout: None for one of true size."""
    import nodes

    paths, endings = folder_paths.folder_names_and_paths["text_encoders"]
    lists = {"text_encoders": ([str(folder), *paths], endings)}
    with (
        mock.patch.dict(folder_paths.folder_names_and_paths, lists),
        mock.patch.object(folder_paths, "filename_list_cache", {}),
        tiny(layout) if layout else nullcontext(),
    ):
        return nodes.CLIPLoader().load_clip(name, kind)[0]


def direct(layout: Layout, clip: Any, tokens: Any) -> torch.Tensor:
    """The logits [vocabulary] behind the last token by one plain forward: without text generation, its cache and its hooks."""
    import comfy.model_management as mm

    mm.load_models_gpu([clip.patcher])
    inner = next(part for part in clip.cond_stage_model.modules() if hasattr(part, "process_tokens"))
    network = inner.transformer
    rows = next(iter(tokens.values())) if isinstance(tokens, dict) else tokens
    row = [one[0] for one in rows[0]]
    with torch.no_grad():
        embeds, _, _, seen = inner.process_tokens([row], torch.device("cpu"))
        given = {"embeds": embeds}
        if layout.name == "Qwen3-VL":
            given["embeds_info"] = seen
        if layout.name == "Gemma 4":  # it wants to know the words again, and 0 where the picture is
            size = next(one["size"] for one in seen)
            ids = [0] * size if isinstance(row[0], dict) else []
            for token in row:
                ids += [0] * size if isinstance(token, dict) else [token]
            given |= {"input_ids": torch.tensor([ids]), "embeds_info": seen}
        body = network if layout.name in ("Qwen3-VL", "Qwen3.5") else network.model
        last = body(None, attention_mask=None, **given)[0][0, -1]
        head = getattr(network.model, "lm_head", network.model.embed_tokens)
        logits = head.weight.float() @ last.float()
        cap = getattr(network.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


def stock_tokens(layout: Layout, clip: Any, text: str, picture: torch.Tensor | None) -> Any:
    """What ComfyUI's own Generate Text makes of a text and a picture; for Gemma 3 with the mark that its texts begin with."""
    tokens = clip.tokenize(
        text, image=picture, skip_template=False, min_length=1, thinking=layout.name == "Qwen3-VL"
    )
    rows = next(iter(tokens.values())) if isinstance(tokens, dict) else tokens
    if layout.name == "Gemma 3" and rows[0][0][0] != 2:
        rows[0].insert(0, (2, 1.0))
    return tokens


def _smaller(config: Any, **sizes: Any) -> Any:
    """The configuration class with other sizes (some are fields, some attributes of the class)."""
    known = {field.name for field in dataclasses.fields(config)}
    plain = {name: value for name, value in sizes.items() if name not in known}
    made = dataclasses.make_dataclass(
        config.__name__,
        [
            (name, type(value), dataclasses.field(default=value))
            for name, value in sizes.items()
            if name in known
        ],
        bases=(config,),
    )
    for name, value in plain.items():
        setattr(made, name, value)
    return made


def _llama() -> Any:
    return importlib.import_module("comfy.text_encoders.llama")


def _ops() -> Any:
    return importlib.import_module("comfy.ops").disable_weight_init


QWEN_NAMES = (
    ("model.lm_head.", "lm_head."),
    ("model.", "model.language_model."),
    ("visual.", "model.visual."),
)


def _qwen3vl(module: Any) -> Iterator[Any]:
    config = _smaller(
        module.Qwen3VL_8BConfig,
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    vision = {**VISION, "deepstack_visual_indexes": [0, 1, 2]}
    vision.pop("num_heads")
    yield mock.patch.dict(module.QWEN3VL_CONFIGS, {"qwen3vl_8b": config})
    yield mock.patch.dict(module.QWEN3VL_VISION, {"qwen3vl_8b": vision})
    yield mock.patch.dict(module.QWEN3VL_VISION_COMMON, {"num_heads": VISION["num_heads"]})


def _qwen35(module: Any) -> Iterator[Any]:
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "vision": VISION,
    }
    yield mock.patch.dict(module.QWEN35_MODELS, {"qwen35_2b": sizes})


def _gemma3(module: Any) -> Iterator[Any]:
    llama = _llama()
    config = _smaller(
        llama.Gemma3_4B_Vision_Config,
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=7,
        num_attention_heads=2,
        num_key_value_heads=1,
        vision_config={**llama.GEMMA3_VISION_CONFIG, **SIGLIP},
    )
    yield mock.patch.object(llama, "Gemma3_4B_Vision_Config", config)


def _gemma4(module: Any) -> Iterator[Any]:
    """E2B: by its 35 layers ComfyUI knows it."""
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_attention_heads": 2,
        "hidden_size_per_layer_input": 4,
    }
    audio = {
        **module.GEMMA4_AUDIO_CONFIG,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = {**module.GEMMA4_VISION_CONFIG, **SIGLIP, "head_dim": 16}
    config = _smaller(module.Gemma4_E2B_Config, **sizes, audio_config=audio, vision_config=vision)
    variant = module._make_variant(config)
    yield mock.patch.object(module, "Gemma4_E2B", variant)


def _spiece() -> dict[str, torch.Tensor]:
    import io

    import sentencepiece

    model = io.BytesIO()
    symbols = [
        "Yes",
        "No",
        "yes",
        "no",
        "<start_of_turn>",
        *(chr(code) for code in range(33, 127) if chr(code) not in "▁"),
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=len(symbols) + 40,
        model_type="bpe",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        add_dummy_prefix=False,
        user_defined_symbols=symbols,
        minloglevel=2,
    )
    return {"spiece_model": torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)}


def _tokenizer_json() -> dict[str, torch.Tensor]:
    special = {
        "<pad>": 0,
        "<eos>": 1,
        "<bos>": 2,
        "<|turn>": 105,
        "<turn|>": 106,
        "<|image>": 255999,
        "<|image|>": 258880,
        "<image|>": 258882,
    }
    words = {"Yes": 1000, "No": 1001, "yes": 1002, "no": 1003}
    letters = {chr(code): 2000 + code for code in range(9, 127)}
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    found = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": word, "special": True, **entry} for word, id in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "Yes|No|yes|no|[\\s\\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {**special, **words, **letters}, "unk_token": "<pad>"},
    }
    return {"tokenizer_json": torch.frombuffer(bytearray(json.dumps(found).encode()), dtype=torch.uint8)}


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "Qwen3-VL",
            "qwen3vl",
            _qwen3vl,
            lambda module: module._make_qwen3vl_model("qwen3vl_8b")({}, torch.float32, "cpu", _ops()),
            QWEN_NAMES,
        ),
        Layout(
            "Qwen3.5",
            "qwen35",
            _qwen35,
            lambda module: module.Qwen35({}, torch.float32, "cpu", _ops()),
            QWEN_NAMES,
        ),
        Layout(
            "Gemma 3",
            "lumina2",
            _gemma3,
            lambda module: _llama().Gemma3_4B_Vision({}, torch.float32, "cpu", _ops()),
            extra=_spiece,
        ),
        Layout(
            "Gemma 4",
            "gemma4",
            _gemma4,
            lambda module: module.Gemma4_E2B({}, torch.float32, "cpu", _ops()),
            extra=_tokenizer_json,
        ),
    )
}
