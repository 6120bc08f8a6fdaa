"""Draw docs/images/icon.png (400 x 400) and banner.png (21:9) for the registry: tiles of noise, one of which has become a picture.

.venv/bin/python tools/draw_icons.py
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
DARK, LIGHT, ACCENT = (29, 31, 38), (232, 232, 234), (242, 177, 52)


def noise_tile(side: int, seed: int) -> Image.Image:
    """Grey noise, as a latent looks."""
    grains = np.random.default_rng(seed).normal(92, 26, (side // 4, side // 4, 1)).clip(0, 255)
    tint = np.array([0.92, 0.96, 1.08])
    pixels = (grains * tint).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def picture_tile(side: int) -> Image.Image:
    """A small landscape: what one of the noises turned out to be."""
    tile = Image.new("RGB", (side, side), (74, 120, 176))
    draw = ImageDraw.Draw(tile)
    unit = side / 10
    draw.ellipse((6 * unit, 1.4 * unit, 8.4 * unit, 3.8 * unit), ACCENT)
    draw.polygon([(0, 8 * unit), (3.4 * unit, 3.6 * unit), (6.6 * unit, 8 * unit)], (52, 70, 96))
    draw.polygon([(3.8 * unit, 8 * unit), (7 * unit, 4.8 * unit), (side, 8 * unit)], (66, 88, 118))
    draw.rectangle((0, 7.8 * unit, side, side), (46, 96, 74))
    return tile.filter(ImageFilter.GaussianBlur(side / 160))


def grid(size: tuple[int, int], columns: int, rows: int, chosen: int, gap: int) -> Image.Image:
    """Tiles that fill a canvas of that size; the chosen one is a picture with a frame."""
    canvas = Image.new("RGB", size, DARK)
    side = min((size[0] - gap) // columns - gap, (size[1] - gap) // rows - gap)
    left = (size[0] - columns * (side + gap) + gap) // 2
    top = (size[1] - rows * (side + gap) + gap) // 2
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), side // 8, 255)
    for i in range(columns * rows):
        place = (left + i % columns * (side + gap), top + i // columns * (side + gap))
        canvas.paste(picture_tile(side) if i == chosen else noise_tile(side, i), place, mask)
        if i == chosen:
            frame = (place[0] - 3, place[1] - 3, place[0] + side + 2, place[1] + side + 2)
            ImageDraw.Draw(canvas).rounded_rectangle(frame, side // 8, None, ACCENT, max(3, side // 24))
    return canvas


def banner() -> Image.Image:
    canvas = Image.new("RGB", (1260, 540), DARK)
    canvas.paste(grid((600, 540), 4, 4, 6, 18), (640, 0))
    draw = ImageDraw.Draw(canvas)
    draw.text((60, 170), "NoiseSearch", LIGHT, ImageFont.load_default(92))
    draw.text((64, 290), "Make several images, keep the best.", ACCENT, ImageFont.load_default(34))
    draw.text((64, 340), "Best-of-N for ComfyUI", LIGHT, ImageFont.load_default(28))
    return canvas


def main() -> int:
    grid((400, 400), 3, 3, 4, 16).save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
