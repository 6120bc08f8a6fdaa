"""CLIPScore: how well an image fits its prompt (Hessel et al. 2021, arXiv 2104.08718; Ma et al. 2025, section 3)."""
from .base import ImageVerifier


class ClipScore(ImageVerifier):
    """2.5 max(cos(image, text), 0), the published CLIPScore in [0, 2.5]; or with `raw` the cosine itself in [-1, 1].

    The raw cosine keeps the order of images that the clamp at 0 would tie.
    """

    needs_prompt = True

    def __init__(self, tower, raw=False):
        self.tower, self.raw = tower, raw
        self.name = "CLIP cosine" if raw else "CLIPScore"

    def judge(self, batch):
        cosine = self.tower.image_features(batch.images) @ self.tower.text_features((batch.prompt,))[0]
        return cosine if self.raw else 2.5 * cosine.clamp(min=0)

    def notes(self, prompt):
        cut = self.tower.truncation(prompt)
        return (cut,) if cut else ()
