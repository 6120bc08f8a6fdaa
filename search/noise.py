"""NoiseRecipe: a noise described by seeds, rebuilt bit for bit on the same machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..untrusted import real, whole
from .seeds import MASK

Draw = Callable[[int], torch.Tensor]  # seed -> the standard normal noise that stock RandomNoise gives for it


@dataclass(frozen=True)
class NoiseRecipe:
    """The noise of a stock seed, then moves on the sphere of its norm.

    seed: what stock RandomNoise takes, 0 <= seed < 2^64; torch uses its lowest 32 bits.
    moves: (direction, cosine) pairs; the direction is the noise of a seed or of another recipe, the cosine in [-1, 1] is the
        similarity of the noise before and after the move.
    """

    seed: int
    moves: tuple[tuple[int | NoiseRecipe, float], ...] = ()

    def __post_init__(self) -> None:
        for seed in (self.seed, *(direction for direction, _ in self.moves if isinstance(direction, int))):
            if not 0 <= seed <= MASK:
                raise ValueError(f"A seed is a whole number from 0 to 2^64 - 1, not {seed}.")
        for _, cosine in self.moves:
            if not -1.0 <= cosine <= 1.0:
                raise ValueError(f"The cosine of a noise move lies in [-1, 1], not at {cosine}.")

    def move(self, direction: int | NoiseRecipe, cosine: float) -> NoiseRecipe:
        """This noise, one step of the given cosine similarity away."""
        return NoiseRecipe(self.seed, (*self.moves, (direction, cosine)))

    def noise(self, draw: Draw) -> torch.Tensor:
        """The noise itself, shaped and typed as what `draw` gives (one sample)."""
        # directions first: stock samplers that draw from torch's global generator go on from where the root noise left it
        directions = [(draw(d) if isinstance(d, int) else d.noise(draw), c) for d, c in self.moves]
        x = draw(self.seed)
        for direction, cosine in directions:
            x = step_on_sphere(x, direction, cosine)
        return x

    def to_dict(self) -> dict:
        moves = [[d if isinstance(d, int) else d.to_dict(), c] for d, c in self.moves]
        return {"seed": self.seed, "moves": moves} if moves else {"seed": self.seed}

    @classmethod
    def from_dict(cls, data: dict) -> NoiseRecipe:
        """Raises ValueError for anything that is not the dictionary of a recipe."""
        try:
            moves = tuple(
                (whole(d) if isinstance(d, int) else cls.from_dict(d), real(c))
                for d, c in data.get("moves", ())
            )
            return cls(whole(data["seed"]), moves)
        except (AttributeError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(
                f'Not a noise recipe: {data!r}. It looks like {{"seed": 7, "moves": [[9, 0.95]]}}.'
            ) from error


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
        raise ValueError(
            "A noise cannot move towards itself: the direction of the move is parallel to the noise."
        )
    w = w / w.norm()
    return (norm * (cosine * u + (1.0 - cosine * cosine) ** 0.5 * w)).to(x.dtype).view_as(x)
