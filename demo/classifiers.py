"""Small image classifiers with one or several heads. Two unlike architectures, so that a judge does not share a verifier's blind spots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..verifiers.fingerprint import described
from ..verifiers.networks.features import ImageFeatures
from ..verifiers.networks.managed import ManagedModel
from ..verifiers.networks.weights import WrongFile, load_into, metadata, outline, taken_for


class PlainNet(nn.Module):
    """Three stages of 3x3 convolutions with max pooling between them, then a hidden layer over the whole 4x4 map."""

    def __init__(self, channels: int, outputs: int, width: int):
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in widths[1:])
        self.hidden = nn.Linear(4 * width * 16, 128)
        self.head = nn.Linear(128, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


class PatchNet(nn.Module):
    """4x4 patches, then residual blocks of depthwise 5x5 convolutions and two pointwise layers at 8x8."""

    def __init__(self, channels: int, outputs: int, width: int, depth: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 6, stride=4, padding=1)
        self.mixers = nn.ModuleList(nn.Conv2d(width, width, 5, padding=2, groups=width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Conv2d(width, 3 * width, 1) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Conv2d(3 * width, width, 1) for _ in range(depth))
        self.head = nn.Linear(width * 16, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for mixer, norm, up, down in zip(self.mixers, self.norms, self.ups, self.downs):
            x = x + down(F.gelu(up(norm(mixer(x)))))
        return self.head(F.avg_pool2d(x, 2).flatten(1))


NETS = {"plain": PlainNet, "patch": PatchNet}
SIZES = (32, 64, 96, 128)  # pixels


class TinyClassifier(nn.Module):
    """Images [B, H, W, 3] in [0, 1] of any size -> one tensor of log-probabilities [B, classes] per head.

    They are resized to `size`; `grey` averages the colours. Sizes above 32 are folded into channels, so that every net sees a 32x32 grid.
    """

    def __init__(
        self, architecture: str, width: int, heads: Sequence[int], size: int = 32, grey: bool = False
    ):
        super().__init__()
        self.settings = {
            "architecture": architecture,
            "width": width,
            "heads": list(heads),
            "size": size,
            "grey": grey,
        }
        self.heads, self.size, self.grey = tuple(heads), size, grey
        self.net = NETS[architecture]((1 if grey else 3) * (size // 32) ** 2, sum(heads), width)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = images.movedim(-1, 1)
        if self.grey:
            x = x.mean(1, keepdim=True)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = F.pixel_unshuffle(x * 2 - 1, self.size // 32)
        return [logits.log_softmax(-1) for logits in self.net(x).split(self.heads, dim=-1)]


def load_classifier(path: Path, heads: tuple[int, ...] | None = None) -> Any:
    """The TinyClassifier of a safetensors file, whose metadata hold its settings; float32, on the CPU.

    WrongFile for another file, or when `heads` (the number of classes of each) are given and the file has others.
    """
    with taken_for("a classifier of the demo models", path):
        outline(path)
        settings = _settings(path)
        if heads is not None and settings.get("heads") != list(heads):
            raise WrongFile(
                f"{Path(path).name} is a classifier for something else: its heads have {str(settings.get('heads'))[:60]} classes, {list(heads)} are needed."
            )
        if settings.get("size", 32) not in SIZES:
            raise ValueError(f"its size is {str(settings['size'])[:60]}, allowed are {SIZES}")
        what = "the classifier that its settings describe"
        return load_into(lambda: TinyClassifier(**settings), path, what).train(False)


def _settings(path: Path) -> dict[str, Any]:
    found = metadata(path).get("classifier")
    if found is None:
        raise WrongFile(
            f"{Path(path).name} is not a classifier of the demo models: it has no 'classifier' entry in its metadata."
        )
    return json.loads(found)


class ManagedClassifier:
    """A TinyClassifier under ComfyUI's memory management."""

    def __init__(self, path: Path, device: str = "auto", heads: tuple[int, ...] | None = None):
        network = load_classifier(path, heads)
        self.heads, self.managed = (
            network.heads,
            ManagedModel(network, device, row_bytes=2**21, source=path),
        )

    def fingerprint(self) -> dict:
        return described(self)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One float32 tensor of log-probabilities [B, classes] per head, on the CPU."""
        return self.managed.run(lambda network, rows: torch.cat(network(rows), dim=-1), images.float()).split(
            self.heads, dim=-1
        )


class ClassifierFeatures(ImageFeatures):
    """What the last layer of one of the demo's classifiers reads."""

    def __init__(self, path: Path, device: str = "auto"):
        self.model = ManagedModel(load_classifier(path), device, row_bytes=2 * 2**20, source=path)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.run(_before_the_head, images.float())


def _before_the_head(classifier: Any, images: torch.Tensor) -> torch.Tensor:
    read: list[torch.Tensor] = []
    watch = classifier.net.head.register_forward_pre_hook(lambda module, arguments: read.append(arguments[0]))
    try:
        classifier(images)
    finally:
        watch.remove()
    return read[0]
