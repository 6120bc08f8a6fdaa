"""Small pictures of candidates, as files in ComfyUI's temp folder, where its own previews are: names travel, pixels do not."""

from __future__ import annotations

import hashlib
import io
import secrets
from pathlib import Path

import folder_paths
import torch
from PIL import Image

SUBFOLDER = "noise_search"
LARGEST = 512  # pixels of the longer side
QUALITY = 85


def small(image: torch.Tensor) -> torch.Tensor:
    """One image [H, W, C] or video [T, H, W, C] in [0, 1] as uint8 [h, w, 3] on the CPU, LARGEST at most; a video's middle frame."""
    frame = middle(image)[..., :3].float()
    scale = LARGEST / max(frame.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in frame.shape[:2]]
        frame = torch.nn.functional.interpolate(frame.movedim(-1, 0)[None], size, mode="area")[0].movedim(
            0, -1
        )
    frame = frame.nan_to_num(0.0).clamp(0, 1)
    return (frame * 255).round().to(torch.uint8).cpu()


def drawn(picture: torch.Tensor) -> Image.Image:
    """picture: uint8 [h, w, 1 or 3]."""
    return Image.fromarray(picture.squeeze(-1).numpy())


def middle(image: torch.Tensor) -> torch.Tensor:
    """The image itself, or the frame in the middle of a video."""
    return image if image.ndim == 3 else image[image.shape[0] // 2]


def name_of(*words: str) -> str:
    """A file name that only whoever knows the words can guess."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32] + ".jpg"


def folder() -> Path:
    return Path(folder_paths.get_temp_directory()) / SUBFOLDER


def there(name: str) -> bool:
    """Whether an earlier run has left this picture."""
    return (folder() / name).is_file()


def write(name: str, picture: torch.Tensor | Image.Image) -> None:
    """picture: uint8 [h, w, 1 or 3], or an image."""
    image = picture if isinstance(picture, Image.Image) else drawn(picture)
    image.thumbnail((LARGEST, LARGEST))
    encoded = io.BytesIO()
    image.convert("RGB").save(encoded, "JPEG", quality=QUALITY)
    try:
        (folder() / name).write_bytes(encoded.getvalue())
    except FileNotFoundError:
        folder().mkdir(parents=True, exist_ok=True)
        (folder() / name).write_bytes(encoded.getvalue())


def show(picture: Image.Image) -> dict[str, str]:
    """Write a picture in its full size; how ComfyUI is told of it in a node's `ui`."""
    folder().mkdir(parents=True, exist_ok=True)
    name = f"{secrets.token_hex(16)}.png"
    picture.save(folder() / name, "PNG", compress_level=1)
    return {"filename": name, "subfolder": SUBFOLDER, "type": "temp"}


def drop(name: str | None) -> None:
    """Take a picture away that nobody will look at again."""
    if name is not None:
        (folder() / name).unlink(missing_ok=True)
