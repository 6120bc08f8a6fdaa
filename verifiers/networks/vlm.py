"""A vision-language model that ComfyUI has loaded as a text encoder, asked about pictures (no loader, package or network of our own)."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management as mm
import comfy.utils
import torch
from comfy.sd1_clip import SDClipModel
from safetensors import SafetensorError, safe_open

from ...compat import COMFYUI, takes
from ...untrusted import Short, excerpt
from ..fingerprint import marked, network_mark
from .vlm_kinds import (
    BLIND_TYPES,
    GEMMA3,
    GEMMA4,
    SIZES,
    WHAT_TO_LOAD,
    encoder_name,
    fitted,
    kind_of,
    require_text_generation,
)

WHO = "VLM Judge"
LONGEST = 4000  # letters of an answer that are looked at

_marks: weakref.WeakKeyDictionary[torch.nn.Module, dict] = weakref.WeakKeyDictionary()


class VisionLanguageModel(Short):
    """clip: what ComfyUI's Load CLIP gives for a model of `vlm_kinds`. size: longer side of the pictures it is shown, in pixels.

    Everything that can be wrong with it raises ValueError here, with what to load instead: nothing has been sampled yet.
    """

    def __init__(self, clip: Any, size: int = 512):
        if type(size) is not int or not SIZES[0] <= size <= SIZES[1]:
            raise ValueError(
                f"{WHO} looks at pictures of {SIZES[0]} to {SIZES[1]} pixels, not {excerpt(size)}."
            )
        require_text_generation(clip, WHO)
        self.clip, self.size, self.kind = clip, size, kind_of(clip.tokenizer, WHO)
        self._refuse_blind()
        self._refuse_truncated()
        self._picture_word = self._way_to_show()
        for word in ("Yes", "No"):
            self.token(word)

    # -- asking ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def looking_at(self, image: torch.Tensor) -> Iterator[Look]:
        """One picture [H, W, 3] in [0, 1]. What the model sees in it is worked out once, however much is asked."""
        look = Look(self, fitted(image, self.size, self.kind.fit))
        network = self._network()
        with _replaced(network, "preprocess_embed", look.remember(network.preprocess_embed)):
            yield look

    def say(self, text: str, most: int) -> str:
        """The greedy answer to a text without a picture, at most so many tokens."""
        return self.answer(text, None, most)

    def answer(self, text: str, picture: torch.Tensor | None, most: int) -> str:
        ids = self._generate(text, picture, most, lambda logits: None)
        return str(self.clip.decode(ids, skip_special_tokens=True))[:LONGEST]

    def first_word(self, text: str, picture: torch.Tensor | None) -> torch.Tensor:
        """Log-probabilities of the answer's first token at temperature 1, float32 [vocabulary] on the CPU."""
        seen: list[torch.Tensor] = []

        def watch(logits: torch.Tensor) -> None:
            if not seen:
                seen.append(logits[0, -1].detach().float().cpu())

        self._generate(text, picture, 1, watch)
        if not seen:
            raise RuntimeError(
                f"{WHO} was given no probabilities by this ComfyUI ({COMFYUI}): its text generation works in another way."
            )
        return seen[0].log_softmax(-1)

    def token(self, word: str) -> int:
        """The one token of a word."""
        own = getattr(self._inner_tokenizer(), "tokenizer", None)
        ids, empty = (list(own(text)["input_ids"]) for text in (word, "")) if callable(own) else ([], [])
        ids = ids[len(empty) :] if ids[: len(empty)] == empty else ids
        if len(ids) != 1:
            raise ValueError(
                f"{WHO} compares the words Yes and No, but {self.kind.name}'s tokenizer here makes {len(ids)} tokens of {excerpt(word)}. {WHAT_TO_LOAD}."
            )
        return int(ids[0])

    def tokens(self, *words: str) -> list[int]:
        """Those of the words that are one token."""
        found = []
        for word in words:
            try:
                found.append(self.token(word))
            except ValueError:
                continue
        return found

    def _generate(
        self, text: str, picture: torch.Tensor | None, most: int, watch: Callable[[torch.Tensor], None]
    ) -> list[int]:
        tokens, network = self._tokens(text, picture, self._picture_word), self._network()
        logits = network.logits

        def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
            mm.throw_exception_if_processing_interrupted()
            found = logits(*args, **kwargs)
            watch(found)
            return found

        with torch.no_grad(), quiet(), _replaced(network, "logits", watched):
            return self.clip.generate(tokens, do_sample=False, max_length=most)

    def _tokens(self, text: str, picture: torch.Tensor | None, word: str) -> Any:
        opening = (
            "<|channel>thought\n<channel|>"  # closes its thoughts before they begin, as ComfyUI does for the sizes that think
            if self.kind is GEMMA4 and getattr(self._inner_tokenizer(), "prime_empty_thought", False)
            else ""
        )
        shown = {} if picture is None else {word: [picture] if word == "images" else picture}
        tokens = self.clip.tokenize(self.kind.turn(text, picture is not None, opening), min_length=1, **shown)
        for row in _rows(tokens):
            self._begin(row)
        return tokens

    def _begin(self, row: list) -> None:
        """Without the padding that some encoders want in front when they encode, which an answer does not; with the mark that Gemma's texts begin with."""
        pad = getattr(self._inner_tokenizer(), "pad_token", None)
        first = next((i for i, one in enumerate(row) if not (_whole(one[0]) and one[0] == pad)), 0)
        del row[:first]
        if self.kind is GEMMA3:  # ComfyUI leaves it out of texts with a picture
            start = self._inner_tokenizer().tokenizer.tokenizer.bos_id()
            row[:0] = [(start, 1.0)] if row[0][0] != start else []

    def _inner_tokenizer(self) -> Any:
        tokenizer = self.clip.tokenizer
        return getattr(tokenizer, getattr(tokenizer, "clip", None) or "", tokenizer)

    def _network(self) -> Any:
        """The part of the encoder that gives logits and takes pictures."""
        return next(_parts(self.clip, "logits", "preprocess_embed"))

    # -- what can be wrong with it --------------------------------------------------------------------------------------

    def _refuse_blind(self) -> None:
        network = next(_parts(self.clip, "logits", "preprocess_embed"), None)
        towers = ("visual", "vision_model")
        if network is None or not any(getattr(network, name, None) is not None for name in towers):
            raise ValueError(
                f"{WHO} was given a {self.kind.name} without the part that sees ({encoder_name(self.clip.tokenizer)}). {BLIND_TYPES}{WHAT_TO_LOAD}."
            )
        if hasattr(network, "build_image_inputs") and self._answers_without_looking_twice(network):
            raise ValueError(
                f"{WHO} was given a {self.kind.name} as Load CLIP's type joyimage loads it: there its answers leave out most of what it sees. "
                "Choose another type for the same file, such as stable_diffusion."
            )
        self._refuse_empty(network, next(name for name in towers if getattr(network, name, None) is not None))

    def _answers_without_looking_twice(self, network: Any) -> bool:
        """Whether the encoder around the network generates as one without pictures would: without places of patches and deep features."""
        around = next(
            (
                one
                for one in self.clip.cond_stage_model.modules()
                if getattr(one, "transformer", None) is network
            ),
            None,
        )
        return getattr(type(around), "generate", None) is getattr(SDClipModel, "generate", self)

    def _refuse_empty(self, network: Any, part: str) -> None:
        """A file without a part leaves it as it was made: empty memory."""
        weights = [value for value in getattr(network, part).parameters() if value.dim() > 1]
        if weights and all(_is_empty(value) for value in weights[:3]):
            raise ValueError(
                f"{WHO} was given a {self.kind.name} whose file does not hold all of it: {part} is empty. {WHAT_TO_LOAD}."
            )

    def _refuse_truncated(self) -> None:
        network = self._network()
        config = getattr(network.model, "config", None)
        head = getattr(network.model, "lm_head", None)
        ends = getattr(config, "final_norm", True) and getattr(config, "stop_tokens", True)
        headless = head is not None and (
            _in_no_file(self.clip, "lm_head.") or _is_empty(getattr(head, "weight", None))
        )
        if not ends or headless:
            raise ValueError(
                f"{WHO} was given a {self.kind.name} that was cut off for encoding ({encoder_name(self.clip.tokenizer)}): without its last layers or lm_head it cannot answer. {WHAT_TO_LOAD}."
            )

    def _way_to_show(self) -> str:
        """Under which name this tokenizer takes a picture: another one is swallowed without a word."""
        picture = torch.zeros(1, 64, 64, 3)
        likely = "images" if takes(self.clip.tokenizer.tokenize_with_weights, "images") else "image"
        for word in dict.fromkeys((likely, "image", "images")):
            try:
                rows = _rows(self._tokens("?", picture, word))
            except TypeError:
                continue
            if sum(isinstance(one[0], dict) for row in rows for one in row) == 1:
                return word
        raise ValueError(
            f"{WHO} shows a picture to {self.kind.name}, but its tokenizer in this ComfyUI ({COMFYUI}) drops it. Update ComfyUI. {WHAT_TO_LOAD}."
        )

    # -- for the journal ------------------------------------------------------------------------------------------------

    def fingerprint(self) -> dict:
        """Weights, patches, and the version of ComfyUI, whose code the network is."""
        module = self.clip.cond_stage_model
        if module not in _marks:  # before LoRAs are written into it
            _marks[module] = network_mark(module)
        patches = getattr(getattr(self.clip, "patcher", None), "patches", None) or {}
        return {
            "kind": self.kind.name,
            "size": self.size,
            "weights": _marks[module],
            "patches": marked(patches),
            "comfyui": COMFYUI,
        }


