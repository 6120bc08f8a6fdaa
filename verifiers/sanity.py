"""The sanity gate: images no verifier should be asked about. CLIP-like scores can prefer a black frame to a plain picture."""
import torch

from .base import Wrapper

FLAT = 0.02  # standard deviation of the liveliest channel over all pixels, [0, 1] units: about 5 of 255 levels
CLIPPED = 0.99  # share of channel values at exactly 0 or 1


def healthy(images):
    """bool [B]: finite, not flat (black, grey, one colour) and not blown out.

    Images are [B, H, W, 3]. Of videos, [B, T, H, W, 3], at least half of the frames must be.
    """
    if images.dim() == 5:
        frames = torch.stack([healthy(frame) for frame in images.unbind(1)], dim=1)
        return frames.float().mean(1) >= 0.5
    values = images.float().cpu()
    clipped = ((values <= 0) | (values >= 1)).float().flatten(1).mean(1)
    spread = values.flatten(1, 2).std(1, correction=0).amax(1)
    return torch.isfinite(values).flatten(1).all(1) & (spread > FLAT) & (clipped < CLIPPED)


class Gated(Wrapper):
    """A verifier that cannot judge (NaN, ranked last) what fails the sanity gate."""

    def score(self, batch):
        scores = torch.as_tensor(self.verifier.score(batch)).to("cpu", torch.float32)  # it may be another pack's
        return torch.where(healthy(batch.images), scores, torch.nan)
