"""What searches have shown of drafts, kept in the journal for each model, sampler, size and judge: how well a draft foretells the image."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ..sampling.setup import Setup
from ..search.drafts import Seen
from ..search.journal import JournalFault
from .journaling import the_journal
from .judging import Judge
from .provenance import Origin

MOST = 256  # searches that are looked at, the newest


class Evidence:
    """Of one model, sampler, size and judge. Reading and writing never fail a search: a fault of the journal leaves it without evidence."""

    def __init__(self, setup: Setup, judge: Judge, origin: Origin, draft_cfg: float = 0.0) -> None:
        told = {
            "model": type(setup.guider.model_patcher.model).__name__,
            "files": origin.files(),
            "sampler": setup.solver.name,
            "size": list(setup.sample.latent.shape[1:]),
            "draft_cfg": draft_cfg,
            "judge": [judge.names, list(judge.comparison.weights)],
        }
        self.key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def seen(self) -> list[Seen]:
        """What earlier searches showed."""
        try:
            said = the_journal().drafts(self.key, MOST)
        except JournalFault:
            return []
        return [one for text in said if (one := _read(text)) is not None]

    def add(self, one: Seen) -> str:
        """Write down what a search showed; "" or why that failed."""
        if not one.pairs:
            return ""
        try:
            the_journal().add_drafts(self.key, json.dumps({"steps": one.steps, "pairs": one.pairs}))
        except JournalFault as fault:
            return str(fault)
        return ""


def _read(text: str) -> Seen | None:
    """None for what no search wrote."""
    try:
        data = json.loads(text)
        pairs = tuple((float(draft), float(final)) for draft, final in data["pairs"])
        steps: Any = data["steps"]
    except (KeyError, TypeError, ValueError):
        return None
    sound = isinstance(steps, int) and steps > 0 and all(math.isfinite(x) for pair in pairs for x in pair)
    return Seen(steps, pairs) if sound else None
