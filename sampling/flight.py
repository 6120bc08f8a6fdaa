"""Whether a batch that is on its way is worth finishing once the search is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 2.0  # seconds that a batch may still take


class GivenUp(BaseException):
    """The batch in flight is given up. No Exception, so that code of other packs between us and the model cannot eat it."""


class Flight:
    """One batch at a time. pace: seconds of an evaluation of one row, as measured last; landed: whether any sample is finished."""

    def __init__(self) -> None:
        self.enough: Callable[[], bool] = lambda: False
        self.pace: float | None = None
        self.landed = False
        self._rows = self._evaluations = self._done = 0
        self._began = 0.0

    def begin(self, rows: int, evaluations: int) -> None:
        """A batch of so many rows begins, each of which takes so many evaluations."""
        self._rows, self._evaluations, self._done = rows, evaluations, 0
        self._began = time.monotonic()

    def step(self) -> None:
        """Before each evaluation. Raises GivenUp when the search is told to stop and the rest of the batch is not worth waiting for."""
        if self._done:
            self.pace = (time.monotonic() - self._began) / self._done / self._rows
        if self.enough() and self.rest > max(PATIENCE, 0.0 if self.landed else self._alone):
            raise GivenUp
        self._done += 1

    @property
    def rest(self) -> float:
        """Seconds that the batch will still take."""
        left = self._evaluations - self._done
        return float("inf") if self.pace is None else left * self.pace * self._rows

    @property
    def _alone(self) -> float:
        """Seconds of one sample from the start: what a search that has nothing yet must spend anyway."""
        return self._evaluations * (self.pace or 0.0) if self._rows > 1 else float("inf")
