"""What a CLIP file needs besides its weights: architecture, activation and preprocessing.

open_clip falls back to OpenAI's preprocessing and plain GELU for any file on disk, silently. So a file must be one of those below
(its name contains the model's name), or come as a folder with its own open_clip_config.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...untrusted import choice, listed

from .preprocess import CLIP_MEAN, CLIP_STD, HALF


@dataclass(frozen=True)
class ClipModel:
    """One published CLIP. name, or one of `also`: as it must occur in the file's name; architecture: open_clip's name for it."""

    name: str
    architecture: str
    also: tuple[str, ...] = ()
    quick_gelu: bool = False
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    interpolation: str = "bicubic"
    fit: str = "crop"


_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

MODELS = (
    ClipModel(
        "ViT-B-32-openai",
        "ViT-B-32",
        ("clip-vit-base-patch32", "vit_base_patch32_clip_224.openai"),
        quick_gelu=True,
    ),
    ClipModel(
        "ViT-B-16-openai",
        "ViT-B-16",
        ("clip-vit-base-patch16", "vit_base_patch16_clip_224.openai"),
        quick_gelu=True,
    ),
    ClipModel(
        "ViT-L-14-openai",
        "ViT-L-14",
        ("clip-vit-large-patch14", "vit_large_patch14_clip_224.openai"),
        quick_gelu=True,
    ),
    ClipModel(
        "ViT-L-14-336-openai",
        "ViT-L-14-336",
        ("clip-vit-large-patch14-336", "vit_large_patch14_clip_336.openai"),
        quick_gelu=True,
    ),
    ClipModel("CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32"),
    ClipModel("CLIP-ViT-B-16-laion2B-s34B-b88K", "ViT-B-16"),
    ClipModel("CLIP-ViT-L-14-laion2B-s32B-b82K", "ViT-L-14", mean=HALF, std=HALF),
    ClipModel("CLIP-ViT-H-14-laion2B-s32B-b79K", "ViT-H-14", ("PickScore", "HPS_v2")),
    ClipModel("CLIP-ViT-g-14-laion2B-s34B-b88K", "ViT-g-14"),
    ClipModel("CLIP-ViT-bigG-14-laion2B-39B-b160k", "ViT-bigG-14"),
    ClipModel("CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "ViT-B-32"),
    ClipModel("CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "ViT-B-16"),
    ClipModel("CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "ViT-L-14"),
    ClipModel("DFN2B-CLIP-ViT-B-16", "ViT-B-16", quick_gelu=True),
    ClipModel("DFN2B-CLIP-ViT-L-14", "ViT-L-14", quick_gelu=True),
    ClipModel("DFN2B-CLIP-ViT-L-14-39B", "ViT-L-14"),
    ClipModel("DFN5B-CLIP-ViT-H-14", "ViT-H-14", quick_gelu=True, fit="squash"),
    ClipModel("DFN5B-CLIP-ViT-H-14-378", "ViT-H-14-378", quick_gelu=True, fit="squash"),
    ClipModel("MobileCLIP2-S0", "MobileCLIP2-S0", mean=_ZERO, std=_ONE, interpolation="bilinear"),
    ClipModel("MobileCLIP2-S2", "MobileCLIP2-S2", mean=_ZERO, std=_ONE, interpolation="bilinear"),
    ClipModel("MobileCLIP2-S3", "MobileCLIP2-S3", interpolation="bilinear"),
    ClipModel("MobileCLIP2-S4", "MobileCLIP2-S4", interpolation="bilinear"),
    ClipModel("MobileCLIP2-B", "MobileCLIP2-B", mean=_ZERO, std=_ONE, interpolation="bilinear"),
    ClipModel("MobileCLIP2-L-14", "MobileCLIP2-L-14"),
    ClipModel(
        "PE-Core-T-16-384", "PE-Core-T-16-384", mean=HALF, std=HALF, interpolation="bilinear", fit="squash"
    ),
    ClipModel(
        "PE-Core-S-16-384", "PE-Core-S-16-384", mean=HALF, std=HALF, interpolation="bilinear", fit="squash"
    ),
    ClipModel("PE-Core-B-16", "PE-Core-B-16", mean=HALF, std=HALF, interpolation="bilinear", fit="squash"),
    ClipModel(
        "PE-Core-L-14-336", "PE-Core-L-14-336", mean=HALF, std=HALF, interpolation="bilinear", fit="squash"
    ),
    ClipModel(
        "PE-Core-bigG-14-448",
        "PE-Core-bigG-14-448",
        mean=HALF,
        std=HALF,
        interpolation="bilinear",
        fit="squash",
    ),
)


def by_name(name: str) -> ClipModel:
    """The model whose name is exactly this; ValueError with the names there are."""
    found = {model.name: model for model in MODELS}
    return found[choice(name, ("auto", *found), "architecture")]


def by_file(path: str | Path) -> ClipModel:
    """The model that a file's name mentions (the longest match), or else the name of its folder, ignoring case and punctuation.

    ValueError: no known model, with the list of known ones and what to do.
    """
    path = Path(path)
    found = _mentioned(path.name) or _mentioned(path.parent.name)
    if not found:
        raise ValueError(
            f"The name of {listed([path.name])} says nothing about its architecture. Either choose it under `architecture`, or name the file or its folder after one of "
            f"{', '.join(model.name for model in MODELS)}, or use the model's whole folder with its open_clip_config.json."
        )
    return found[max(found, key=len)]


def _mentioned(name: str) -> dict[str, ClipModel]:
    return {
        known: model
        for model in MODELS
        for known in (model.name, *model.also)
        if _plain(known) in _plain(name)
    }


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
