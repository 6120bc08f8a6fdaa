"""Weights for a tiny ImageReward, the same in every program (needs numpy only)."""
import zlib

import numpy as np

IMAGE, PATCH, WIDTH, TEXT_WIDTH, WORDS, LAYERS = 32, 16, 128, 128, 200, 2


def weights(shapes):
    """name -> float32 array, for name -> shape: small random numbers, scales near 1 where a layer normalises."""
    out = {}
    for name, shape in shapes.items():
        numbers = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        scale = ("norm" in name.lower()) and name.endswith("weight")
        out[name] = 1 + 0.1 * numbers if scale else numbers * (0.3 if "embed" in name or "token" in name else 0.08)
    return out


def inputs():
    """(pixels [4, 3, IMAGE, IMAGE], token ids [2, 35], mask [2, 35]): four images, two prompts of 5 and 35 tokens."""
    generator = np.random.default_rng(7)
    pixels = generator.standard_normal((4, 3, IMAGE, IMAGE)).astype(np.float32)
    ids = generator.integers(1, WORDS, (2, 35))
    mask = np.ones((2, 35), dtype=np.int64)
    mask[0, 5:] = ids[0, 5:] = 0
    return pixels, ids, mask
