"""A replay that samples nothing: the finished sample of its lineage is taken from a journal, where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch

from .journal import Journal, JournalFault
from .journaled import Account, Asked, Journaled, Resumable, lineage_key
from .rollout import Outcome, Rollout

RECOVERED = "The image came from the search journal: nothing was sampled."


class Recovered(Journaled):
    """The driver's Evaluator of a replay of these pieces. What the journal does not keep is sampled, and not written down; so is what was
    cut on the way, for a recipe does not say what was looked at.

    contexts: (key, known, on_known) of `Journaled` for each context that may hold the sample, the best first."""

    def __init__(
        self,
        pieces: Sequence[Rollout],
        contexts: Sequence[tuple[str, str, Callable[[str], None]]],
        inner: Resumable,
        journal: Journal,
        memory: Any,
        account: Account,
    ) -> None:
        key, known, on_known = contexts[0]
        super().__init__(inner, journal, key, memory, account, known, on_known)
        self._pieces, self._contexts = tuple(pieces), tuple(contexts)
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
        try:
            for context in self._contexts:
                self.key, self.known, self.on_known = context
                if self._journal and (kept := self._of_this_model(self._journal, lineage)):
                    return kept
        except JournalFault as fault:
            self._off(fault)
        return {}

    def _of_this_model(self, journal: Journal, lineage: bytes) -> Mapping[str, torch.Tensor]:
        """The latents in the context of `key`. What it does not keep is not worth asking the model for."""
        context = journal.context(self.key)
        kept = {} if context is None else journal.tensors(context.id, lineage)
        self._context = None
        if kept:
            self._look(journal)
        return {} if self._context is None else kept
