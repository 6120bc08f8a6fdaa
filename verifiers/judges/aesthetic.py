"""LAION's aesthetic predictor v2: how much people liked such a picture, whatever the prompt (Schuhmann et al. 2022)."""

import torch

from ..base import ImageVerifier
from ..files import WrongFile, load_weights, taken_for

LAYERS = (
    0,
    2,
    4,
    6,
    7,
)  # the linear ones of the published Sequential; between them are dropouts, which do nothing when scoring


class Aesthetic(ImageVerifier):
    """A rating of about 1 to 10, linear in the unit-length image features of OpenAI's CLIP ViT-L/14.

    features: an object with `image_features(images)` -> [B, 768] of length 1.
    The published head is five linear layers with nothing between them, so it is folded into one.
    """

    name = "aesthetic"

    def __init__(self, features, path):
        self.features = features
        with taken_for("an aesthetic head", path):
            self.weight, self.bias = fold(load_weights(path), path)

    def judge(self, batch):
        features = self.features.image_features(batch.images)
        if features.shape[1] != len(self.weight):
            raise ValueError(
                f"The aesthetic head reads {len(self.weight)} image features and was given {features.shape[1]}: "
                "it belongs to OpenAI's CLIP ViT-L/14, so connect or choose that one."
            )
        return (features.double() @ self.weight + self.bias).float()


def fold(state, path):
    """LAYERS of a state dict, one after the other, as one (weight [inputs], bias) in float64."""
    found = {
        int(name.split(".")[1]) for name in state if name.startswith("layers.") and name.endswith(".weight")
    }
    if found != set(LAYERS) or state[f"layers.{LAYERS[-1]}.weight"].shape[0] != 1:
        raise WrongFile(
            f"{path.name} is not the linear aesthetic head: it needs the layers {', '.join(map(str, LAYERS))}, the last with one output, and has {sorted(found) or 'none'}. "
            "(Heads with ReLUs between their layers have other numbers, and are another function.)"
        )
    inputs = state[f"layers.{LAYERS[0]}.weight"].shape[1]
    weight, bias = torch.eye(inputs, dtype=torch.float64), torch.zeros(inputs, dtype=torch.float64)
    for layer in LAYERS:
        matrix = state[f"layers.{layer}.weight"].double()
        weight, bias = matrix @ weight, matrix @ bias + state[f"layers.{layer}.bias"].double()
    return weight[0], bias
