"""Weights for FID's Inception, the same in every program (needs numpy only)."""

import zlib

import numpy as np


def weights(shapes):
    """name -> float32 array, for name -> shape: random numbers that keep the signal's size from layer to layer, batch statistics near 0 and 1."""
    out = {}
    for name, shape in shapes.items():
        numbers = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            out[name] = np.zeros(shape, dtype=np.int64)
        elif len(shape) > 1:
            out[name] = numbers * (2 / np.prod(shape[1:])) ** 0.5
        else:
            out[name] = 1 + 0.1 * numbers if name.endswith(("bn.weight", "running_var")) else 0.1 * numbers
    return out


def pictures():
    """Three pictures [3, H, W] of whole numbers 0..255 as float32 in [0, 1]: wide, tall, and larger than the network's 299."""
    generator = np.random.default_rng(5)
    coarse = [
        generator.integers(0, 256, (3, height // 8, width // 8)).astype(np.float32)
        for height, width in ((96, 160), (200, 64), (320, 400))
    ]
    return [np.kron(image, np.ones((8, 8), dtype=np.float32)) / 255 for image in coarse]
