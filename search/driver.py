"""Runs a search under a budget: ask, evaluate, tell, report, stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from ..untrusted import legible
from .algorithms.base import FINISH, BudgetTooSmall, Search, Terms, as_search, fresh
from .noise import NoiseRecipe
from .rollout import Outcome, Rollout
from .seeds import mix
from .selection import Comparison, Standing


BY_HAND = "stopped by hand"
OUT_OF_TIME = "the time limit is reached"
SPENT = "the budget is spent"
LEADERS = 8  # unfinished outcomes that are worth a look


class Evaluator(Protocol):
    """Runs rollouts and scores what comes out. `sampling/evaluator.py` does it with a diffusion model.

    top: flow time where the schedule begins. levels: the schedule's own flow times, falling to 0; () where they are unknown.
    held: NFE that went, or may still go, into finding out how rollouts may be run, beside what they cost themselves.
    stochastic: whether two samples of one state with different seeds differ; None = not known.
    """

    @property
    def top(self) -> float: ...

    @property
    def levels(self) -> tuple[float, ...]: ...

    @property
    def held(self) -> int: ...

    @property
    def stochastic(self) -> bool | None: ...

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        """NFE that the rollout will take, known before it runs; the most it takes where a cache may skip evaluations."""
        ...

    def own_steps(self, start: float, stop: float) -> int:
        """How many of the schedule's own steps lie between two flow times."""
        ...

    def evaluate(
        self, asked: Sequence[tuple[int, Rollout]], enough: Callable[[], bool]
    ) -> Generator[list[Outcome], None, None]:
        """The outcomes of (id, rollout) pairs, wave after wave, in the order asked.

        enough: looked at between batches and evaluations; once it says so, what is sampled already makes the last wave, and a batch in
        flight may be given up. The first evaluation of a search that has nothing yet is never given up for good: see `_Run.finish`.
        """
        ...

    def keep(self, best: Sequence[int]) -> None:
        """Of the finished outcomes these must stay in memory, best first; the others may go, but for parents last asked for."""
        ...


@dataclass(frozen=True)
class Limits:
    """nfe: hard cap per image. reserve: the part of it that the caller spends on the final rendering. seconds: no new batch after
    that long. score: no new wave once the best reaches it (one verifier, or a weighted sum). keep: how many of the best the caller
    will ask the evaluator for."""

    nfe: int
    reserve: int = 0
    seconds: float | None = None
    score: float | None = None
    keep: int = 1


@dataclass(frozen=True)
class Progress:
    """Where a search stands after a wave. best: of the finished outcomes; before there are any, of the wave's unfinished ones.

    wave: its outcomes. leaders: the best few of its unfinished ones, best first. round: how many requests of the search came before.
    top: gives the ids of the best k finished ones, best first.
    """

    finished: int
    nfe: int
    budget: int
    best: Outcome | None
    wave: Sequence[Outcome] = ()
    leaders: Sequence[Outcome] = ()
    round: int = 0
    top: Callable[[int], list[int]] = lambda k: []


@dataclass
class Result:
    """settings: what the search ran with, after planning. ranking: the finished outcomes, best first. curve: (NFE spent, best
    outcome) whenever the best changed. rounds: the ids evaluated for each request of the search. stopped: why it ended. faults: what
    went wrong in the algorithm itself once something was paid; the result is what was found until then."""

    settings: Search
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    ranking: list[Outcome] = field(default_factory=list)
    curve: list[tuple[int, Outcome]] = field(default_factory=list)
    rounds: list[list[int]] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    stopped: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def winner(self) -> Outcome:
        return self.ranking[0]


def terms(evaluator: Evaluator, limits: Limits) -> Terms:
    """What a search has to work with here."""
    return Terms(
        limits.nfe - limits.reserve - evaluator.held,
        evaluator.cost,
        evaluator.top,
        evaluator.own_steps,
        evaluator.levels,
        evaluator.stochastic,
    )


