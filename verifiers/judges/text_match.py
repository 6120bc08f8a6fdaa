"""Does the image show the text that the prompt asks for? Optical character recognition, then edit distance."""

import re

import comfy.model_management as mm
import torch
import torch.nn.functional as F

from ..base import ImageVerifier
from ...untrusted import excerpt

_ELONGATED = 4  # sides; the reader enlarges the shorter one to hundreds of pixels, and a strip would become an enormous picture
_QUOTED = re.compile(  # a mark behind a digit means inches or feet, one within a word is an apostrophe
    r'(?<!\d)"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」|『([^』]+)』'
    r"|‘((?:[^’]|(?<=\w)’(?=\w))+)’|(?<!\w)'((?:[^']|(?<=\w)'(?=\w))+)'(?!\w)"
)


class TextMatch(ImageVerifier):
    """1 = every wanted text is there letter for letter, 0 = nothing of it; the mean over the wanted texts.

    text: what should be read; "" for the quoted parts of the prompt. Case and spacing do not count unless `exact`.
    Each wanted text is compared with every run of words that was read, within a line or over several, and the best counts, so
    other words in the image do no harm.
    """

    name = "text match"

    def __init__(self, text="", exact=False, read=None):
        self.text, self.exact, self.needs_prompt = text.strip(), exact, not text.strip()
        self.read = read or reader()

    def judge(self, batch):
        wanted = [self.text] if self.text else quoted(batch.prompt)
        return torch.tensor([self._match(self._read(image), wanted) for image in batch.images])

    def _read(self, image):
        mm.throw_exception_if_processing_interrupted()
        return self.read(image)

    def _match(self, lines, wanted):
        words = " ".join(lines).split()
        return sum(self._nearest(self._plain(text), words) for text in wanted) / len(wanted)

    def _nearest(self, text, words):
        """The similarity of a text to the run of words that is most like it."""
        best = 0.0
        for first in range(len(words)):
            mm.throw_exception_if_processing_interrupted()
            length, row = 0, list(range(len(text) + 1))
            for word in words[first:]:
                for letter in " " * (self.exact and length > 0) + self._plain(word):
                    length, row = length + 1, _with(letter, row, text)
                best = max(best, 1 - row[-1] / max(length, len(text)))
                if (
                    length > len(text) and len(text) <= best * length
                ):  # its length alone makes any longer run less like
                    break
        return best

    def _plain(self, text):
        text = " ".join(text.split())
        return text if self.exact else text.casefold().replace(" ", "")


def quoted(prompt):
    """The quoted parts of a prompt, in order; ValueError when there are none."""
    found = ["".join(match).strip() for match in _QUOTED.findall(prompt)]
    found = [text for text in found if text]
    if not found:
        raise ValueError(
            f'The text match needs to know which text: put it in quotes in the prompt, as in: a sign that says "OPEN". There is none in {excerpt(prompt)}.'
        )
    return found


def edit_distance(one, other):
    """The fewest letters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(other) + 1))
    for letter in one:
        row = _with(letter, row, other)
    return row[-1]


def _with(letter, row, other):
    """Edit distances of a text to every beginning of `other`, from those of the text without its last letter."""
    out = [row[0] + 1]
    for opposite, diagonal, above in zip(other, row, row[1:]):
        out.append(min(above + 1, out[-1] + 1, diagonal + (letter != opposite)))
    return out


def reader():
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

    def read(image):
        height, width = image.shape[:2]
        rows, columns = max(0, width // _ELONGATED - height), max(0, height // _ELONGATED - width)
        pixels = F.pad(image.float().movedim(-1, 0)[None], (0, columns, 0, rows), mode="replicate")[
            0
        ].movedim(0, -1)
        blue_first = (pixels.clamp(0, 1) * 255).byte().flip(-1).contiguous().cpu().numpy()
        return list(engine(blue_first).txts or ())

    return read
