"""A model and verifiers made of hashes: runs rollouts at once, counts their cost, and refuses requests that no sampler could run."""

import hashlib
import math
from dataclasses import dataclass

from noisesearch.search.algorithms.base import Search
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout, lineage
from noisesearch.search.seeds import mix


class FakeEvaluator:
    """The driver's Evaluator with a schedule of `steps` equal steps in flow time, one NFE each.

    An unfinished, scored rollout pays one NFE for its preview, and a rollout that goes on from there is spared it, as in the real one.
    verifiers: how many scores; wave: outcomes per wave; grades: scores take that many values, so that there are ties; nan: share of
    scores that are NaN; before_wave: called with the number of the wave, and may raise. asked: every request that arrived.
    """

    top = 1.0
    held = 0

    @property
    def levels(self):
        return tuple(1 - i / self.steps for i in range(self.steps)) + (0.0,)

    def __init__(self, verifiers=1, steps=10, wave=4, grades=10**9, nan=0.0, before_wave=lambda number: None):
        self.verifiers, self.steps, self.wave, self.grades, self.nan, self.before_wave = (
            verifiers,
            steps,
            wave,
            grades,
            nan,
            before_wave,
        )
        self.outcomes, self.asked, self.waves, self.running, self.kept = {}, [], 0, 0, []

    def cost(self, rollout, parent):
        start = rollout.start or (parent.stop if parent else 1.0)
        steps = rollout.steps or max(1, math.ceil(round((start - rollout.stop) * self.steps, 9)))
        return (
            steps
            + self._preview(rollout)
            - (self._preview(parent) if parent and rollout.noise is None else 0)
        )

    def own_steps(self, start, stop):
        return self.cost(Rollout(NoiseRecipe(0), start=start, stop=stop, score=False), None)

    def evaluate(self, asked, enough=lambda: False):
        self.asked.append(list(asked))
        self.running += 1
        try:
            for first in range(0, len(asked), self.wave):
                self.before_wave(self.waves)
                self.waves += 1
                yield [self._run(id, rollout) for id, rollout in asked[first : first + self.wave]]
                if enough():
                    return
        finally:
            self.running -= 1

    def keep(self, best):
        self.kept = list(best)

    @staticmethod
    def _preview(rollout):
        return int(rollout.score and not rollout.finished)

    def _run(self, id, rollout):
        assert id == len(self.outcomes), "ids are counted from 0, without gaps"
        parent = None
        if rollout.parent is not None:
            assert rollout.parent in self.outcomes, (
                f"outcome {id} starts from {rollout.parent}, which has not run"
            )
            parent = self.outcomes[rollout.parent].rollout
            start = parent.stop if rollout.start is None else rollout.start
            assert start > rollout.stop, f"outcome {id} has no step between {start} and {rollout.stop}"
            assert start == parent.stop or (start > parent.stop and rollout.noise), (
                f"outcome {id} gets from {parent.stop} to {start} without a noise"
            )
        outcome = Outcome(id, rollout, (), self.cost(rollout, parent))
        self.outcomes[id] = outcome
        if rollout.score:
            path = [(r.noise, r.start, r.stop, r.steps) for r in lineage(self.outcomes, id)]
            self.outcomes[id] = outcome = Outcome(
                id, rollout, tuple(self._score(path, v) for v in range(self.verifiers)), outcome.nfe
            )
        return outcome

    def _score(self, path, verifier):
        """In [0, 1), by the path alone: never by the id, the order or the wave."""
        number = int.from_bytes(hashlib.sha256(repr((path, verifier)).encode()).digest()[:8], "big")
        return (
            math.nan if number % 997 < 997 * self.nan else (number >> 11) * self.grades // 2**53 / self.grades
        )


@dataclass(frozen=True)
class HalfWay(Search):
    """A search that cannot end at any moment: cut `noises` samples short, finish the best one, and again."""

    noises: int = 3
    name = "half way"

    def begin(self, seed, best):
        while True:
            halves = yield [Rollout(NoiseRecipe(seed + i), stop=0.5) for i in range(self.noises)]
            yield [Rollout(parent=best(halves, 1)[0].id)]
            seed += self.noises


@dataclass(frozen=True)
class Renoise(Search):
    """A search of many pieces: unscored starting points, noised up and run down again, the best kept; then all finished, and the end."""

    paths: int = 2
    width: int = 3
    name = "renoise"

    def begin(self, seed, best):
        paths = yield [Rollout(NoiseRecipe(seed + i), stop=0.4, score=False) for i in range(self.paths)]
        for level in (0.3, 0.2, 0.1):
            noises = [NoiseRecipe(mix(seed, int(10 * level), i)) for i in range(self.width)]
            tried = yield [
                Rollout(noise, path.id, start=level + 0.4, stop=level) for path in paths for noise in noises
            ]
            paths = best(tried, self.paths)
        yield [Rollout(parent=path.id) for path in paths]


@dataclass(frozen=True)
class Refine(Search):
    """Starts again from the best finished samples, half way up: a search that builds on what is finished."""

    parents: int = 2
    children: int = 3
    name = "refine"
    cuts = True
    keeps = 2

    def begin(self, seed, best):
        finished = yield [Rollout(NoiseRecipe(seed + i)) for i in range(self.children)]
        for number in range(3):
            finished += yield [
                Rollout(NoiseRecipe(mix(seed, number, i, parent.id)), parent.id, start=0.5)
                for parent in best(finished, self.parents)
                for i in range(self.children)
            ]


@dataclass(frozen=True)
class Particles(Search):
    """Goes on from one state with several seeds: what a stochastic sampler draws differs, the preview is paid once."""

    count: int = 3
    name = "particles"
    cuts = reinjects = True

    def begin(self, seed, best):
        states = yield [Rollout(NoiseRecipe(seed + i), stop=0.6) for i in range(self.count)]
        for stop in (0.3, 0.0):
            parent = best(states, 1)[0]
            noises = [NoiseRecipe(mix(seed, int(10 * stop), i)) for i in range(self.count)]
            states = yield [Rollout(noise, parent.id, parent.rollout.stop, stop) for noise in noises]
