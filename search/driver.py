"""Runs a search under a budget: ask, evaluate, tell, report, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from .algorithms.base import FINISH, BudgetTooSmall, Settings, Terms
from .rollout import Outcome, Rollout
from .selection import Comparison


class Evaluator(Protocol):
    """Runs rollouts and scores what comes out. `sampling/evaluator.py` does it with a diffusion model. top: flow time where the schedule begins."""

    top: float

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        """NFE that the rollout will take, known before it runs."""
        ...

    def own_steps(self, start: float, stop: float) -> int:
        """How many of the schedule's own steps lie between two flow times."""
        ...

    def evaluate(self, asked: Sequence[tuple[int, Rollout]]) -> Iterator[list[Outcome]]:
        """The outcomes of (id, rollout) pairs, wave after wave, in the order asked."""
        ...

    def keep(self, best: Sequence[int]) -> None:
        """These outcomes are the best so far, best first; what the others hold in memory may go."""
        ...


@dataclass(frozen=True)
class Limits:
    """nfe: hard cap per image. reserve: the part of it that the caller spends on the final rendering. seconds: no new wave after
    that long. score: no new wave once the best reaches it (one verifier, or a weighted sum)."""

    nfe: int
    reserve: int = 0
    seconds: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a search stands after a wave. best: of the finished outcomes; before there are any, of the wave's unfinished ones."""

    finished: int
    nfe: int
    budget: int
    best: Outcome | None


@dataclass
class Result:
    """settings: what the search ran with, after planning. ranking: the finished outcomes, best first. curve: (NFE spent, best outcome) whenever the best changed.
    rounds: the ids evaluated for each request of the search. stopped: why it ended."""

    settings: Settings
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    ranking: list[Outcome] = field(default_factory=list)
    curve: list[tuple[int, Outcome]] = field(default_factory=list)
    rounds: list[list[int]] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    stopped: str = ""

    @property
    def winner(self) -> Outcome:
        return self.ranking[0]


def run(
    settings: Settings,
    seed: int,
    evaluator: Evaluator,
    comparison: Comparison,
    limits: Limits,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Search for one image. Raises BudgetTooSmall before anything runs; what the evaluator raises passes through."""
    if hasattr(settings, "plan"):
        settings = settings.plan(
            Terms(limits.nfe - limits.reserve, evaluator.cost, evaluator.top, evaluator.own_steps)
        )
    return _Run(settings, evaluator, comparison, limits, on_progress, should_stop).drive(seed)


class _Run:
    def __init__(self, settings, evaluator, comparison, limits, on_progress, should_stop):
        self.evaluator, self.comparison, self.limits = evaluator, comparison, limits
        self.on_progress, self.should_stop = on_progress, should_stop
        self.result = Result(settings)
        self.began = time.monotonic()

    def drive(self, seed: int) -> Result:
        result, told = self.result, None
        with closing(result.settings.begin(seed, self.best)) as search:
            ask = search.send
            while not result.stopped:
                try:
                    asked = ask(told)
                except StopIteration:
                    result.stopped = "the search came to its end"
                    break
                if not asked:
                    raise RuntimeError(
                        f"The algorithm {result.settings.name} asked for no rollouts. It must ask for some, or return."
                    )
                affordable = self.affordable(asked)
                if affordable:
                    told = self.evaluate(affordable)
                if len(affordable) < len(asked):
                    result.stopped = result.stopped or "the budget is spent"
        if not self.pool:
            self.finish()
        result.ranking = self.best(self.pool, len(self.pool))
        result.seconds = time.monotonic() - self.began
        return result

    @property
    def pool(self) -> list[Outcome]:
        """All finished outcomes of this image: what an outcome is compared within."""
        return [outcome for outcome in self.result.outcomes.values() if outcome.finished]

    @property
    def left(self) -> int:
        """NFE that the search may still spend."""
        return self.limits.nfe - self.limits.reserve - self.result.nfe

    def best(self, candidates: Sequence[Outcome], k: int) -> list[Outcome]:
        pool = self.pool if all(outcome.finished for outcome in candidates) else None
        return self.comparison.best(candidates, k, pool)

    def affordable(self, asked: list[Rollout]) -> list[Rollout]:
        """The longest prefix that, broken off after any wave, leaves enough to complete one sample."""
        spent, finishing, count = 0, 0, 0
        done = bool(self.pool)
        for rollout in asked:
            spent += self.cost(rollout)
            done = done or rollout.finished
            if not rollout.finished:
                finishing = max(finishing, self.evaluator.cost(FINISH, rollout))
            if spent + (0 if done else finishing) > self.left:
                break
            count += 1
        if count == 0 and not self.result.outcomes:
            need = self.cost(asked[0]) + (0 if asked[0].finished else finishing) + self.limits.reserve
            raise BudgetTooSmall(
                f"A budget of {self.limits.nfe} NFE does not pay for one complete image, which takes {need} here. Raise the budget or take fewer steps."
            )
        return asked[:count]

    def cost(self, rollout: Rollout) -> int:
        return self.evaluator.cost(
            rollout, None if rollout.parent is None else self.result.outcomes[rollout.parent].rollout
        )

    def evaluate(self, rollouts: list[Rollout]) -> list[Outcome]:
        result, first, told = self.result, len(self.result.outcomes), []
        with closing(self.evaluator.evaluate(list(enumerate(rollouts, first)))) as waves:
            for wave in waves:
                for outcome in wave:
                    result.outcomes[outcome.id] = outcome
                    result.nfe += outcome.nfe
                told += wave
                self.report(wave)
                result.stopped = self.reason_to_stop()
                if result.stopped:
                    break
        result.rounds.append([outcome.id for outcome in told])
        return told

    def report(self, wave: list[Outcome]) -> None:
        ranking = self.best(self.pool, len(self.pool))
        best = ranking[0] if ranking else None
        self.evaluator.keep([outcome.id for outcome in ranking])
        if best is not None and (not self.result.curve or self.result.curve[-1][1] is not best):
            self.result.curve.append((self.result.nfe, best))
        previews = [outcome for outcome in wave if outcome.scores]
        if best is None and previews:
            best = self.best(previews, 1)[0]
        self.on_progress(Progress(len(ranking), self.result.nfe, self.limits.nfe, best))

    def reason_to_stop(self) -> str:
        if self.should_stop():
            return "stopped by hand"
        if self.limits.seconds is not None and time.monotonic() - self.began >= self.limits.seconds:
            return "the time limit is reached"
        if self.limits.score is not None and self.pool:
            best = self.best(self.pool, 1)[0]
            if self.comparison.utilities(self.pool)[best.id] >= self.limits.score:
                return "the score to stop at is reached"
        return ""

    def finish(self) -> None:
        """Complete the best unfinished sample, from the reserve kept for it."""
        within = [
            outcome
            for outcome in self.result.outcomes.values()
            if self.cost(Rollout(parent=outcome.id)) <= self.left
        ]
        unfinished = [outcome for outcome in within if outcome.scores] or within
        last = min(outcome.rollout.stop for outcome in unfinished)
        level = [outcome for outcome in unfinished if outcome.rollout.stop == last]
        parent = self.best(level, 1)[0] if level[0].scores else level[0]
        stopped = self.result.stopped
        self.evaluate([Rollout(parent=parent.id)])
        self.result.stopped = stopped
