"""The verifiers of a search, as one function from images to score tuples."""
from __future__ import annotations

import comfy.model_management as mm
import torch

from ..search.selection import Comparison
from ..verifiers.base import Batch
from ..verifiers.ensemble import as_ensemble


class Judge:
    """Scores images with every member of a verifier, and with its held-out one.

    Raises RuntimeError that names the verifier when one fails; what was given to it is in the message's cause.
    """

    def __init__(self, verifier, prompt: str, ledger=None):
        ensemble = as_ensemble(verifier)
        self.members, self.held_out, self.prompt, self.ledger = ensemble.members, ensemble.held_out, prompt, ledger
        self.everyone = ensemble.everyone
        self.comparison = Comparison(ensemble.method, ensemble.weights)
        self.witness: dict[int, float] = {}  # the held-out verifier's scores by outcome id

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    @property
    def needs_previews(self) -> bool:
        """Whether a verifier compares images with earlier predictions of them."""
        return any(getattr(v, "needs_previews", False) for v in self.everyone)

    def notes(self) -> list[str]:
        """What the user should know before trusting the scores."""
        return [f"{v.name}: {note}" for v in self.everyone for note in (v.notes(self.prompt) if hasattr(v, "notes") else ())]

    def __call__(self, images: torch.Tensor, ids=(), previews: torch.Tensor | None = None) -> list[tuple[float, ...]]:
        """images [B, ...] of these outcomes, and their early predictions where verifiers need them -> one tuple per image, a score per member."""
        batch = Batch(images[..., :3].float(), self.prompt, None if previews is None else previews[..., :3].float())
        rows = list(zip(*(self._score(member, batch) for member in self.members)))
        if self.held_out is not None:
            self.witness.update(zip(ids, self._score(self.held_out, batch)))
        return rows

    def _score(self, verifier, batch: Batch) -> list[float]:
        mm.throw_exception_if_processing_interrupted()
        try:
            scores = torch.as_tensor(verifier.score(batch)).float().flatten()
        except mm.InterruptProcessingException:
            raise
        except Exception as error:
            raise RuntimeError(f"The verifier \"{verifier.name}\" failed: {error}") from error
        if len(scores) != len(batch.images):
            raise RuntimeError(f"The verifier \"{verifier.name}\" gave {len(scores)} scores for {len(batch.images)} images; it must give one each.")
        if self.ledger is not None:
            self.ledger.verifier_calls += len(scores)
        return scores.tolist()
