"""Does the image show the text that the prompt asks for? Optical character recognition, then edit distance."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import comfy.model_management as mm
import torch
import torch.nn.functional as F

from ...untrusted import excerpt
from ..base import Batch, ImageVerifier
from .edits import edit_distances, places_of
from .quotes import quotes

_ELONGATED = 4  # sides; the reader enlarges the shorter one to hundreds of pixels, and a strip would become an enormous picture
MOST_TEXTS = 32  # quoted parts of a prompt that are looked for

Reader = Callable[[torch.Tensor], list[str]]  # image [H, W, 3] in [0, 1] -> the lines of text in it


class TextMatch(ImageVerifier):
    """1 = every wanted text is there letter for letter, 0 = nothing of it; the mean over the wanted texts.

    text: what should be read; "" for the quoted parts of the prompt. Case and spacing do not count unless `exact`.
    Each wanted text is compared with every run of words that was read, within a line or over several, and the best counts, so
    other words in the image do no harm.
    """

    name = "text match"

    def __init__(self, text: str = "", exact: bool = False, read: Reader | None = None):
        self.text, self.exact, self.needs_prompt = text.strip(), exact, not text.strip()
        self.read = read or reader()
        self.package = _version()

    def check(self, prompt: str) -> None:
        super().check(prompt)
        if not self.text:
            quoted(prompt)

    def notes(self, prompt: str) -> tuple[str, ...]:
        count = 0 if self.text else len(quotes(prompt))
        return (f"looks for {MOST_TEXTS} of the {count} texts in quotes",) if count > MOST_TEXTS else ()

    def judge(self, batch: Batch) -> torch.Tensor:
        wanted = [self.text] if self.text else quoted(batch.prompt)
        return torch.tensor([self._match(self._read(image), wanted) for image in batch.images])

    def _read(self, image: torch.Tensor) -> list[str]:
        mm.throw_exception_if_processing_interrupted()
        return self.read(image)

    def _match(self, lines: list[str], wanted: list[str]) -> float:
        words = " ".join(lines).split()
        return sum(self._nearest(self._plain(text), words) for text in wanted) / len(wanted)

    def _nearest(self, text: str, words: list[str]) -> float:
        """The similarity of a text to the run of words that is most like it."""
        best, places = 0.0, places_of(text)
        for first in range(len(words)):
            mm.throw_exception_if_processing_interrupted()
            distances = edit_distances(text, places)
            length, distance, told = 0, next(distances), distances.send
            for word in words[first:]:
                for letter in " " * (self.exact and length > 0) + self._plain(word):
                    length, distance = length + 1, told(letter)
                best = max(best, 1 - distance / max(length, len(text)))
                if (
                    length > len(text) and len(text) <= best * length
                ):  # its length alone makes any longer run less like
                    break
        return best

    def _plain(self, text: str) -> str:
        text = " ".join(text.split())
        return text if self.exact else text.casefold().replace(" ", "")


def quoted(prompt: str) -> list[str]:
    """The quoted parts of a prompt, in order, at most MOST_TEXTS; ValueError when there are none."""
    found = quotes(prompt)
    if not found:
        raise ValueError(
            f'The text match needs to know which text: put it in quotes in the prompt, as in: a sign that says "OPEN". There is none in {excerpt(prompt)}.'
        )
    return found[:MOST_TEXTS]


def reader() -> Reader:
    """image [H, W, 3] in [0, 1] -> the lines of text in it, top to bottom; by RapidOCR on the CPU. ImportError says how to get it."""
    try:
        import onnxruntime  # noqa: F401  (rapidocr leaves the choice of onnxruntime to the user)
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ImportError(
            "The text match needs the packages rapidocr and onnxruntime, which are not part of ComfyUI. Install them into ComfyUI's Python: "
            f"pip install rapidocr onnxruntime (or the onnxruntime for your GPU), then restart ComfyUI. ({error})"
        ) from error
    engine = RapidOCR(params={"Global.log_level": "error"})

    def read(image: torch.Tensor) -> list[str]:
        height, width = image.shape[:2]
        rows, columns = max(0, width // _ELONGATED - height), max(0, height // _ELONGATED - width)
        pixels = F.pad(image.float().movedim(-1, 0)[None], (0, columns, 0, rows), mode="replicate")[
            0
        ].movedim(0, -1)
        blue_first = (pixels.clamp(0, 1) * 255).byte().flip(-1).contiguous().cpu().numpy()
        found: Any = engine(blue_first)
        return list(found.txts or ())

    return read


def _version() -> str:
    """Which reader this is: its networks come with the package."""
    try:
        return f"rapidocr {version('rapidocr')}"
    except PackageNotFoundError:
        return "no rapidocr"
