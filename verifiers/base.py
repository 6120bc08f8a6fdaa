"""What a verifier is: images (and a prompt) in, one score per image out (Ma et al. 2025, section 3)."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch

from ..untrusted import Short

OVER_FRAMES = ("mean", "min")
MAX_ASPECT = 64  # beyond it, fitting an image into a square network takes absurd memory for no meaning


@dataclass(frozen=True)
class Batch:
    """Finished images of one prompt.

    images: [B, H, W, 3] float32 in [0, 1], or videos [B, T, H, W, 3].
    prompt: plain text, without weights and embedding syntax; "" when there is none.
    previews: the decoded x-predictions at flow time 0.4, shaped as `images`, for verifiers with `needs_previews`.
    label: a class index, for verifiers that judge classes and cannot read one from the prompt.
    """

    images: torch.Tensor
    prompt: str = ""
    previews: torch.Tensor | None = None
    label: int | None = None
    _parts: dict = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # the same tensors every time: verifiers that share a network recognise them

    def frames(self, count: int) -> "Batch":
        """Videos [B, T, ...] as single images [B * n, ...]: n = min(count, T) frames, evenly spread, first and last included."""
        total = self.images.shape[1]
        count = min(count, total)
        if count not in self._parts:
            previews = self.previews
            if previews is not None and previews.dim() == 5:
                previews = previews[
                    :, torch.linspace(0, previews.shape[1] - 1, count).round().long()
                ].flatten(0, 1)
            picked = self.images[:, torch.linspace(0, total - 1, count).round().long()].flatten(0, 1)
            self._parts[count] = replace(self, images=picked, previews=previews)
        return self._parts[count]

    def only(self, chosen: torch.Tensor) -> "Batch":
        """The images that are True in `chosen`, bool [B]."""
        key = tuple(chosen.tolist())
        if all(key):
            return self
        if key not in self._parts:
            self._parts[key] = replace(
                self,
                images=self.images[chosen],
                previews=None if self.previews is None else self.previews[chosen],
            )
        return self._parts[key]


class Verifier(Short, ABC):
    """One judge. Any object with `name` and `score(batch)` may stand in its place on a verifier socket."""

    name: str = "verifier"
    needs_prompt: bool = False
    needs_previews: bool = False

    @abstractmethod
    def score(self, batch: Batch) -> torch.Tensor:
        """float32 [B] on the CPU, higher is better. NaN means "cannot judge": it ranks last and is reported.

        Bad input (a prompt it cannot use, say) raises ValueError with what was given and what is allowed.
        """

    def notes(self, prompt: str) -> tuple[str, ...]:
        """What the user should know before trusting the scores, such as text that was cut off."""
        return ()


class ImageVerifier(Verifier):
    """A judge of single images: subclasses write `judge`, and never meet a video, a broken image or a missing prompt."""

    frames: int = 8  # how many frames of a video are judged
    over_frames: str = OVER_FRAMES[0]  # what a video's score is made of: "mean" or "min" (its worst frame)

    @abstractmethod
    def judge(self, batch: Batch) -> torch.Tensor:
        """One score per image [B], for finite images [B, H, W, 3]."""

    def score(self, batch: Batch) -> torch.Tensor:
        check_batch(batch, self)
        if batch.images.dim() == 5:
            frames = batch.frames(self.frames)
            whole = finite(frames.images.unflatten(0, (len(batch.images), -1)))
            return per_video(self.score(frames), len(batch.images), self.over_frames).where(whole, torch.nan)
        usable = finite(batch.images)
        if self.needs_previews:
            usable &= finite(batch.previews)
        scores = torch.full((len(batch.images),), torch.nan)
        if usable.any():
            scores[usable] = self.judge(batch.only(usable)).detach().to("cpu", torch.float32)
        return scores


def check_batch(batch, verifier):
    """Raise ValueError unless the batch has what the verifier needs."""
    check_shape(batch.images, verifier.name)
    if verifier.needs_prompt and not batch.prompt.strip():
        raise ValueError(
            f"{verifier.name} compares images with the prompt, which is empty. Write one, or judge by the images alone."
        )
    if verifier.needs_previews and (batch.previews is None or len(batch.previews) != len(batch.images)):
        raise ValueError(
            f"{verifier.name} compares each image with its preview at flow time 0.4, and there is none. It works inside a search only."
        )


def check_shape(images, who):
    """Raise ValueError unless these are images, or videos, that a network can be shown."""
    shape = tuple(images.shape)
    if len(shape) not in (4, 5) or shape[-1] != 3 or 0 in shape:
        raise ValueError(
            f"{who} was given images of shape {shape}; it needs [B, H, W, 3] (or videos [B, T, H, W, 3]) in [0, 1]."
        )
    if max(shape[-3:-1]) > MAX_ASPECT * min(shape[-3:-1]):
        raise ValueError(
            f"{who} was given images of {shape[-2]} x {shape[-3]} pixels; one side may be {MAX_ASPECT} times the other at most."
        )


def reference_images(images, who):
    """Images [N, H, W, 3 or more] that others are compared with, as float32 [N, H, W, 3]; ValueError unless every one is whole."""
    images = images[..., :3].float()
    check_shape(images, who)
    broken = (~finite(images)).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"{who} was given images to compare with that hold NaN or infinity: number {', '.join(str(i + 1) for i in broken)} of {len(images)}. Leave them out."
        )
    return images


def finite(images):
    """bool [B]: which images hold no NaN and no infinity."""
    return torch.isfinite(images).flatten(1).all(1).cpu()


def per_video(scores, videos, rule):
    """One score per video [B] from the scores of its frames [B * n]: the mean, or the worst, of those that could be judged; NaN when fewer than half could (a fade-in from black is no flaw)."""
    frames = scores.view(videos, -1)
    judged = ~frames.isnan()
    found = frames.nanmean(1) if rule == "mean" else frames.where(judged, torch.inf).min(1).values
    return found.where(2 * judged.sum(1) >= frames.shape[1], torch.nan)


def named_in(prompt, names):
    """Those of `names` that the prompt contains as whole words, whatever their case; of names within names, the longest."""
    prompt = prompt.lower()
    found = [
        name
        for name in names
        if name.lower() in prompt and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", prompt)
    ]
    return [
        name for name in found if not any(name != other and name.lower() in other.lower() for other in found)
    ]
