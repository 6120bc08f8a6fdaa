"""One verifier of a search: asked for as many images at a time as it has memory for, and named in all that it does wrong."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management as mm
import torch

from .. import compat
from ..untrusted import excerpt, legible
from ..verifiers.base import Batch, check_prompt
from ..verifiers.networks.managed import Chunked

MOST_ANSWERS = 64  # of one image


class Asked:
    """A verifier and what became of asking it. chooses: whether its scores decide anything."""

    def __init__(self, verifier: Any, chooses: bool, ledger: Any):
        self.verifier, self.chooses, self.ledger = verifier, chooses, ledger
        self.some = Chunked(2**30)
        self.answered = self.failed = self.infinite = 0  # images
        self.fault = ""
        self.answers: list[dict] = []  # of the last images, in order: what their scores were made of

    @property
    def who(self) -> str:
        return f'The verifier "{self.verifier.name}"'

    def check(self, prompt: str) -> None:
        """ValueError when it cannot judge by this prompt."""
        own = getattr(self.verifier, "check", None)
        try:
            if callable(own):
                own(prompt)
            elif getattr(self.verifier, "needs_prompt", False):
                check_prompt(prompt, self.verifier.name)
        except mm.InterruptProcessingException:
            raise
        except ValueError as error:
            raise ValueError(f"{self.who} cannot judge this: {legible(error)}") from error
        except Exception as error:
            raise RuntimeError(f"{self.who} failed to check the prompt: {_told(error)}") from error

    def scores(self, batch: Batch, count: int) -> torch.Tensor:
        """float32 [count]; NaN where it failed and is allowed to."""
        mm.throw_exception_if_processing_interrupted()
        self.answers = [{}] * count
        try:
            scores = self.some(lambda places: self._ask(batch, places, count), torch.arange(count))
            answered = count
        except mm.InterruptProcessingException:
            raise
        except Exception as error:
            named = self._named(error)
            alone = 0 if count == 1 or isinstance(error, _Miscounted) else count
            scores, answered = self._one_by_one(batch, count, alone)
            if self.chooses and not answered and not self.answered:
                raise named from error
            logging.warning("NoiseSearch: %s", named)
            self.failed, self.fault = self.failed + count - answered, self.fault or str(named)
        self.answered += answered
        self.infinite += int(scores.isinf().sum())
        if self.ledger is not None:
            self.ledger.verifier_calls += answered
        return scores

    def _one_by_one(self, batch: Batch, count: int, most: int) -> tuple[torch.Tensor, int]:
        """The scores of those of the first `most` images that it can judge alone, and how many: one that trips it shall not cost the others."""
        scores, answered = torch.full((count,), torch.nan), 0
        for place in range(most):
            if place == 2 and not answered:  # it is not the image
                break
            try:
                scores[place] = self._ask(batch, torch.tensor([place]), count)[0]
                answered += 1
            except mm.InterruptProcessingException:
                raise
            except Exception as error:
                logging.info("NoiseSearch: %s", self._named(error))
        return scores, answered

    def _ask(self, batch: Batch, places: torch.Tensor, count: int) -> torch.Tensor:
        """The scores of the images at these places of `count`."""
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[places] = True
        given = self.verifier.score(batch.only(chosen))
        scores = torch.as_tensor(given).detach().float().flatten().cpu()
        if len(scores) != len(places):
            raise _Miscounted(f"gave {len(scores)} scores for {len(places)} images; it must give one each.")
        self._note_answers(places)
        return scores

    def _note_answers(self, places: torch.Tensor) -> None:
        """What a verifier says of these images besides their scores, where it can tell."""
        own = getattr(self.verifier, "answers", None)
        if not callable(own):
            return
        try:
            given = [_short(one) for one in own()]
        except mm.InterruptProcessingException:
            raise
        except Exception as error:  # the scores stand without them
            logging.info(
                "NoiseSearch: %s did not say what its scores are made of: %s", self.who, _told(error)
            )
            return
        if len(given) == len(places):
            for place, one in zip(places.tolist(), given):
                self.answers[place] = one

    def _named(self, error: Exception) -> Exception:
        """The error in the verifier's name. One about memory stays one, for which ComfyUI has advice."""
        if compat.is_out_of_memory(error):
            return mm.OOM_EXCEPTION(f"{self.who} ran out of memory, even with one image. {legible(error)}")
        if isinstance(error, _Miscounted):
            return RuntimeError(f"{self.who} {error}")
        return RuntimeError(f"{self.who} failed: {_told(error)}")

    def notes(self, prompt: str) -> list[str]:
        name = self.verifier.name
        notes = [f"{name}: {note}" for note in self._own_notes(prompt)]
        if self.infinite:
            notes.append(
                f"{name}: {self.infinite} of its scores are infinite, and decide whatever the others say."
            )
        if self.failed:
            notes.append(f"{self.fault} Its scores of {self.failed} images are missing.")
        return notes

    def _own_notes(self, prompt: str) -> list[str]:
        own = getattr(self.verifier, "notes", None)
        if not callable(own):
            return []
        try:
            given = own(prompt)
            return [
                legible(note, encoding="utf-8") for note in ([given] if isinstance(given, str) else given)
            ]
        except mm.InterruptProcessingException:
            raise
        except Exception as error:  # what was paid for is not lost for a remark
            return [f"its notes could not be read ({type(error).__name__}: {excerpt(str(error), 100)})"]


class _Miscounted(Exception):
    """Another number of scores than of images."""


def _short(answers: dict) -> dict[str, float]:
    """A verifier's words and numbers, as a report can hold them."""
    return {
        legible(name, 80, "utf-8"): float(number) for name, number in list(answers.items())[:MOST_ANSWERS]
    }


def _told(error: Exception) -> str:
    return legible(error) or type(error).__name__
