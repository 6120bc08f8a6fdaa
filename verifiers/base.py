"""What a verifier is: images (and a prompt) in, one score per image out (Ma et al. 2025, section 3)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch

from ..untrusted import Short, choice, excerpt, listed
from .fingerprint import described

OVER_FRAMES = ("mean", "min")
_WORD = re.compile(r"\w+|[^\w\s]")
_HALVES = re.compile(r"[\ud800-\udfff]")  # of characters beyond 16 bits; no encoding knows them alone
_LOOKED_UP = 8  # words of a name; the rest of a longer one is compared
_TOLD = 40  # names
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

    def frames(self, count: int) -> Batch:
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

    def only(self, chosen: torch.Tensor) -> Batch:
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

    def check(self, prompt: str) -> None:
        """Raise ValueError unless the verifier can judge by this prompt. Asked before anything is sampled."""
        if self.needs_prompt:
            check_prompt(prompt, self.name)

    def notes(self, prompt: str) -> tuple[str, ...]:
        """What the user should know before trusting the scores, such as text that was cut off."""
        return ()

    def fingerprint(self) -> dict:
        """Class, settings and files, in JSON: equal for verifiers that score alike. Attributes with a leading underscore are left out."""
        return described(self)


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
        if self.needs_previews and batch.previews is not None:
            usable &= finite(batch.previews)
        scores = torch.full((len(batch.images),), torch.nan)
        if usable.any():
            scores[usable] = self.judge(batch.only(usable)).detach().to("cpu", torch.float32)
        return scores


def check_prompt(prompt: str, who: str) -> None:
    """Raise ValueError unless this is text that a network can be given."""
    if not prompt.strip():
        raise ValueError(
            f"{who} compares images with the prompt, which is empty. Write one, or judge by the images alone."
        )
    if _HALVES.search(prompt):
        raise ValueError(
            f"{who} cannot read the prompt: it holds half of a character, as is left when an emoji is cut in two: {excerpt(prompt)}."
        )


def check_batch(batch: Batch, verifier: Verifier) -> None:
    """Raise ValueError unless the batch has what the verifier needs."""
    check_shape(batch.images, verifier.name)
    if verifier.needs_prompt:
        check_prompt(batch.prompt, verifier.name)
    if verifier.needs_previews and (batch.previews is None or len(batch.previews) != len(batch.images)):
        raise ValueError(
            f"{verifier.name} compares each image with its preview at flow time 0.4, and there is none. It works inside a search only."
        )


def check_shape(images: torch.Tensor, who: str) -> None:
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


def reference_images(images: torch.Tensor, who: str) -> torch.Tensor:
    """Images [N, H, W, 3 or more] that others are compared with, as float32 [N, H, W, 3]; ValueError unless every one is whole."""
    images = images[..., :3].float()
    check_shape(images, who)
    broken = (~finite(images)).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"{who} was given images to compare with that hold NaN or infinity: number {listed(i + 1 for i in broken)} of {len(images)}. Leave them out."
        )
    return images


def finite(images: torch.Tensor) -> torch.Tensor:
    """bool [B]: which images hold no NaN and no infinity."""
    return torch.isfinite(images).flatten(1).all(1).cpu()


def per_video(scores: torch.Tensor, videos: int, rule: str) -> torch.Tensor:
    """One score per video [B] from the scores of its frames [B * n]: the mean, or the worst, of those that could be judged; NaN when fewer than half could (a fade-in from black is no flaw)."""
    frames = scores.view(videos, -1)
    judged = ~frames.isnan()
    found = frames.nanmean(1) if rule == "mean" else frames.where(judged, torch.inf).min(1).values
    return found.where(2 * judged.sum(1) >= frames.shape[1], torch.nan)


def named_in(prompt: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that the prompt contains as whole words, whatever their case; of names within names, the longest. At most 40, longest first.

    In time linear in both texts: names are looked up by their first words.
    """
    words = _words(prompt)
    text, runs = _joined(words), {}
    found = []
    for name in names:
        wanted = _words(name)
        count = min(len(wanted), _LOOKED_UP)
        if count not in runs:
            runs[count] = {tuple(words[i : i + count]) for i in range(len(words) - count + 1)}
        if (
            wanted
            and tuple(wanted[:count]) in runs[count]
            and (count == len(wanted) or _joined(wanted) in text)
        ):
            found.append((_joined(wanted), name))
    found = sorted(found, key=lambda one: -len(one[0]))[:_TOLD]
    return [name for words, name in found if not any(words != other and words in other for other, _ in found)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _joined(words: list[str]) -> str:
    """Words in a form in which whole ones only are found in another."""
    return f"\n{chr(10).join(words)}\n"


def over_frames_of(verifier: ImageVerifier, frames: int, rule: str) -> ImageVerifier:
    """The verifier, judging videos by so many frames and this rule."""
    if type(frames) is not int or frames < 1:
        raise ValueError(f"A video is judged by at least 1 frame, not {excerpt(frames)}.")
    verifier.frames, verifier.over_frames = frames, choice(rule, OVER_FRAMES, "way to judge a video")
    return verifier
