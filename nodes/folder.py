"""A folder of images as a list. (ComfyUI's own loader came after 0.3.64, knows no order and ignores how a camera was held.)"""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image, ImageOps

from ..compat import schema
from ..untrusted import choice, excerpt
from .names import JUDGES

INPUT = "the input folder itself"
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SIXTEEN_BITS = 65535.0


def folders() -> list[str]:
    """What the widget offers: nothing outside of ComfyUI's input folder."""
    return [INPUT, *folder_paths.get_input_subfolders()]


def files_in(folder: str) -> list[Path]:
    """The image files of an offered folder, by name. Those in folders below it are not among them."""
    inputs = Path(folder_paths.get_input_directory())
    path = inputs if choice(folder, folders(), "folder") == INPUT else inputs / folder
    return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def load(file: Path) -> torch.Tensor:
    """An image file as IMAGE [1, H, W, 3]: turned as the camera was, the first picture of an animation, no transparency."""
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits a pixel, grey
                pixels = np.repeat(np.asarray(image, dtype=np.float32)[..., None] / SIXTEEN_BITS, 3, axis=-1)
            else:
                pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{excerpt(file.name)} in the input folder is not an image that can be read ({excerpt(str(error))}). Take it away or replace it."
        ) from error
    return torch.from_numpy(pixels)[None]


class NoiseSearchLoadFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadFolder",
            display_name="Load Images (Folder)",
            category=JUDGES,
            search_aliases=["load images", "image folder", "batch from folder"],
            description="Loads all images of a folder as a list, sorted by name, each in its own size. For Score and Sort Images.",
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=folders(),
                    default=INPUT,
                    tooltip="A folder in ComfyUI/input. Press R when a new one is not on the list.",
                ),
                io.Int.Input(
                    "at_most",
                    default=100,
                    min=1,
                    max=10000,
                    tooltip="Load at most this many, the first by name. All are in memory at once: about 12 MB per megapixel.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images", is_output_list=True, tooltip="The images, one after the other."
                ),
                io.String.Output(display_name="names", is_output_list=True, tooltip="Their file names."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, at_most):
        """Changes when a file of the folder does."""
        return [
            (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files_in(folder)[:at_most]
        ]

    @classmethod
    def execute(cls, folder, at_most):
        files = files_in(folder)[:at_most]
        if not files:
            raise ValueError(
                f"There is no image in {excerpt(folder)}. Put some into it: files that end in {', '.join(sorted(SUFFIXES))}."
            )
        return io.NodeOutput([load(file) for file in files], [file.name for file in files])


NODES = [NoiseSearchLoadFolder]
