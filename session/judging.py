"""The verifiers of a search, as one function from images to score tuples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from ..search.selection import Comparison
from ..verifiers.base import Batch, finite
from ..verifiers.ensemble import as_ensemble
from ..verifiers.judges.self_supervised import note_on_level
from ..verifiers.sanity import healthy
from .asking import Asked

FINAL = "final"  # in place of an id: the winner, rendered once more


class Judge:
    """Scores images with every member of a verifier, and with its held-out one.

    ValueError at once when a verifier cannot judge by the prompt. A verifier that fails at first ends the search, by a RuntimeError that names
    it; one that has judged before, or that chooses nothing, loses nothing that was paid: its scores are NaN from then on where it fails, and
    `notes` say so.
    """

    def __init__(self, verifier: Any, prompt: str, ledger: Any = None):
        ensemble = as_ensemble(verifier)
        self.members, self.held_out, self.prompt = ensemble.members, ensemble.held_out, prompt
        self.everyone, self.gated = ensemble.everyone, ensemble.sanity_gate
        method = {} if ensemble.method is None else {"method": ensemble.method}
        self.comparison = Comparison(weights=ensemble.weights, **method)
        self.leading = next(
            i for i, weight in enumerate(ensemble.weights) if weight > 0
        )  # whose score speaks where one number must
        self.witness: dict = {}  # the held-out verifier's scores by outcome id
        self.answers: dict = {}  # by outcome id and verifier: what its score was made of, for those that say so
        self.unsure: set = set()  # outcomes that a verifier failed on: it may judge them another time
        self.rejected = self.seen = self.broken = self.judged = 0
        weights = (*ensemble.weights, *([0.0] if self.held_out is not None else []))
        self._panel = [Asked(one, weight > 0, ledger) for one, weight in zip(self.everyone, weights)]
        self._level = ""
        for one in self._panel:
            one.check(prompt)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    @property
    def needs_previews(self) -> bool:
        """Whether a verifier compares images with earlier predictions of them."""
        return any(getattr(v, "needs_previews", False) for v in self.everyone)

    def previews_at(self, time: float) -> None:
        """Told before anything is sampled: the flow time of the predictions it will be given. ValueError where they mean nothing."""
        self._level = note_on_level(time)

    def notes(self) -> list[str]:
        """What the user should know before trusting the scores."""
        notes = [note for one in self._panel for note in one.notes(self.prompt)]
        if self._level:
            notes.append(f"Samples are {self._level}.")
        if self.rejected:
            notes.append(
                f"The sanity gate rejected {self.rejected} images or previews: empty, burnt out or broken. If they are meant to look like that, put Combine Judges behind the judge and turn its sanity_gate off."
            )
        if self.broken:
            notes.append(
                f"{self.broken} of {self.seen} images hold NaN or infinity: the model or the VAE broke them, and nobody can judge them."
            )
        if self.warning:
            notes.append(f"{self.warning}.")
        elif self.judged < self.seen:
            missing = self.seen - self.judged
            notes.append(f"{missing} of {self.seen} candidates could not be judged (NaN) and rank last.")
        return notes

    @property
    def warning(self) -> str:
        """What must be said beside the result itself, "" when all is well: that nothing was chosen at all."""
        if self.judged or not self.seen:
            return ""
        return f"All {self.seen} candidates could not be judged (NaN), so the first one is handed on as it is"

    def __call__(
        self, images: torch.Tensor, ids: Iterable = (), previews: torch.Tensor | None = None
    ) -> list[tuple[float, ...]]:
        """images [B, ...] of these outcomes, and their early predictions where verifiers need them -> one tuple per image, a score per member."""
        batch = Batch(
            images[..., :3].float(), self.prompt, None if previews is None else previews[..., :3].float()
        )
        ids = list(ids)
        shown = healthy(batch.images) if self.gated else torch.ones(len(images), dtype=torch.bool)
        failed = sum(one.failed for one in self._panel)
        columns = [self._score(one, batch, shown) for one in self._panel]
        if sum(one.failed for one in self._panel) > failed:
            self.unsure.update(ids)
        if self.held_out is not None:
            self.witness.update(zip(ids, columns.pop()))
        self._keep_answers(ids, shown)
        rows = list(zip(*columns))
        if FINAL not in ids:
            self._count(batch, shown, rows)
        return rows

    def _keep_answers(self, ids: list, shown: torch.Tensor) -> None:
        seen = [id for id, was in zip(ids, shown.tolist()) if was]
        for one in self._panel:
            name = f"{one.verifier.name} (held out)" if one.verifier is self.held_out else one.verifier.name
            for id, answers in zip(seen, one.answers):
                if answers:
                    self.answers.setdefault(id, {})[name] = answers

    def recall(self, id: int, scores: tuple[float, ...], held_out: float | None) -> None:
        """These are its scores of an outcome, from an earlier search."""
        if held_out is not None:
            self.witness[id] = held_out
        self.seen += 1
        self.judged += self._decides(scores)

    def _decides(self, scores: Iterable[float]) -> bool:
        """Whether every verifier that chooses could judge."""
        weights = self.comparison.weights
        return not any(weight > 0 and math.isnan(score) for score, weight in zip(scores, weights))

    def _score(self, one: Asked, batch: Batch, shown: torch.Tensor) -> list[float]:
        """The verifier's scores of the images it is shown; NaN for the others."""
        scores = torch.full((len(shown),), torch.nan)
        if shown.any():
            scores[shown] = one.scores(batch.only(shown), int(shown.sum()))
        return scores.tolist()

    def _count(self, batch: Batch, shown: torch.Tensor, rows: list[tuple[float, ...]]) -> None:
        self.seen += len(rows)
        self.rejected += int((~shown).sum())
        self.broken += int((~finite(batch.images)).sum())
        self.judged += sum(map(self._decides, rows))
