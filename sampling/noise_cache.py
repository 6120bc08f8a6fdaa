"""The noises a search made last, so that a neighbour costs one draw and one move, not its whole lineage."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..search.noise import Draw, NoiseRecipe, step_on_sphere

MOST, MOST_BYTES = 256, 64 * 2**20  # noises held


class NoiseCache:
    """Recipe -> its noise, to the bit what `recipe.noise` gives. Begins with the longest part of it that was made before.

    draw: seed -> its noise. leave: puts torch's global generator where a seed's stock noise leaves it.
    The noises are shared: whoever changes one copies it first.
    """

    def __init__(
        self, draw: Draw, leave: Callable[[int], object], most: int = MOST, most_bytes: int = MOST_BYTES
    ):
        self.draw, self.leave, self.most, self.most_bytes = draw, leave, most, most_bytes
        self._held: OrderedDict[tuple[NoiseRecipe, tuple], torch.Tensor] = OrderedDict()  # by root and moves
        self._bytes = 0

    def __call__(self, recipe: NoiseRecipe) -> torch.Tensor:
        root = replace(recipe, moves=())
        known = self._longest(root, recipe.moves)
        if known is None:
            x, done = root.noise(self.draw), 0
        else:
            x, done = self._held[known], len(known[1])
            self._held.move_to_end(known)
        for direction, cosine in recipe.moves[done:]:
            other = self(direction) if isinstance(direction, NoiseRecipe) else self.draw(direction)
            x = step_on_sphere(x, other, cosine)
        self._hold((root, recipe.moves), x)
        return x

    def batch(self, recipes: Sequence[NoiseRecipe]) -> torch.Tensor:
        """Their noises as one tensor. Samplers that draw from torch's global generator go on from where the last one's own seed leaves it."""
        noises = torch.cat([self(recipe) for recipe in recipes])
        self.leave(recipes[-1].seed)
        return noises

    def _longest(self, root: NoiseRecipe, moves: tuple) -> tuple[NoiseRecipe, tuple] | None:
        """What is held of the noise with these moves, or with the first so many of them."""
        for likely in (moves, moves[:-1]):  # the noise itself, a neighbour's pivot
            if (root, likely) in self._held:
                return root, likely
        if not moves:
            return None
        known = (key for key in self._held if key[0] == root and key[1] == moves[: len(key[1])])
        return max(known, key=lambda key: len(key[1]), default=None)

    def _hold(self, key: tuple[NoiseRecipe, tuple], x: torch.Tensor) -> None:
        if key in self._held:
            return
        self._held[key] = x
        self._bytes += x.nbytes
        while len(self._held) > self.most or (self._bytes > self.most_bytes and len(self._held) > 1):
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.nbytes
