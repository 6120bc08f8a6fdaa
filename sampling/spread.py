"""How different the candidates of a search look: where they are all alike there is nothing to choose."""

from __future__ import annotations

import torch

from ..untrusted import excerpt

SIDE = 16  # of the thumbnails that are compared
FEWEST = 4  # candidates that a spread can be told of


class Spread:
    """Of candidates that began with noises of their own. Holds two sums, however many there are. fault: why it stopped counting, if it did."""

    def __init__(self) -> None:
        self.count, self.fault = 0, ""
        self._sum = self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, image: torch.Tensor) -> None:
        """image: [(T,) H, W, C] in [0, 1]; of a video its frames' mean counts. Images with numbers that are none are left out.

        No search fails for it: what cannot be counted ends the counting.
        """
        if self.fault:
            return
        try:
            small = _thumbnail(image)
            if bool(small.isfinite().all()):
                self._sum, self._squares = self._sum + small, self._squares + small**2
                self.count += 1
        except Exception as error:
            self.fault = f"{type(error).__name__}: {excerpt(str(error))}"

    @property
    def share(self) -> float | None:
        """Of all variance in the thumbnails the part that lies between candidates: 0 = all the same, 1 = nothing in common. None for too few."""
        if self.fault or self.count < FEWEST:
            return None
        mean, squares = self._sum / self.count, self._squares / self.count
        between = float((squares - mean**2).clamp(min=0).mean())
        whole = float((squares.mean((1, 2)) - mean.mean((1, 2)) ** 2).clamp(min=0).mean())
        return between / whole if whole > 0 else 0.0


def _thumbnail(image: torch.Tensor) -> torch.Tensor:
    """float64 [C, SIDE, SIDE], the mean over a video's frames; one frame at a time, as a video is large."""
    frames = image.reshape(-1, *image.shape[-3:])
    total = torch.zeros((), dtype=torch.float64)
    for frame in frames:
        pooled = torch.nn.functional.adaptive_avg_pool2d(frame.movedim(-1, 0).float(), SIDE)
        total = total + pooled.cpu().double()
    return total / len(frames)
