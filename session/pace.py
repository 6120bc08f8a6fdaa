"""How long a search will take: by its own clock, and before a first candidate is there by one evaluation and one decode."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

REMEMBERED = 64
FEWEST = 4  # candidates of a search that is worth a probe

# {what is decoded and judged: seconds for one candidate}, of this session
_looks: OrderedDict[Any, float] = OrderedDict()


class Pace:
    """The clock of one search. key: what tells its model, size and judges from others. paid: NFE that were sampled, of which what the
    journal answers is none."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.began = time.monotonic()
        self._first: tuple[float, int] | None = (
            None  # after the first evaluation, which also loads and warms up: seconds, NFE
        )
        self._last: tuple[float, int] | None = None
        self._landed = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def goes(self) -> bool:
        """Whether it knows already what an evaluation takes."""
        return self._first is not None and self._last is not None and self._last[1] > self._first[1]

    def probe(self, candidates: int, decode: Callable[[], Any]) -> None:
        """Decode once, where nobody knows yet how long that takes and there are enough candidates to ask."""
        if self.key not in _looks and candidates >= FEWEST:
            began = time.monotonic()
            decode()
            self._learn(time.monotonic() - began)

    def evaluated(self, paid: int) -> None:
        """paid: NFE so far."""
        if paid:
            self._last = self.seconds, paid
            self._first = self._first or self._last

    def wave(self, paid: int, candidates: int, looking: float) -> None:
        """Candidates are judged. looking: seconds that decoding and judging have taken, of so many candidates in all."""
        if self._first and paid > self._first[1]:
            self._last, self._landed = (self.seconds, paid), True
        if candidates and looking:
            self._learn(looking / candidates)

    def left(self, nfe: int, candidates: int) -> float | None:
        """Seconds for so many NFE and candidates more; None where nothing is known yet."""
        if self._first is None or self._last is None:
            return None
        (began, before), (now, paid) = self._first, self._last
        each = (now - began) / (paid - before) if paid > before else began / before
        # once candidates have landed, all that one takes is in the clock
        return each * nfe + (0.0 if self._landed else candidates * _looks.get(self.key, 0.0))

    def _learn(self, seconds: float) -> None:
        _looks[self.key] = seconds
        _looks.move_to_end(self.key)
        while len(_looks) > REMEMBERED:
            _looks.popitem(last=False)
