"""The sanity gate: images no verifier should be asked about. CLIP-like scores can prefer a black frame to a plain picture."""
import torch

VISIBLE = 0.02  # difference from an image's main colour that counts as seen, [0, 1] units: 5 of 255 levels
SOMETHING = 2e-4  # share of the pixels that must be seen, or the image is empty: 210 pixels of 1024 x 1024
ENOUGH = 2**16  # pixels tell the main colour
CLIPPED = 0.99  # share of channel values at exactly 0 or 1, in an image that burnt out ...
BURNT = 4, 0.01  # ... into at least so many pure colours (black and white included), each on such a share of it


def healthy(images):
    """bool [B]: finite, not empty (black, white, any one colour) and not burnt out into pure colours.

    Images are [B, H, W, 3]. Of videos, [B, T, H, W, 3], at least half of the frames must be. A drawing in black on white, a light in the
    night or pale fog are pictures.
    """
    if images.dim() == 5:
        return torch.stack([healthy(video).float().mean() >= 0.5 for video in images])
    return torch.tensor([_is_picture(image.float().cpu()) for image in images])


def _is_picture(image):
    if not torch.isfinite(image).all():
        return False
    pixels = image.flatten(0, 1).clamp(0, 1)
    main = pixels[::max(1, len(pixels) // ENOUGH)].median(0).values
    if ((pixels - main).abs().amax(1) > VISIBLE).float().mean() < SOMETHING:
        return False
    if ((pixels == 0) | (pixels == 1)).float().mean() < CLIPPED:
        return True
    corners = (pixels > 0.5).long() @ torch.tensor([1, 2, 4])
    colours, share = BURNT
    return int((corners.bincount(minlength=8) >= share * len(pixels)).sum()) < colours
