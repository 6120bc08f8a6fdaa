"""Rollouts made ready to run: their piece of the schedule, the seeds they draw from, what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..search.noise import NoiseRecipe
from ..search.rollout import EXTRA, FREE, Rollout
from ..search.seeds import mix
from .schedule import SNAP, Schedule
from .solvers import Solver, count_evaluations

EARLY = 0.4  # flow time of the clean prediction that self-supervised verifiers compare with the sample (paper, section 3)


@dataclass(frozen=True)
class Job:
    """A rollout about to run.

    sigmas: its piece of schedule. root: the noise its lineage began with. seed: what a stochastic solver draws from.
    below: the sigma its parent stopped at, None without a parent. refines: whether that parent is a finished sample.
    renoised: whether its parent's state is noised up first. known: whether its first evaluation was paid for by the parent's preview.
    """

    id: int
    rollout: Rollout
    sigmas: tuple[float, ...]
    root: NoiseRecipe
    seed: int
    below: float | None = None
    refines: bool = False
    renoised: bool = False
    known: bool = False

    @property
    def kind(self) -> tuple:
        """Jobs of one kind can share a batch."""
        r = self.rollout
        own = (self.sigmas, self.below, self.refines, self.renoised, self.known, r.finished, r.score)
        return (*own, self.root.vary)


class Jobs:
    """{outcome id: Job}, and what a rollout would cost. Raises ValueError for rollouts that no sampler could run.

    preview: how an unfinished sample is shown. early: whether finished ones are compared with their prediction on the way.
    """

    def __init__(
        self,
        solver: Solver,
        schedule: Schedule,
        model_sampling: Any,
        preview: str = EXTRA,
        early: bool = False,
    ):
        self.solver, self.schedule, self.model_sampling = solver, schedule, model_sampling
        self.preview = preview
        self.early = _level_near(schedule, EARLY) if early else None  # its sigma
        self._jobs: dict[int, Job] = {}
        self._pieces: dict[tuple, tuple[float, ...]] = {}
        self._costs: dict[tuple, int] = {}

    def __getitem__(self, id: int) -> Job:
        return self._jobs[id]

    def add(self, id: int, rollout: Rollout) -> Job:
        if rollout.parent is None:
            assert rollout.noise is not None  # a Rollout sees to that
            job = Job(id, rollout, self._sigmas(rollout, None), rollout.noise, rollout.noise.seed)
        else:
            parent = self._jobs[rollout.parent]
            before = parent.rollout
            job = Job(
                id,
                rollout,
                self._sigmas(rollout, before),
                parent.root,
                # a stochastic solver must not draw a second time what it drew before
                mix(rollout.noise.seed, 1) if rollout.noise else mix(parent.seed, 2),
                parent.sigmas[-1],
                before.finished,
                not self._goes_on(rollout, before),
                self._preview_paid(rollout, before),
            )
        self._jobs[id] = job
        return job

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        """NFE that the rollout takes, of which a cache may skip some (`Ledger.asked_nfe`)."""
        sigmas, known = self._sigmas(rollout, parent), self._preview_paid(rollout, parent)
        shows = rollout.score and not rollout.finished and self.preview == FREE
        if (key := (sigmas, known, rollout.finished, shows)) not in self._costs:
            watch = self.watched(rollout)
            if watch is not None and watch > sigmas[0] * (1 + 1e-5):
                raise ValueError(
                    f"A self-supervised verifier looks at the prediction near flow time {EARLY}, and a rollout that starts at {rollout.start} begins below it. "
                    "Use a search that samples whole images (random or zero-order search), or another verifier."
                )
            whole = sigmas == tuple(self.schedule.sigmas.tolist())
            self._costs[key] = count_evaluations(
                self.solver, torch.tensor(sigmas), self.model_sampling, known, watch, whole, shows
            )
        return self._costs[key] + self.pays_preview(rollout)

    def evaluations(self, job: Job) -> int:
        """What the job was priced at."""
        parent = job.rollout.parent
        return self.cost(job.rollout, None if parent is None else self._jobs[parent].rollout)

    def pays_preview(self, rollout: Rollout) -> int:
        """Evaluations spent on showing it to the verifiers."""
        return int(rollout.score and not rollout.finished and self.preview == EXTRA)

    def watched(self, rollout: Rollout) -> float | None:
        """The sigma at which its clean prediction is read on the way."""
        return self.early if rollout.finished else None

    def piece(self, rollout: Rollout) -> tuple[float, ...]:
        """The sigmas of a rollout that begins with a noise."""
        return self._sigmas(rollout, None)

    def _preview_paid(self, rollout: Rollout, parent: Rollout | None) -> bool:
        return parent is not None and self._goes_on(rollout, parent) and bool(self.pays_preview(parent))

    def _sigmas(self, rollout: Rollout, parent: Rollout | None) -> tuple[float, ...]:
        start = rollout.start if parent is None else self._start(rollout, parent)
        key = (start, rollout.stop, rollout.steps)
        if key not in self._pieces:
            self._pieces[key] = tuple(self.schedule.piece(*key).tolist())
        return self._pieces[key]

    def _start(self, rollout: Rollout, parent: Rollout) -> float:
        """The flow time that a child begins at."""
        if parent.finished and (rollout.noise is None or rollout.start is None):
            raise ValueError(
                "A rollout from a finished sample needs a noise and a start, the flow time up to which it is noised before it is denoised again, "
                f"but got noise = {rollout.noise and rollout.noise.to_dict()}, start = {rollout.start}."
            )
        if self._goes_on(rollout, parent):
            return parent.stop
        start = rollout.start
        assert start is not None  # else it goes on
        if rollout.noise is None:
            raise ValueError(
                f"A rollout that starts at {start}, away from where its parent stopped ({parent.stop}), needs a noise."
            )
        if self.schedule.snap(start) < self.schedule.snap(parent.stop):
            raise ValueError(
                f"A rollout cannot start at flow time {start}, below where its parent stopped ({parent.stop}): noise is only ever put back. Start it at {parent.stop} or above."
            )
        return start

    def _goes_on(self, rollout: Rollout, parent: Rollout) -> bool:
        """Whether it starts at its parent's very level, from the state as it is."""
        return rollout.start is None or (
            abs(self.schedule.snap(rollout.start) - self.schedule.snap(parent.stop)) <= SNAP
        )


def _level_near(schedule: Schedule, time: float) -> float:
    """The sigma of the schedule nearest to a flow time."""
    if schedule.times is None:
        raise ValueError(
            "A self-supervised verifier needs a model whose noise levels are known; this one's are not."
        )
    return float(schedule.sigmas[int((schedule.times[:-1] - time).abs().argmin())])
