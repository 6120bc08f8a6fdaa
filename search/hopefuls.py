"""Who may still win: what must stay in memory while a pool grows."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch


class Hopefuls:
    """The members of a growing pool that may yet be among its best k.

    By ranks and by standard scores one outcome can overtake another as others come, unless the other is at least as good in every
    verifier's eyes: then it never does. So whoever is beaten in that way by k others is out for good.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.places: list[int] = []  # in the order they came
        self._scores = torch.empty(0, 0, dtype=torch.float64)  # [verifiers, len(places)]
        self._beaten = torch.empty(0, dtype=torch.long)  # by how many, of each

    def add(self, place: int, scores: torch.Tensor) -> None:
        """scores: [verifiers], NaN where one could not judge: then it comes last with all of them."""
        new = torch.full_like(scores, -math.inf) if bool(scores.isnan().any()) else scores
        others = self._scores if self.places else new.new_empty(len(new), 0)
        column = new[:, None]
        as_good, worse = others >= column, others <= column
        beaten_by = as_good.all(0)  # of equals the first one wins
        self._beaten = self._beaten + (worse.all(0) & ~beaten_by)
        self.places.append(place)
        self._scores = torch.cat([others, column], 1)
        self._beaten = torch.cat([self._beaten, beaten_by.sum()[None]])
        self._stay(self._beaten < self.k)

    def only(self, places: Collection[int]) -> None:
        """Let all others go."""
        self._stay(torch.tensor([place in places for place in self.places], dtype=torch.bool))

    def _stay(self, stay: torch.Tensor) -> None:
        if not bool(stay.all()):
            self.places = [place for place, stays in zip(self.places, stay.tolist()) if stays]
            self._scores, self._beaten = self._scores[:, stay], self._beaten[stay]
