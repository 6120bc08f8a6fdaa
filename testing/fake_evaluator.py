"""A model and verifiers made of hashes: runs rollouts at once, counts their cost, and refuses requests that no sampler could run."""

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from noisesearch.search.algorithms.base import Search
from noisesearch.search.journaled import Point
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout, lineage
from noisesearch.search.seeds import mix


class FakeEvaluator:
    """The driver's Evaluator with a schedule of `steps` equal steps in flow time, one NFE each.

    An unfinished, scored rollout pays one NFE for its preview, and a rollout that goes on from there is spared it, as in the real one.
    verifiers: how many scores; wave: outcomes per wave; grades: scores take that many values, so that there are ties; nan: share of
    scores that are NaN; before_wave: called with the number of the wave, and may raise. asked: every request that arrived. paid: the
    lineage of every rollout that was evaluated, in this order. salt: another one is another model.
    """

    judges_latents = exact = True

    top = 1.0
    held = 0
    stochastic = True

    @property
    def levels(self):
        return tuple(1 - i / self.steps for i in range(self.steps)) + (0.0,)

    def __init__(
        self,
        verifiers=1,
        steps=10,
        wave=4,
        grades=10**9,
        nan=0.0,
        before_wave=lambda number: None,
        salt="",
    ):
        self.verifiers, self.steps, self.wave, self.grades, self.nan, self.before_wave = (
            verifiers,
            steps,
            wave,
            grades,
            nan,
            before_wave,
        )
        self.outcomes, self.asked, self.waves, self.running, self.kept = {}, [], 0, 0, []
        self.salt, self.paid, self.states, self.checked, self.wave_now = salt, [], {}, 0, []

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
                self.wave_now = []
                self.before_wave(self.waves)
                self.waves += 1
                yield [self._run(id, rollout) for id, rollout in asked[first : first + self.wave]]
                if enough():
                    return
        finally:
            self.running -= 1

    def keep(self, best):
        self.kept = list(best)
        parents = {rollout.parent for _, rollout in self.asked[-1]} if self.asked else set()
        for id in [id for id in self.states if self.outcomes[id].finished]:
            if id not in parents.union(self.kept):
                del self.states[id]

    # -- what a journal needs besides --------------------------------------------------------------------------------

    def know(self, id, rollout):
        self.outcomes.setdefault(id, Outcome(id, rollout, (), 0))

    def has(self, id):
        return id in self.states

    def put(self, id, tensors):
        self.states[id] = dict(tensors)

    def tensors(self, id):
        return self.states[id]

    def resample(self, asked, enough):
        return sum(self._sampled(id, rollout) for id, rollout in asked if not enough())

    def judged(self, paid):
        for id, nfe in paid:
            assert torch.equal(self.states[id]["latent"], self._latent(id)), "another sample's latent"
            self.outcomes[id] = replace(self.outcomes[id], scores=self._scores(id), nfe=nfe)
        return [self.outcomes[id] for id, _ in paid]

    def unjudged(self):
        return [(id, self.outcomes[id].nfe) for id in self.wave_now]

    def record(self):
        pass

    def recorded(self):
        first = next(outcome.rollout for outcome in self.outcomes.values() if outcome.rollout.parent is None)
        return first, [Point(level, torch.full((1, 4), level), self._answer(level)) for level in (1.0, 0.5)]

    def answers(self, rollout, points):
        self.checked += len(points)
        return [self._answer(point.sigma) for point in points]

    def _answer(self, level):
        number = int.from_bytes(hashlib.sha256(f"{self.salt} {level}".encode()).digest()[:4], "big")
        return torch.full((1, 4), number / 2**32 + 0.5)

    def _latent(self, id):
        return torch.tensor([[self._number(self._path(id), "latent")]], dtype=torch.float32)

    @staticmethod
    def _preview(rollout):
        return int(rollout.score and not rollout.finished)

    def _run(self, id, rollout):
        assert id <= len(self.outcomes), "ids are counted from 0, without gaps"
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
        self._sampled(id, rollout)
        self.wave_now.append(id)
        if rollout.score:
            self.outcomes[id] = replace(self.outcomes[id], scores=self._scores(id))
        return self.outcomes[id]

    def _sampled(self, id, rollout):
        """Run it, and judge nothing. Returns its NFE."""
        parent = None if rollout.parent is None else self.outcomes[rollout.parent].rollout
        assert parent is None or self.has(rollout.parent), f"outcome {id} starts from a state that is gone"
        nfe = self.cost(rollout, parent)
        self.outcomes[id] = replace(self.outcomes.get(id) or Outcome(id, rollout, (), 0), nfe=nfe)
        self.paid.append(self._path(id))
        self.states[id] = {"latent": self._latent(id)} if rollout.finished else {}
        return nfe

    def _path(self, id):
        return tuple((r.noise, r.start, r.stop, r.steps) for r in lineage(self.outcomes, id))

    def _scores(self, id):
        return tuple(self._score(list(self._path(id)), v) for v in range(self.verifiers))

    def _score(self, path, verifier):
        """In [0, 1), by the path alone: never by the id, the order or the wave."""
        number = self._number(path, verifier)
        return (
            math.nan if number % 997 < 997 * self.nan else (number >> 11) * self.grades // 2**53 / self.grades
        )

    def _number(self, path, what):
        told = (path, what, self.salt) if self.salt else (path, what)
        return int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:8], "big")


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
