"""The sanity gate: images no verifier should be asked about. CLIP-like scores can prefer a black frame to a plain picture."""

import torch
import torch.nn.functional as F

CELL = 4  # pixels wide and high; the mean of a cell knows no grain
VISIBLE = 0.02  # difference from an image's main colour that counts as seen, [0, 1] units: 5 of 255 levels
SOMETHING = 2e-4  # share of the cells that must be seen, or the image is empty: 13 of those of 1024 x 1024
CLIPPED = 0.99  # share of channel values at exactly 0 or 1, in an image that burnt out ...
BURNT = (
    4,
    0.01,
)  # ... into at least so many pure colours (black and white included), each on such a share of it


def healthy(images: torch.Tensor) -> torch.Tensor:
    """bool [B]: finite, not empty (black, white, any one colour, with or without grain) and not burnt out into pure colours.

    Images are [B, H, W, 3]. Of videos, [B, T, H, W, 3], at least half of the frames must be. A drawing in black on white, a light in the
    night or pale fog are pictures.
    """
    if images.dim() == 5:
        return torch.stack([healthy(video).float().mean() >= 0.5 for video in images])
    return torch.tensor([_is_picture(image.float().cpu()) for image in images])


def _is_picture(image: torch.Tensor) -> bool:
    if not torch.isfinite(image).all():
        return False
    pixels = image.flatten(0, 1).clamp(0, 1)
    height, width = (max(1, side // CELL) for side in image.shape[:2])
    cells = (
        F.interpolate(image.clamp(0, 1).movedim(-1, 0)[None], (height, width), mode="area")[0].flatten(1).T
    )
    if ((cells - cells.median(0).values).abs().amax(1) > VISIBLE).float().mean() < SOMETHING:
        return False
    if ((pixels == 0) | (pixels == 1)).float().mean() < CLIPPED:
        return True
    corners = (pixels > 0.5).long() @ torch.tensor([1, 2, 4])
    colours, share = BURNT
    return int((corners.bincount(minlength=8) >= share * len(pixels)).sum()) < colours
