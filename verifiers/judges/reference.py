"""How alike an image is to reference images: the direction of its features (likeness, style, subject, as the network sees them)."""

from ..base import ImageVerifier, reference_images
from ..networks.features import unit


class ReferenceSimilarity(ImageVerifier):
    """The mean cosine to the references, in [-1, 1].

    features: an object with `image_features`; references: [R, H, W, 3] in [0, 1].
    """

    name = "reference similarity"

    def __init__(self, features, references):
        self.features = features
        self.references = unit(features.image_features(reference_images(references, self.name)))

    def judge(self, batch):
        return (unit(self.features.image_features(batch.images)) @ self.references.T).mean(1)
