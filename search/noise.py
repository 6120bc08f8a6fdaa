"""NoiseRecipe: a noise described by seeds, rebuilt bit for bit on the same machine."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..untrusted import entries, excerpt, only, real, whole
from .seeds import MASK

Draw = Callable[[int], torch.Tensor]  # seed -> the standard normal noise that stock RandomNoise gives for it

DRAWN = 2**32 - 1  # the bits of a seed that torch's generator on the CPU takes
UNIT = 1e-6  # how far the norm of a mix's weights may be from 1
MOST_MOVES = 10_000  # to be read: zero-order search with one neighbour makes 9999 with 10 000 candidates
MOST_SEEDS = 10_000  # of a mix, to be read
MOST_NESTED = 8  # recipes within recipes: what walks through them must come to an end
PARALLEL = "A noise cannot move towards itself: the direction of the move is parallel to the noise."
LOOKS = '{"seed": 7, "moves": [[9, 0.95]]}'
SEED_KEYS, MIX_KEYS = ("seed", "moves"), ("seeds", "weights", "moves")
VARY = "vary"  # the key of both, from version 2 on
MOST_VARIED = 10.0  # strength


@dataclass(frozen=True)
class NoiseRecipe:
    """The noise of a stock seed, or a mix of several, then moves on the sphere of its norm.

    seed: what stock RandomNoise takes, 0 <= seed < 2^64; torch uses its lowest 32 bits. It also seeds stochastic samplers.
    moves: (direction, cosine) pairs; the direction is the noise of a seed or of another recipe, the cosine in [-1, 1] is the
        similarity of the noise before and after the move.
    mix: (seed, weight) pairs, the first of them with `seed`: the noise begins with the weighted sum of theirs. () = with that of
        `seed` alone. The seeds differ and the weights have norm 1, so a mix is exactly Gaussian.
    vary: (strength, share of the steps) of the noise that this recipe also puts into the conditioning (`sampling/varying.py`); of a
        sample's first noise only, where that is a seed's or what moves and mixes make of it. None = the conditioning stays as it is.
    draws: how many noises of seeds it is made of. nested: how deep recipes stand in recipes, 0 = none does.
    """

    seed: int
    moves: tuple[tuple[int | NoiseRecipe, float], ...] = ()
    mix: tuple[tuple[int, float], ...] = ()
    vary: tuple[float, float] | None = field(default=None, repr=False)
    draws: int = field(init=False, repr=False, compare=False)
    nested: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_seed(self.seed)
        if self.mix:
            _check_mix(self.seed, self.mix)
        if self.vary is not None:
            _check_vary(*self.vary)
        draws, nested = _check_moves(self.moves)
        object.__setattr__(self, "draws", max(1, len(self.mix)) + draws)
        object.__setattr__(self, "nested", nested)

    @property
    def plain(self) -> bool:
        """Whether it is the noise of `seed`, and nothing else."""
        return not self.moves and not self.mix and self.vary is None

    @property
    def version(self) -> int:
        """The first version of recipes that can say it."""
        inner = (direction for direction, _ in self.moves if isinstance(direction, NoiseRecipe))
        return 2 if self.mix or self.vary else max((recipe.version for recipe in inner), default=1)

    def move(self, direction: int | NoiseRecipe, cosine: float) -> NoiseRecipe:
        """This noise, one step of the given cosine similarity away."""
        draws, nested = _check_moves([(direction, cosine)])
        moved = copy.copy(self)  # its own moves were checked when they were made
        object.__setattr__(moved, "moves", (*self.moves, (direction, cosine)))
        object.__setattr__(moved, "draws", self.draws + draws)
        object.__setattr__(moved, "nested", max(self.nested, nested))
        return moved

    def cross(self, other: NoiseRecipe, cosine: float) -> NoiseRecipe:
        """A flat mix of this noise and another, for crossover: cosine * this + sqrt(1 - cosine^2) * other, scaled to weights of norm 1.

        Both are plain seeds or mixes. Equal seeds become one, so that generations of crossover draw no more noises than there are seeds.
        """
        if self.moves or other.moves:
            raise ValueError(
                "Only plain seeds and mixes of them can be mixed, but one of these noises was moved. Move one towards the other."
            )
        if not -1.0 <= cosine <= 1.0:
            raise ValueError(f"The cosine of a mix lies in [-1, 1], not at {excerpt(cosine)}.")
        weights: dict[int, list] = {}  # by the bits that count: [seed, weight]
        for recipe, share in ((self, cosine), (other, math.sqrt(1.0 - cosine * cosine))):
            for seed, weight in recipe.mix or ((recipe.seed, 1.0),):
                weights.setdefault(seed & DRAWN, [seed, 0.0])[1] += share * weight
        norm = math.hypot(*(weight for _, weight in weights.values()))
        if not norm > UNIT:
            raise ValueError("These two noises cancel each other: nothing is left to scale.")
        mix = tuple((seed, weight / norm) for seed, weight in weights.values() if abs(weight) > 1e-12 * norm)
        return NoiseRecipe(mix[0][0], mix=() if mix == ((mix[0][0], 1.0),) else mix, vary=self.vary)

    def noise(self, draw: Draw) -> torch.Tensor:
        """The noise itself, shaped and typed as what `draw` gives (one sample)."""
        x = self._root(draw)
        # one by one: thousands of large noises would not fit into memory
        for direction, cosine in self.moves:
            other = direction.noise(draw) if isinstance(direction, NoiseRecipe) else draw(direction)
            x = step_on_sphere(x, other, cosine)
        if self.moves:
            # stock samplers that draw from torch's global generator go on from where this seed left it
            draw(self.seed)
        return x

    def _root(self, draw: Draw) -> torch.Tensor:
        if not self.mix:
            return draw(self.seed)
        total = torch.zeros(())
        for seed, weight in reversed(self.mix):  # the first seed comes last, for the global generator
            noise = draw(seed)
            total = weight * noise.double() + total
        return total.to(noise.dtype)

    def check_turns(self) -> tuple[list | int, float]:
        """Raise ValueError where a move goes along the very noise that it moves, as `noise` will only after it is drawn.

        Returns what makes the noise's direction in space, and its sign: where it begins, then the moves that turn it.
        """
        mix = sorted((seed & DRAWN, weight) for seed, weight in self.mix or ((self.seed, 1.0),))
        sign = math.copysign(1.0, mix[0][1])
        here: list | int = [(seed, sign * weight) for seed, weight in mix] if len(mix) > 1 else mix[0][0]
        turns: list = [here]
        for direction, cosine in self.moves:
            if isinstance(direction, NoiseRecipe):
                towards, way = direction.check_turns()
            else:
                towards, way = direction & DRAWN, 1.0
            if towards == here:
                raise ValueError(PARALLEL)
            if abs(cosine) < 1.0:
                turns += (towards, sign * way, cosine)
                here = turns
            else:
                sign *= cosine
        return here, sign

    def to_dict(self) -> dict:
        moves = [[d if isinstance(d, int) else d.to_dict(), c] for d, c in self.moves]
        begins: dict = {"seed": self.seed}
        if self.mix:
            begins = {"seeds": [seed for seed, _ in self.mix], "weights": [weight for _, weight in self.mix]}
        begins |= {"moves": moves} if moves else {}
        return begins | ({VARY: list(self.vary)} if self.vary else {})

    @classmethod
    def from_dict(cls, data: dict, version: int = 2, level: int = 0) -> NoiseRecipe:
        """Raises ValueError for anything that is not the dictionary of a noise in a recipe of this version."""
        if level > MOST_NESTED:
            raise ValueError(f"noises are nested in noises more than {MOST_NESTED} deep")
        try:
            if not isinstance(data, dict):
                raise TypeError("not a table")
            mixed = version > 1 and "seeds" in data
            keys = (*(MIX_KEYS if mixed else SEED_KEYS), *((VARY,) if version > 1 and not level else ()))
            only(data, keys, f"a noise of version {version}")
            moves = tuple(
                (d if type(d) is int else cls.from_dict(d, version, level + 1), real(c))
                for d, c in entries(data.get("moves", []), MOST_MOVES, "moves")
            )
            vary = _vary_of(data.get(VARY))
            if not mixed:
                return cls(whole(data["seed"]), moves, vary=vary)
            seeds = [whole(seed) for seed in entries(data["seeds"], MOST_SEEDS, "seeds")]
            weights = [real(weight) for weight in entries(data["weights"], MOST_SEEDS, "weights")]
            if len(seeds) != len(weights) or not seeds:
                raise ValueError(
                    f"a mix has at least one seed and a weight for each, not {len(weights)} for {len(seeds)}"
                )
            return cls(seeds[0], moves, tuple(zip(seeds, weights)), vary)
        except (AttributeError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"Not a noise recipe: {excerpt(data)}. It looks like {LOOKS}.") from error


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= MASK:
        raise ValueError(f"A seed is a whole number from 0 to 2^64 - 1, not {excerpt(seed)}.")


def _check_moves(moves: Iterable[tuple[int | NoiseRecipe, float]]) -> tuple[int, int]:
    """How many noises the moves draw, and how deep recipes are nested in them."""
    draws, nested = 0, 0
    for direction, cosine in moves:
        if isinstance(direction, NoiseRecipe):
            draws, nested = draws + direction.draws, max(nested, direction.nested + 1)
        else:
            _check_seed(direction)
            draws += 1
        if not -1.0 <= cosine <= 1.0:
            raise ValueError(f"The cosine of a noise move lies in [-1, 1], not at {excerpt(cosine)}.")
    if nested > MOST_NESTED:
        raise ValueError(
            f"Noises are nested in noises {nested} deep, and {MOST_NESTED} is the most. Crossover over generations mixes seeds instead."
        )
    return draws, nested


def _check_mix(first: int, mix: tuple[tuple[int, float], ...]) -> None:
    for seed, _ in mix:
        _check_seed(seed)
    if mix[0][0] != first:
        raise ValueError(f"The seed of a mix is its first one, {mix[0][0]}, not {first}.")
    if len({seed & DRAWN for seed, _ in mix}) < len(mix):
        raise ValueError("The seeds of a mix differ in their lowest 32 bits, but two of these do not.")
    norm = math.hypot(*(weight for _, weight in mix))
    if not abs(norm - 1.0) <= UNIT:
        raise ValueError(f"The squares of a mix's weights add up to 1, but the weights have norm {norm:.7g}.")


def _check_vary(strength: float, share: float) -> None:
    if not (0.0 < strength <= MOST_VARIED and 0.0 < share <= 1.0):
        raise ValueError(
            f"Conditioning is varied with a strength above 0, up to {MOST_VARIED:g}, over a share of the steps above 0, up to 1, not {excerpt(strength)} and {excerpt(share)}."
        )


def _vary_of(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    strength, share = entries(given, 2, "numbers of vary")
    return real(strength), real(share)


def step_on_sphere(x: torch.Tensor, direction: torch.Tensor, cosine: float) -> torch.Tensor:
    """The point of x's sphere at cosine similarity `cosine` to x, towards `direction` (a neighbour, paper section 3).

        y = |x| (c u + sqrt(1 - c^2) w),   u = x / |x|,   w = the part of `direction` orthogonal to u, normalised

    x, direction: one sample each, of one shape; flattened, float64 inside, returned in x's dtype.
    """
    u, v = x.flatten().double(), direction.flatten().double()
    norm = u.norm()
    u = u / norm
    w = v - (v @ u) * u
    if w.norm() <= 1e-9 * v.norm():
        raise ValueError(PARALLEL)
    w = w / w.norm()
    return (norm * (cosine * u + (1.0 - cosine * cosine) ** 0.5 * w)).to(x.dtype).view_as(x)
