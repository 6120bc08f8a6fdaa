"""Particles: Feynman-Kac steering (Singhal et al., arXiv 2501.06848), with the rising temperature of BFS (Zhang et al., arXiv 2505.23614).

Samples run side by side through a stochastic sampler. At some levels the verifier looks at them, and those that are better than the others
get more children, those that are worse fewer or none. Children of one parent go on with different noise, so that they part.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..noise import NoiseRecipe
from ..rollout import BY_VAE, DECODERS, EXTRA, PREVIEWS, Outcome, Rollout
from ..seeds import MASK, mix
from .base import Asking, Best, BudgetTooSmall, Search, Terms, prices
from .resampling import RESAMPLINGS, children

DIFFERENCE, MAX, SUM = "difference", "max", "sum"
POTENTIALS = (DIFFERENCE, MAX, SUM)
EARLIEST, LATEST = 0.2, 0.8  # shares of the steps between which is looked
WORST = -1e3  # standard score of what could not be judged: no number of others makes it weigh anything
FAR = 4.0  # and of an infinite score
NO_CHANCE = (
    "This sampler draws no noise on the way, so the children of one particle are all the same image, paid for again and again. "
    "Take an ancestral sampler (euler_ancestral, dpmpp_sde, ...), Reinject Noise, or set forward above 0."
)


@dataclass(frozen=True)
class Particle:
    """log_weight: since the last resampling. scores: its standard scores at all levels so far, its ancestors' included."""

    outcome: Outcome
    log_weight: float = 0.0
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class Steering(Search):
    """One pass of particles, as planned for a budget and a schedule. levels: flow times at which the verifier looks, falling."""

    count: int
    levels: tuple[float, ...]
    strength: float
    potential: str
    resampling: str
    threshold: float
    forward: float
    preview: str
    stochastic: bool | None = None
    name = "particles"
    cuts = reinjects = True

    def begin(self, seed: int, best: Best) -> Asking:
        stops = [*self.levels, 0.0]
        outcomes = yield [Rollout(NoiseRecipe((seed + i) & MASK), stop=stops[0]) for i in range(self.count)]
        particles = [Particle(outcome) for outcome in outcomes]
        for number, stop in enumerate(stops[1:]):
            temperature = (
                self.strength * (number + 1) / len(self.levels)
            )  # inverse: it rises as previews get clearer
            before = self.strength * number / len(self.levels)
            scores = standard(best.utility([particle.outcome for particle in particles]))
            particles = [
                self._weighed(particle, score, temperature, before)
                for particle, score in zip(particles, scores)
            ]
            parents = self._resampled(particles, mix(seed, number, 1))
            outcomes = yield [
                self._child(parent.outcome, mix(seed, number, 0, i), stop) for i, parent in enumerate(parents)
            ]
            particles = [replace(parent, outcome=outcome) for parent, outcome in zip(parents, outcomes)]

    def _weighed(self, particle: Particle, score: float, temperature: float, before: float) -> Particle:
        """With the potential of this level (section 3.2 of FK steering)."""
        scores = (*particle.scores, score)
        if self.potential == MAX:
            gain = temperature * max(scores)
        elif self.potential == SUM:
            gain = temperature * sum(scores)
        else:
            gain = temperature * score - (before * particle.scores[-1] if particle.scores else 0.0)
        return replace(particle, log_weight=particle.log_weight + gain, scores=scores)

    def _resampled(self, particles: Sequence[Particle], seed: int) -> list[Particle]:
        """The parents of the next level; all of them, weights kept, while none outweighs the others (effective sample size)."""
        top = max(particle.log_weight for particle in particles)
        weights = [math.exp(particle.log_weight - top) for particle in particles]
        effective = math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)
        if effective >= self.threshold * len(particles):
            return list(particles)
        numbers = children(weights, len(particles), self.resampling, seed)
        return [
            replace(particle, log_weight=0.0)
            for particle, number in zip(particles, numbers)
            for _ in range(number)
        ]

    def _child(self, parent: Outcome, seed: int, stop: float) -> Rollout:
        level = parent.rollout.stop
        return Rollout(NoiseRecipe(seed), parent.id, self._up(level), stop)

    def _up(self, level: float) -> float:
        return min(level + self.forward, 1.0)

    def pieces(self, score: bool = True) -> list[Rollout]:
        """What every particle runs through."""
        stops = [*self.levels, 0.0]
        rest = [
            Rollout(NoiseRecipe(0), 0, self._up(level), stop, score=score)
            for level, stop in zip(self.levels, stops[1:])
        ]
        return [Rollout(NoiseRecipe(0), stop=stops[0], score=score), *rest]

    def prices(self, terms: Terms) -> tuple[int, int]:
        """(NFE of the pass, NFE that must be there so that it can end at any moment with a complete sample)."""
        return prices([(self.count, piece) for piece in self.pieces()], terms)

    def lineage_price(self, terms: Terms) -> int:
        return prices([(1, piece) for piece in self.pieces(score=False)], terms)[0]

    def announcement(self, terms: Terms) -> str:
        warning = f" · {NO_CHANCE}" if self._alike else ""
        return f"one pass costs {self.prices(terms)[0]} NFE: {self.count} particles, looked at {len(self.levels)} times{warning}"

    @property
    def _alike(self) -> bool:
        """Whether the children of one parent are one and the same."""
        return self.stochastic is False and not self.forward and bool(self.levels)

    def notes(self, wished: Search) -> list[str]:
        if not self.levels:
            return [
                "The schedule has one step, so no particle could be looked at on the way: this was a random search."
            ]
        return [NO_CHANCE] if self._alike else []


