"""What a verifier is: images (and a prompt) in, one score per image out (Ma et al. 2025, section 3)."""
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Finished images of one prompt.

    images: [B, H, W, 3] float32 in [0, 1], or videos [B, T, H, W, 3].
    prompt: plain text, without weights and embedding syntax; "" when there is none.
    previews: the decoded x-predictions at flow time 0.4, shaped as `images`, for verifiers with `needs_previews`.
    label: a class index, for verifiers that judge classes and cannot read one from the prompt.
    """

    images: torch.Tensor
    prompt: str = ""
    previews: torch.Tensor | None = None
    label: int | None = None


class Verifier(ABC):
    """One judge. Any object with `name` and `score(batch)` may stand in its place on a verifier socket."""

    name: str = "verifier"
    needs_prompt: bool = False
    needs_previews: bool = False

    @abstractmethod
    def score(self, batch: Batch) -> torch.Tensor:
        """float32 [B] on the CPU, higher is better. NaN means "cannot judge": it ranks last and is reported.

        Bad input (a prompt it cannot use, say) raises ValueError with what was given and what is allowed.
        """

    def notes(self, prompt: str) -> tuple[str, ...]:
        """What the user should know before trusting the scores, such as text that was cut off."""
        return ()
