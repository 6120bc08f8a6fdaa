"""Features of FID's Inception with random weights by the package pytorch-fid, as JSON on stdout (run by make.py)."""

import json

import torch
from inception_weights import pictures, weights
from pytorch_fid import inception

KEPT = slice(None, None, 16)  # of the 2048 features, to keep the file small


def random_weights(*arguments, **settings):
    """In place of the package's download."""
    return {
        name: torch.from_numpy(value)
        for name, value in weights(
            {name: tuple(value.shape) for name, value in plain.state_dict().items()}
        ).items()
    }


torch.set_num_threads(1)
plain = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
inception.load_state_dict_from_url = random_weights
network = inception.InceptionV3([3]).eval()
with torch.no_grad():
    features = [network(torch.from_numpy(image)[None])[0][0, :, 0, 0] for image in pictures()]
print(json.dumps({"features": [row[KEPT].tolist() for row in features]}))