@dataclass(frozen=True)
class ParticleSearch(Search):
    """
    particles: K, how many run side by side; 0 = as many as the budget pays for.
    looks: >= 1, how often the verifier looks on the way, evenly over the middle of the schedule.
    strength: >= 0, how much a particle that is one standard deviation better weighs at the last look: e^strength. It rises to that
        from look to look, since early previews say less (BFS). 0 = every particle goes on.
    potential: "difference" of this look and the one before, "max" or "sum" of all looks so far (FK steering).
    resampling: "ssp" (Srinivasan's process) or "systematic".
    threshold: in [0, 1]; resampled when the effective number of particles is below that share of them. Until then weights are kept.
    forward: flow time by which noise is put back before a child goes on; 0 = what the sampler draws itself makes children differ.
    preview: how an unfinished sample is shown. "extra evaluation" costs nothing in the end with forward = 0: it is the child's first evaluation.
    decoder: what decodes it, "the VAE", or "TAESD" or "latent2rgb" where ComfyUI has them for the model's latents.
    """

    particles: int = 0
    looks: int = 4
    strength: float = 4.0
    potential: str = DIFFERENCE
    resampling: str = RESAMPLINGS[0]
    threshold: float = 0.5
    forward: float = 0.0
    preview: str = EXTRA
    decoder: str = BY_VAE
    name = Steering.name
    cuts = reinjects = True

    def __post_init__(self) -> None:
        if self.particles < 0 or self.looks < 1:
            raise ValueError(
                f"Particles need at least 1 look and no negative number of particles (0 = as many as fit), but got looks = {self.looks}, particles = {self.particles}."
            )
        if not 0.0 <= self.strength <= 100.0:
            raise ValueError(f"The strength of particles lies between 0 and 100, not at {self.strength}.")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"The threshold is a share of the particles, from 0 to 1, not {self.threshold}.")
        if not 0.0 <= self.forward < 1.0:
            raise ValueError(f"Forward is a flow time from 0 to below 1, not {self.forward}.")
        for what, value, all_of in (
            ("potential", self.potential, POTENTIALS),
            ("resampling", self.resampling, RESAMPLINGS),
            ("preview", self.preview, PREVIEWS),
            ("decoder", self.decoder, DECODERS),
        ):
            if value not in all_of:
                raise ValueError(f"The {what} is one of {', '.join(all_of)}, not {value!r}.")

    def plan(self, terms: Terms) -> Steering:
        """The pass that the budget pays for. Raises BudgetTooSmall when none fits."""
        planned = self._pass(terms, self.particles or 1)
        need = planned.prices(terms)[1]
        if need > terms.budget:
            raise BudgetTooSmall(
                f"{planned.count} particles cost {need} NFE here, more than the {terms.budget} NFE of the budget. "
                "Raise candidates or budget_nfe, or take fewer particles (0 = as many as fit)."
            )
        if self.particles:
            return planned
        fits = bisect_right(
            range(1, terms.budget + 1),
            terms.budget,
            key=lambda count: self._pass(terms, count).prices(terms)[1],
        )  # the price never falls
        return replace(planned, count=fits)

    def lineage_price(self, terms: Terms) -> int:
        return self._pass(terms, 1).lineage_price(terms)

    def _pass(self, terms: Terms, count: int) -> Steering:
        return Steering(
            count,
            self._levels(terms.levels),
            self.strength,
            self.potential,
            self.resampling,
            self.threshold,
            self.forward,
            self.preview,
            terms.stochastic,
        )

    def _levels(self, levels: Sequence[float]) -> tuple[float, ...]:
        """The schedule's own levels at which is looked."""
        last = len(levels) - 1
        if last < 1:
            raise ValueError(
                "Particles are looked at at the noise levels of the schedule, and this model's are unknown. Use random search."
            )
        between = [
            EARLIEST + (LATEST - EARLIEST) * (i / (self.looks - 1) if self.looks > 1 else 0.5)
            for i in range(self.looks)
        ]
        steps = {min(max(1, round(share * last)), last - 1) for share in between}
        return tuple(levels[step] for step in sorted(steps) if step > 0)


def standard(utilities: Sequence[float]) -> list[float]:
    """Standard scores within the level: 0 for all when they are equal, WORST for what could not be judged."""
    finite = [utility for utility in utilities if math.isfinite(utility)]
    if not finite:
        return [0.0] * len(utilities)
    mean = math.fsum(finite) / len(finite)
    spread = math.sqrt(math.fsum((utility - mean) ** 2 for utility in finite) / len(finite))

    def score(utility: float) -> float:
        if not math.isfinite(utility):
            return FAR if utility > 0 else WORST
        return (utility - mean) / spread if spread > 0 else 0.0

    return [score(utility) for utility in utilities]
