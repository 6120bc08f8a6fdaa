"""The self-supervised verifier: did the sample become what it promised to be? (Ma et al. 2025, section 3, the third kind)."""

from ..base import ImageVerifier
from ..networks.features import unit


class SelfSupervised(ImageVerifier):
    """The cosine, in [-1, 1], of the features of the finished sample and of its clean prediction at flow time 0.4. Needs no prompt.

    features: an object with `image_features`.
    """

    name = "self-supervised"
    needs_previews = True

    def __init__(self, features):
        self.features = features

    def judge(self, batch):
        late, early = (
            unit(self.features.image_features(images)) for images in (batch.images, batch.previews)
        )
        return (late * early).sum(1)
