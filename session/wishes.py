"""What the user asks of a search besides the sampling itself; the widgets of both search nodes."""

from __future__ import annotations

from dataclasses import dataclass

from ..search.drafts import LEAST

AUTO = -1  # draft_steps by the budget and what is known of drafts


def too_few(draft_steps: int) -> str:
    """What to say of drafts that are too coarse."""
    return f"Drafts of {draft_steps} steps show too little: draft_steps must be at least {LEAST}, or {AUTO} to choose by the budget, or 0 for none."


@dataclass(frozen=True)
class Wishes:
    """candidates: complete images to pay for. keep_top: how many of the best to hand out. budget_nfe: hard cap per image, 0 = from
    the candidates. stop_at_score, time_limit (seconds): 0 = off. batch_size: 0 = what fits. exact: render the winner once more alone
    where batches change its last digits. journal: pay for nothing that the journal has. draft_steps: of a candidate, before the best
    `verify_top` of them are rendered with all steps and judged again; 0 = all steps, AUTO = by the budget. draft_cfg: the guidance of drafts, 0 = the user's."""

    candidates: int = 8
    keep_top: int = 4
    budget_nfe: int = 0
    stop_at_score: float = 0.0
    time_limit: float = 0.0
    batch_size: int = 0
    exact: bool = True
    journal: bool = True
    draft_steps: int = 0
    draft_cfg: float = 0.0
    verify_top: int = 2

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
            ("draft_cfg", 0),
            ("verify_top", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, but is {getattr(self, name)}.")
        if self.draft_steps not in (0, AUTO) and self.draft_steps < LEAST:
            raise ValueError(too_few(self.draft_steps))
