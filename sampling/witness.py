"""Watching the model through a sampling run: first a lone one, then the same sample among others.

All of them stand between the solver and everything attached to the model, masks included, and see each evaluation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .jobs import Job

MOST_BYTES = 2**30  # of a recorded run
GHOST = -1  # id of a job that was run before; nothing of it is kept
ROUNDING = 1e-3  # share of a prediction's spread that arithmetic may change it by
FLOORS = 8.0  # and how many times what it changes two equal rows by, where that is more


Ask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # x, sigma [B] -> prediction
Witness = Callable[[Ask, torch.Tensor, torch.Tensor], torch.Tensor]  # ask, x, sigma -> prediction


class Coupled(BaseException):
    """Another row changed a prediction. Not an Exception, so that no node that catches those can eat it; `coupling.py` catches it."""


class Measured(BaseException):
    """The floor is known; nothing more is to be sampled."""


class Watched:
    """The model as a solver sees it, with a witness in between."""

    def __init__(self, model: Any, witness: Witness) -> None:
        self._model, self._witness = model, witness

    def __getattr__(
        self, name: str
    ) -> Any:  # solvers reach through to model_sampling, noise and latent_image
        return getattr(self._model, name)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **given: Any) -> torch.Tensor:
        return self._witness(lambda x, sigma: self._model(x, sigma, **given), x, sigma)


@dataclass(frozen=True)
class Call:
    sigma: float
    x: torch.Tensor  # [1, ...], on the CPU
    prediction: torch.Tensor


@dataclass
class Recording:
    """What a lone run asked the model and was answered. drew: whether the model drew random numbers from a global generator."""

    job: Job
    calls: list[Call] = field(default_factory=list)
    drew: bool = False
    size: int = 0

    def __call__(self, ask: Ask, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        before, given = _generators(x.device), x.cpu().clone()  # caches write into what they are given
        prediction = ask(x, sigma)
        self.drew = self.drew or any(_unlike(a, b) for a, b in zip(before, _generators(x.device)))
        self.size += x.nbytes + prediction.nbytes
        if self.size <= MOST_BYTES:
            self.calls.append(Call(float(sigma.flatten()[0]), given, prediction.cpu().clone()))
        else:
            self.calls.clear()
        return prediction


def _generators(device: torch.device) -> list:
    states = [torch.get_rng_state(), random.getstate()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _unlike(a: Any, b: Any) -> bool:
    return not torch.equal(a, b) if isinstance(a, torch.Tensor) else a != b


@dataclass(frozen=True)
class Floor:
    """How far two equal rows of a batch lie from a lone run's prediction, by arithmetic alone: a power of the noise level through
    what was measured at the highest and the lowest of a run."""

    high: tuple[float, float] = (1.0, 0.0)  # sigma, difference
    low: tuple[float, float] = (1.0, 0.0)

    def at(self, sigma: float) -> float:
        (s1, f1), (s0, f0) = self.high, self.low
        if min(f0, f1) <= 0 or not 0 < s0 < s1 or sigma <= 0:
            return max(f0, f1)
        power = math.log(f1 / f0) / math.log(s1 / s0)
        return f1 * (sigma / s1) ** power


class Pair:
    """Measures the floor: the recorded sample twice in one batch, at the first and the last level it was asked at."""

    def __init__(self, recording: Recording) -> None:
        self.recording, self.floor = recording, Floor()

    def __call__(self, ask: Ask, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls = self.recording.calls
        self.floor = Floor(*(self._measured(ask, x, sigma, call) for call in (calls[0], calls[-1])))
        raise Measured

    def _measured(self, ask: Ask, x: torch.Tensor, sigma: torch.Tensor, call: Call) -> tuple[float, float]:
        predicted = ask(call.x.to(x).expand_as(x).contiguous(), torch.full_like(sigma, call.sigma))
        return call.sigma, _furthest(predicted, call.prediction)


class Ghost:
    """The recorded sample in row `place` of a batch of others.

    Before each call its row is set to what was recorded, so that rounding does not grow and what remembers earlier calls is told the
    same story; then its prediction is compared. Between other rows, what goes by the first or the last row or by the place shows too.
    """

    def __init__(self, recording: Recording, place: int, floor: Floor) -> None:
        self.recording, self.place, self.floor = recording, place, floor
        self.seen = 0

    def __call__(self, ask: Ask, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if self.seen == len(self.recording.calls):
            raise Coupled("in a batch the sampler asked the model more often than alone")
        call = self.recording.calls[self.seen]
        self.seen += 1
        x = x.clone()
        x[self.place] = call.x[0].to(x)
        prediction = ask(x, sigma)
        off, spread = _furthest(prediction[self.place], call.prediction[0]), float(call.prediction.std())
        if not off <= max(ROUNDING * spread, FLOORS * self.floor.at(call.sigma)):
            raise Coupled(
                f"in a batch, a prediction at sigma {call.sigma:.3g} was {off:.2g} off what it is alone (spread {spread:.2g})"
            )
        return prediction


def _furthest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float().cpu() - b.float().cpu()).abs().max())
