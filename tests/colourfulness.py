"""A verifier without a file, in one file and one line of registration: how colourful an image is (Hasler and Suesstrunk 2003).

Not in the pack: tests/test_verifier_contracts.py shows that the suites find it.
"""

import torch

from noisesearch.verifiers.base import Batch, ImageVerifier
from noisesearch.verifiers.catalogue import SCORERS, Scorer
from noisesearch.verifiers.files import VERIFIERS


class Colourfulness(ImageVerifier):
    """The spread of the opponent colours and 0.3 of their mean: 0 for grey, about 0.4 for the most colourful photos."""

    name = "colourfulness"

    def judge(self, batch: Batch) -> torch.Tensor:
        red, green, blue = batch.images.flatten(1, 2).unbind(-1)
        opponents = torch.stack([red - green, (red + green) / 2 - blue])
        spread, mean = opponents.std(2, correction=0), opponents.mean(2)
        return spread.norm(dim=0) + 0.3 * mean.norm(dim=0)


SCORERS["colourfulness"] = Scorer(VERIFIERS, (), lambda s: Colourfulness())