def run(
    settings: Search,
    seed: int,
    evaluator: Evaluator,
    comparison: Comparison,
    limits: Limits,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Search for one image, planned or not yet. Raises BudgetTooSmall before anything runs; what the evaluator raises passes through."""
    planned = as_search(settings).plan(terms(evaluator, limits))
    return _Run(planned, evaluator, comparison, limits, on_progress, should_stop).drive(seed)


class View:
    """`Best` for one run: the pool grows as the driver is told."""

    Rollout, NoiseRecipe, mix = Rollout, NoiseRecipe, staticmethod(mix)

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.finished = Standing(comparison)
        self.round: list[Outcome] = []

    def __call__(self, outcomes: Sequence[Outcome], k: int) -> list[Outcome]:
        return self._pool(outcomes).best(outcomes, k)

    def utility(self, outcomes: Sequence[Outcome]) -> list[float]:
        return self._pool(outcomes).utility(outcomes)

    def _pool(self, outcomes: Sequence[Outcome]) -> Standing:
        if all(outcome.finished for outcome in outcomes):
            return self.finished
        stops = {outcome.rollout.stop for outcome in outcomes}
        alike = [outcome for outcome in self.round if outcome.rollout.stop in stops]
        pool = Standing(self.comparison)
        pool.add({outcome.id: outcome for outcome in (*alike, *outcomes)}.values())
        return pool


class _Run:
    """One run of `run`, whose arguments these are."""

    def __init__(
        self,
        settings: Search,
        evaluator: Evaluator,
        comparison: Comparison,
        limits: Limits,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.evaluator, self.limits = evaluator, limits
        self.on_progress, self.should_stop = on_progress, should_stop
        self.view = View(comparison)
        self.result = Result(settings)
        self.held: list[int] = []  # the evaluator's, of the finished outcomes
        self.began = time.monotonic()

    def drive(self, seed: int) -> Result:
        result = self.result
        told: list[Outcome] | None = None
        if self.should_stop():  # before this sample's turn came: it gets its first candidate
            result.stopped = BY_HAND
        with closing(result.settings.begin(seed, self.view)) as search:
            ask: Callable[..., list[Rollout]] = search.send
            while not result.stopped:
                try:
                    asked = ask(told)
                    if not asked:
                        raise RuntimeError("it asked for no rollouts; it must ask for some, or return")
                    costs = [
                        self.cost(rollout) for rollout in asked
                    ]  # what cannot run shows before it is paid
                    count = self.affordable(asked, costs)
                except StopIteration:
                    result.stopped = "the search came to its end"
                except Exception as error:
                    self.blame(error)
                else:
                    told = self.answer(asked, costs, count)
        if not len(self.view.finished):
            self.finish(seed)
        result.ranking = self.ranking()
        result.seconds = time.monotonic() - self.began
        return result

    def blame(self, error: Exception) -> None:
        """An algorithm that fails ends its search; once something is paid, with what it found."""
        name = self.result.settings.name
        if not self.result.outcomes:
            if isinstance(error, BudgetTooSmall):
                raise error
            raise RuntimeError(
                f"The search algorithm {name} failed: {legible(error, encoding='utf-8')}"
            ) from error
        logging.exception("NoiseSearch: the search algorithm %s failed.", ascii(name))
        self.result.faults.append(
            f"The search algorithm {name} failed ({type(error).__name__}: {legible(error, encoding='utf-8')}). This is what it had found."
        )
        self.result.stopped = "the search algorithm failed"

    def answer(self, asked: list[Rollout], costs: list[int], count: int) -> list[Outcome]:
        """The outcomes of what was asked for, or of the part of it that the limits allow. count: of the first rollouts that can be paid."""
        told: list[Outcome] = []
        while count and not self.result.stopped:
            told += self.evaluate(asked[len(told) : len(told) + count])
            count = self.affordable(
                asked[len(told) :], costs[len(told) :]
            )  # a cache may have spared some of the price
        if len(told) < len(asked) and not self.result.stopped:
            self.result.stopped = SPENT
        if told:
            self.result.rounds.append([outcome.id for outcome in told])
        self.view.round = told
        return told

    @property
    def left(self) -> int:
        """NFE that the search may still spend."""
        return self.limits.nfe - self.limits.reserve - self.evaluator.held - self.result.nfe

    def affordable(self, asked: list[Rollout], costs: list[int]) -> int:
        """How many of them, from the first on, can be paid so that, broken off after any wave, enough is left to complete one sample."""
        spent, finishing, count = 0, 0, 0
        done = len(self.view.finished) > 0
        for rollout, cost in zip(asked, costs):
            spent += cost
            done = done or rollout.finished
            if not rollout.finished:
                finishing = max(finishing, self.evaluator.cost(FINISH, rollout))
            if spent + (0 if done else finishing) > self.left:
                break
            count += 1
        if count == 0 and not self.result.outcomes:
            need = costs[0] + (0 if asked[0].finished else finishing) + self.limits.reserve
            raise BudgetTooSmall(
                f"A budget of {self.limits.nfe} NFE does not pay for one complete image, which takes {need} here. Raise the budget or take fewer steps."
            )
        return count

    def cost(self, rollout: Rollout) -> int:
        if rollout.parent is not None and rollout.parent not in self.result.outcomes:
            raise ValueError(f"it asked for a rollout from outcome {rollout.parent}, which does not exist")
        return self.evaluator.cost(
            rollout, None if rollout.parent is None else self.result.outcomes[rollout.parent].rollout
        )

    def evaluate(self, rollouts: list[Rollout]) -> list[Outcome]:
        result, first, told = self.result, len(self.result.outcomes), []
        with closing(self.evaluator.evaluate(list(enumerate(rollouts, first)), self.enough)) as waves:
            for wave in waves:
                for outcome in wave:
                    result.outcomes[outcome.id] = outcome
                    result.nfe += outcome.nfe
                told += wave
                self.view.finished.add(outcome for outcome in wave if outcome.finished)
                self.report(wave)
                result.stopped = result.stopped or self.reason_to_stop()
                if result.stopped:
                    break
        if len(told) < len(rollouts) and not result.stopped:  # the evaluator gave up what was in flight
            result.stopped = self.out_of_time()
        return told

    def enough(self) -> bool:
        """Whether no further batch may begin. What is sampled by then is judged and kept."""
        self.result.stopped = self.result.stopped or self.out_of_time()
        return bool(self.result.stopped)

    def report(self, wave: list[Outcome]) -> None:
        top = self.hold([*self.held, *(outcome.id for outcome in wave if outcome.finished)])
        best = self.result.outcomes[top[0]] if top else None
        if best is not None and (not self.result.curve or self.result.curve[-1][1] is not best):
            self.result.curve.append((self.result.nfe, best))
        previews = [outcome for outcome in wave if outcome.scores and not outcome.finished]
        leaders = self.view(previews, LEADERS) if previews else []
        if best is None and leaders:
            best = leaders[0]
        done, nfe, rounds = len(self.view.finished), self.result.nfe, len(self.result.rounds)
        self.on_progress(Progress(done, nfe, self.limits.nfe, best, wave, leaders, rounds, self.top))

    def top(self, k: int) -> list[int]:
        """The best k finished outcomes, best first; of a replay, where nothing is compared, the last is what it is about."""
        if self.result.settings.needs_verifier:
            return self.view.finished.top(k)
        return self.view.finished.ids[::-1][:k]

    def hold(self, there: list[int]) -> list[int]:
        """Of the finished outcomes that are in memory, keep the best and those that may yet be among them: by ranks a pool that grows
        can turn its members round. Returns the best of all, best first."""
        k = max(self.limits.keep, self.result.settings.keeps, 1)
        if not self.result.settings.needs_verifier:
            self.held = top = self.top(k)
        else:
            top = self.view.finished.hopefuls(k)
            here = set(there)
            self.held = [id for id in top if id in here]
            if len(self.held) < min(k, len(here)):  # of the best some are gone: the next best instead
                rest = [self.result.outcomes[id] for id in here.difference(self.held)]
                self.held += [outcome.id for outcome in self.view(rest, k - len(self.held))]
        self.evaluator.keep(self.held)
        return top

    def ranking(self) -> list[Outcome]:
        """All finished outcomes, best first. Those whose latents are gone come after the best that are there."""
        ids, held = self.top(len(self.view.finished)), set(self.held)
        if not held.issuperset(ids[: self.limits.keep]):
            self.result.faults.append(
                "More candidates could still become the best than memory has room for, and the latents of some that did are no longer in memory. "
                "The best of those that are is handed on."
            )
            ids.sort(key=lambda id: id not in held)
        return [self.result.outcomes[id] for id in ids]

    def reason_to_stop(self) -> str:
        if self.limits.score is not None and len(self.view.finished):
            if float(self.view.finished.utilities().max()) >= self.limits.score:
                return "the score to stop at is reached"
        return self.out_of_time()

    def out_of_time(self) -> str:
        if self.should_stop():
            return BY_HAND
        if self.limits.seconds is not None and time.monotonic() - self.began >= self.limits.seconds:
            return OUT_OF_TIME
        return ""

    def finish(self, seed: int) -> None:
        """Complete the best unfinished sample, from the reserve kept for it; the first candidate when nothing was sampled at all."""
        outcomes = self.result.outcomes.values()
        within = [outcome for outcome in outcomes if self.cost(Rollout(parent=outcome.id)) <= self.left]
        stopped, self.result.stopped = self.result.stopped, ""
        if not within:
            last = fresh(seed)
            self.affordable([last], [self.cost(last)])  # or it is said that the budget is too small
        else:
            unfinished = [outcome for outcome in within if outcome.scores] or within
            lowest = min(outcome.rollout.stop for outcome in unfinished)
            level = [outcome for outcome in unfinished if outcome.rollout.stop == lowest]
            last = Rollout(parent=(self.view(level, 1)[0] if level[0].scores else level[0]).id)
        self.result.rounds.append([outcome.id for outcome in self.evaluate([last])])
        self.result.stopped = stopped
