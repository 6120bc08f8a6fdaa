"""Pictures for HPSv2's preprocessing, the same in every program (needs numpy only)."""

import numpy as np

SIZES = ((512, 512), (832, 1216), (1216, 832), (100, 640), (64, 64), (224, 224), (225, 223))  # height, width
KEPT = slice(None, None, 331)  # of the numbers of a preprocessed picture, to keep the file small


def pictures():
    """uint8 [H, W, 3] each."""
    return [
        np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in SIZES
    ]
