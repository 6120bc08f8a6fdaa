"""Weights for a tiny ImageReward, the same in every program (needs numpy only)."""

import zlib

import numpy as np

IMAGE, PATCH, WIDTH, TEXT_WIDTH, WORDS, LAYERS = 32, 16, 128, 128, 200, 2
ALL_WORDS = 30524  # BERT's and two marks
PROMPTS = (
    "a cat",
    "A painting of a cat, by Café Zürich; 3.5x zoom — 東京!",
    "word " * 50,
    "mixed [SEP], [MASK] and [ENC] tokens",
    "tab\tand\nnewline, emoji \U0001f600",
)


def weights(shapes):
    """name -> float32 array, for name -> shape: small random numbers, scales near 1 where a layer normalises."""
    out = {}
    for name, shape in shapes.items():
        numbers = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        scale = ("norm" in name.lower()) and name.endswith("weight")
        out[name] = (
            1 + 0.1 * numbers if scale else numbers * (0.3 if "embed" in name or "token" in name else 0.08)
        )
    return out


def inputs():
    """(pixels [4, 3, IMAGE, IMAGE], token ids [2, 35], mask [2, 35]): four images, two prompts of 5 and 35 tokens."""
    generator = np.random.default_rng(7)
    pixels = generator.standard_normal((4, 3, IMAGE, IMAGE)).astype(np.float32)
    ids = generator.integers(1, WORDS, (2, 35))
    mask = np.ones((2, 35), dtype=np.int64)
    mask[0, 5:] = ids[0, 5:] = 0
    return pixels, ids, mask


def pictures():
    """uint8 [H, W, 3] each: square, tall, wide, small, and one that is cropped by an odd number of pixels."""
    return [
        np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in ((64, 64), (121, 83), (40, 100), (20, 20), (61, 44))
    ]


def published_shapes(tiny):
    """name -> shape as in the published file, of 24 image and 12 text layers, from those of the tiny one."""
    out = {}
    for name, shape in tiny.items():
        if any(f".{kind}.1." in name for kind in ("blocks", "layer")):
            continue
        shape = _published_shape(name, shape, 1024, 768)
        for layer in range(
            24 if "visual_encoder.blocks.0." in name else 12 if "text_encoder.encoder.layer.0." in name else 1
        ):
            out[name.replace("blocks.0.", f"blocks.{layer}.").replace("layer.0.", f"layer.{layer}.")] = shape
    return out


def _published_shape(name, shape, width, text):
    """A tiny shape with the published sizes."""
    if "word_embeddings" in name:
        return 30524, text
    if "position_embeddings" in name:
        return 512, text
    if "pos_embed" in name:
        return 1, 197, width
    if name.startswith("mlp"):
        return tuple(text if side == 128 and "layers.0" in name else side for side in shape)
    if "visual_encoder" in name:
        return tuple({128: width, 384: 3 * width, 512: 4 * width}.get(side, side) for side in shape)
    crossed = "crossattention.self.key.weight" in name or "crossattention.self.value.weight" in name
    sizes = {128: text, 256: 4 * text}
    return (text, width) if crossed else tuple(sizes.get(side, side) for side in shape)
