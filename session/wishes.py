"""What the user asks of a search besides the sampling itself; the widgets of both search nodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """candidates: complete images to pay for. keep_top: how many of the best to hand out. budget_nfe: hard cap per image, 0 = from
    the candidates. stop_at_score, time_limit (seconds): 0 = off. batch_size: 0 = what fits. exact: render the winner once more alone
    where batches change its last digits. journal: pay for nothing that the journal has."""

    candidates: int = 8
    keep_top: int = 4
    budget_nfe: int = 0
    stop_at_score: float = 0.0
    time_limit: float = 0.0
    batch_size: int = 0
    exact: bool = True
    journal: bool = True

    @property
    def plain(self) -> bool:
        """One image and no more: the plain sampler, with nothing to compare."""
        return self.candidates == 1 and not self.budget_nfe

    def __post_init__(self) -> None:
        for name, least in (
            ("candidates", 1),
            ("keep_top", 1),
            ("budget_nfe", 0),
            ("time_limit", 0),
            ("batch_size", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, but is {getattr(self, name)}.")
