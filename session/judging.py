"""The verifiers of a search, as one function from images to score tuples."""

from __future__ import annotations

import comfy.model_management as mm
import torch

from .. import compat
from ..search.selection import Comparison
from ..verifiers.base import Batch
from ..verifiers.ensemble import as_ensemble
from ..verifiers.sanity import healthy


FINAL = "final"  # in place of an id: the winner, rendered once more


class Judge:
    """Scores images with every member of a verifier, and with its held-out one.

    Raises RuntimeError that names the verifier when one fails; what was given to it is in the message's cause.
    """

    def __init__(self, verifier, prompt: str, ledger=None):
        ensemble = as_ensemble(verifier)
        self.members, self.held_out, self.prompt, self.ledger = (
            ensemble.members,
            ensemble.held_out,
            prompt,
            ledger,
        )
        self.everyone, self.gated = ensemble.everyone, ensemble.sanity_gate
        self.comparison = Comparison(ensemble.method, ensemble.weights)
        self.leading = next(
            i for i, weight in enumerate(ensemble.weights) if weight > 0
        )  # whose score speaks where one number must
        self.witness: dict = {}  # the held-out verifier's scores by outcome id
        self.rejected = 0

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    @property
    def needs_previews(self) -> bool:
        """Whether a verifier compares images with earlier predictions of them."""
        return any(getattr(v, "needs_previews", False) for v in self.everyone)

    def notes(self) -> list[str]:
        """What the user should know before trusting the scores."""
        notes = [
            f"{v.name}: {note}"
            for v in self.everyone
            for note in (v.notes(self.prompt) if hasattr(v, "notes") else ())
        ]
        if self.rejected:
            notes.append(
                f"The sanity gate rejected {self.rejected} images or previews: empty, burnt out or broken. If they are meant so, switch sanity_gate off in Verifier Ensemble."
            )
        return notes

    def __call__(
        self, images: torch.Tensor, ids=(), previews: torch.Tensor | None = None
    ) -> list[tuple[float, ...]]:
        """images [B, ...] of these outcomes, and their early predictions where verifiers need them -> one tuple per image, a score per member."""
        batch = Batch(
            images[..., :3].float(), self.prompt, None if previews is None else previews[..., :3].float()
        )
        shown = healthy(batch.images) if self.gated else torch.ones(len(images), dtype=torch.bool)
        if FINAL not in ids:
            self.rejected += int((~shown).sum())
        rows = list(zip(*(self._score(member, batch, shown) for member in self.members)))
        if self.held_out is not None:
            self.witness.update(zip(ids, self._score(self.held_out, batch, shown)))
        return rows

    def _score(self, verifier, batch: Batch, shown: torch.Tensor) -> list[float]:
        """The verifier's scores of the images it is shown; NaN for the others."""
        scores, count = torch.full((len(shown),), torch.nan), int(shown.sum())
        if count:
            scores[shown] = self._ask(verifier, batch.only(shown), count)
        return scores.tolist()

    def _ask(self, verifier, batch: Batch, count: int) -> torch.Tensor:
        mm.throw_exception_if_processing_interrupted()
        try:
            scores = torch.as_tensor(verifier.score(batch)).float().flatten().cpu()
        except mm.InterruptProcessingException:
            raise
        except Exception as error:
            if compat.is_out_of_memory(error):  # ComfyUI has an answer to that
                raise
            raise RuntimeError(f'The verifier "{verifier.name}" failed: {error}') from error
        if len(scores) != count:
            raise RuntimeError(
                f'The verifier "{verifier.name}" gave {len(scores)} scores for {count} images; it must give one each.'
            )
        if self.ledger is not None:
            self.ledger.verifier_calls += count
        return scores
