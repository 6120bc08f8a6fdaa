"""What goes wrong beside a search (its preview, its progress line, its account) is noted, and the search goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management as mm

from ..untrusted import excerpt


class Faults:
    """notes: one sentence for each thing that went wrong, once each."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def spared(self, what: str) -> Iterator[None]:
        """Run what the result does not hang on. what: its name, as in "The preview failed: ...". ComfyUI's cancel passes through."""
        try:
            yield
        except mm.InterruptProcessingException:
            raise
        except Exception as error:
            note = f"{what} failed ({type(error).__name__}: {excerpt(str(error))}); the result stands without it."
            if note not in self.notes:
                self.notes.append(note)
                logging.exception("NoiseSearch: %s failed.", ascii(what))