class Look:
    """A picture in front of the model. picture: [1, h, w, 3]."""

    def __init__(self, model: VisionLanguageModel, picture: torch.Tensor):
        self.model, self.picture, self.found = model, picture, None

    def remember(self, see: Callable[..., Any]) -> Callable[..., Any]:
        """`see`, but a second look at this picture costs nothing."""

        def seen(embed: Any, device: Any, *args: Any, **kwargs: Any) -> Any:
            if embed.get("type") != "image":
                return see(embed, device, *args, **kwargs)
            if self.found is None:
                self.found = see(embed, device, *args, **kwargs)
            return self.found

        return seen

    def first_word(self, question: str) -> torch.Tensor:
        return self.model.first_word(question, self.picture)

    def answer(self, question: str, most: int) -> str:
        return self.model.answer(question, self.picture, most)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars that ComfyUI shows for each answer: they would run over the search's own."""
    module = sys.modules.get("comfy.text_encoders.llama")
    with ExitStack() as stack:
        stack.callback(comfy.utils.set_progress_bar_global_hook, comfy.utils.PROGRESS_BAR_HOOK)
        comfy.utils.set_progress_bar_global_hook(None)
        if hasattr(module, "tqdm"):
            stack.enter_context(_replaced(module, "tqdm", lambda steps, *args, **kwargs: steps))
        yield


