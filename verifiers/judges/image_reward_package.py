"""ImageReward as the package `image-reward` runs it, for those who have a working one and want its very numbers. `image_reward.py` needs no package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..base import Batch
from ..networks.blip_reward import PUBLISHED, load_tokenizer
from ..networks.managed import ManagedModel
from ..networks.preprocess import to_bytes
from ..networks.weights import WrongFile, named, outline, read_config, taken_for
from .image_reward import WHAT, ImageReward

CONFIG = "med_config.json"
LARGEST = 2**16  # number in it; the published one has 30524 words


class PackagedImageReward(ImageReward):
    """The package's own reward, image by image.

    ImportError without a package that imports; FileNotFoundError without med_config.json beside the weights; ValueError for other weights.
    """

    name = "ImageReward (package)"

    def __init__(self, path: Path, device: str = "auto"):
        self.model = ManagedModel(load_packaged(path), device, row_bytes=128 * 2**20, source=path)
        self.tokenizer = load_tokenizer()

    def judge(self, batch: Batch) -> torch.Tensor:
        def rewards(network: Any, rows: torch.Tensor) -> torch.Tensor:
            network.device = rows.device  # where the package sends its inputs
            return torch.tensor([network.score(batch.prompt, picture(image)) for image in rows.split(1)])

        return self.model.run(rewards, batch.images)


def picture(image: torch.Tensor) -> Image.Image:
    """[1, H, W, 3] in [0, 1] as ComfyUI would save it."""
    return Image.fromarray(to_bytes(image)[0].movedim(0, -1).to(torch.uint8).numpy())


def load_packaged(path: Path) -> torch.nn.Module:
    """The package's network. Its loader ignores weights that do not fit and may open any pickle, so the file is looked at first."""
    package = require_image_reward()
    named(outline(path), (*PUBLISHED, "mlp.layers.7.weight"), path, WHAT)
    config = Path(path).with_name(CONFIG)
    if not config.is_file():
        raise FileNotFoundError(
            f"The package image-reward needs {CONFIG} beside {Path(path).name}, else it would download it. Take it from the same page (zai-org/ImageReward)."
        )
    with taken_for("the package's settings", config):
        if any(isinstance(number, int) and number > LARGEST for number in read_config(config).values()):
            raise ValueError(f"it asks for more than {LARGEST} of something")
    try:
        torch.load(
            path, map_location="cpu", weights_only=True
        )  # the reader that the package uses, told to run nothing
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise WrongFile(
            f"{Path(path).name} was refused by torch ({type(error).__name__}), whose reader the package uses. Take ImageReward.pt as published."
        ) from error
    return package.load(str(path), device="cpu", med_config=str(config))


def require_image_reward() -> Any:
    """The package, or an ImportError that says what to do instead."""
    try:
        with warnings.catch_warnings():  # its import would silence all warnings of the process
            import ImageReward
    except Exception as error:  # with newer transformers it fails in other ways than by ImportError, too
        raise ImportError(
            'The scorer "ImageReward (package)" needs a working package image-reward, and importing it failed. The scorer "ImageReward" reads the same file, gives the same '
            f"scores and needs no package. ({type(error).__name__}: {error})"
        ) from error
    return ImageReward
