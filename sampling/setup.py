"""What an evaluator is given, in two values: what is sampled, and how it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..search.rollout import EXTRA
from .glances import Picture
from .schedule import Schedule
from .slicing import Sample
from .solvers import Solver

Decode = Callable[[torch.Tensor], torch.Tensor]  # latents [B, ...] -> images [B, (T,) H, W, C]
# images, their outcomes' ids, their predictions on the way or None -> a tuple of scores each
Judge = Callable[[torch.Tensor, Sequence[int], torch.Tensor | None], Sequence[Sequence[float]]]


class Sketch(Protocol):
    """A cheap decoder: clean predictions in model space [B, ...] to images. told: what its images depend on."""

    @property
    def told(self) -> tuple: ...

    def __call__(self, x0: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Setup:
    """guider: the user's, with this sample's conditioning (`slicing.guider_of`). sample: one of the user's batch."""

    guider: Any
    solver: Solver
    schedule: Schedule
    sample: Sample


@dataclass(frozen=True)
class Looks:
    """decode, judge: None to decode or score nothing (a replay). preview: how an unfinished sample is shown to the judge.
    early: whether finished ones are compared with their prediction on the way. images: how many of the best keep theirs.
    glance: shown a picture of a running sample now and then. sketch: decodes clean predictions of unfinished samples (in model space)
    in place of `decode`."""

    decode: Decode | None = None
    judge: Judge | None = None
    preview: str = EXTRA
    early: bool = False
    images: int = 1
    glance: Callable[[Picture], None] | None = None
    sketch: Sketch | None = None