@contextmanager
def _replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """The attribute of this very object, for a while."""
    before = vars(thing).get(name, _replaced)
    setattr(thing, name, value)
    try:
        yield
    finally:
        delattr(thing, name)
        if before is not _replaced:
            setattr(thing, name, before)


def _parts(clip: Any, *methods: str) -> Iterator[Any]:
    """Parts of the encoder that have all of these methods."""
    for module in clip.cond_stage_model.modules():
        if all(callable(getattr(module, name, None)) for name in methods):
            yield module


def _rows(tokens: Any) -> list[list[tuple]]:
    """Lists of (token, weight): some tokenizers name the encoder that they are for, some do not."""
    return next(iter(tokens.values())) if isinstance(tokens, dict) else tokens


def _whole(token: Any) -> bool:
    return isinstance(token, int) and not isinstance(token, bool)


def _in_no_file(clip: Any, part: str) -> bool:
    """Whether no file that the encoder came from has a tensor of this part. Memory that was used before may look like weights.

    Newer versions of ComfyUI note how it was loaded; where nothing is noted, or not as expected, it is False.
    """
    try:
        paths = clip.patcher.cached_patcher_init[1][0]
        for path in [paths] if isinstance(paths, str) else paths:
            with safe_open(path, "pt") as file:
                if any(part in name for name in file.keys()):
                    return False
        return bool(paths)
    except (AttributeError, LookupError, OSError, SafetensorError, TypeError):
        return False


def _is_empty(weight: Any) -> bool:
    """Whether a plain tensor has nothing but zeros at its beginning and end. Quantised ones have tables of their own, and are taken for full."""
    if weight is None or getattr(weight, "is_meta", False):
        return True
    if type(weight) not in (torch.Tensor, torch.nn.Parameter) or not weight.is_floating_point():
        return False
    few = weight.detach().flatten()
    return not bool(torch.cat([few[:512], few[-512:]]).float().any())
