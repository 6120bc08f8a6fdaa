"""A replay that samples nothing: the finished sample of its lineage is taken from a journal, where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch

from .journal import JournalFault
from .journaled import Asked, Journaled, lineage_key
from .rollout import Outcome, Rollout

RECOVERED = "The image came from the search journal: nothing was sampled."


class Recovered(Journaled):
    """The driver's Evaluator of a replay of these pieces. What the journal does not keep is sampled, and not written down; so is what was
    cut on the way, for a recipe does not say what was looked at."""

    def __init__(self, pieces: Sequence[Rollout], *args: Any) -> None:
        super().__init__(*args)
        self._pieces = tuple(pieces)
        self._kept: Mapping[str, torch.Tensor] | None = None

    def evaluate(
        self, asked: Asked, enough: Callable[[], bool] = lambda: False
    ) -> Generator[list[Outcome], None, None]:
        if self._kept is None:
            self._kept = self._fetch()
        for id, rollout in asked:
            self._rollouts[id] = rollout
            before = b"" if rollout.parent is None else self._lineages[rollout.parent]
            self._lineages[id] = lineage_key(before, rollout)
        if not self._kept:
            yield from self.inner.evaluate(asked, enough)
            return
        for id, rollout in asked:
            self.inner.know(id, rollout)
            if rollout.finished:
                self.inner.put(id, self._kept)
                self.notes.append(RECOVERED)
            yield [Outcome(id, rollout, (), 0)]

    def keep(self, best: Sequence[int]) -> None:
        self.inner.keep(best)

    def _fetch(self) -> Mapping[str, torch.Tensor]:
        """The latents of the finished sample; none where the journal does not keep them, or knows another model."""
        lineage = b""
        for piece in self._pieces:
            lineage = lineage_key(lineage, piece)
        if self._journal is None:
            return {}
        try:
            self._look(self._journal)
            return {} if self._context is None else self._journal.tensors(self._context, lineage)
        except JournalFault as fault:
            self._off(fault)
            return {}
