"""The noises a search made last, so that a neighbour costs one draw and one move, not its whole lineage."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..search.noise import Draw, NoiseRecipe, step_on_sphere

MOST, MOST_BYTES = 256, 64 * 2**20  # noises held


class NoiseCache:
    """Recipe -> its noise, to the bit what `recipe.noise(draw)` gives. Begins with the longest part of it that was made before.

    The noises are shared: whoever changes one copies it first.
    """

    def __init__(self, draw: Draw, most: int = MOST, most_bytes: int = MOST_BYTES):
        self.draw, self.most, self.most_bytes = draw, most, most_bytes
        self._held: OrderedDict[tuple[NoiseRecipe, tuple], torch.Tensor] = OrderedDict()  # by root and moves
        self._bytes = 0
        self._last: NoiseRecipe | None = None  # whose numbers were drawn last

    def __call__(self, recipe: NoiseRecipe) -> torch.Tensor:
        root = replace(recipe, moves=())
        known = self._longest(root, recipe.moves)
        if known is None:
            x, done = self._drawn(root), 0
        else:
            x, done = self._held[known], len(known[1])
            self._held.move_to_end(known)
        for direction, cosine in recipe.moves[done:]:
            x = step_on_sphere(x, self._direction(direction), cosine)
        self._hold((root, recipe.moves), x)
        return x

    def batch(self, recipes: Sequence[NoiseRecipe]) -> torch.Tensor:
        """Their noises as one tensor. Leaves torch's global generator where the last one's own drawing leaves it: some samplers go on from there."""
        self._last = None  # others may have drawn since
        noises = torch.cat([self(recipe) for recipe in recipes])
        root = replace(recipes[-1], moves=())
        if self._last != root:
            self._drawn(root)
        return noises

    def _longest(self, root: NoiseRecipe, moves: tuple) -> tuple[NoiseRecipe, tuple] | None:
        """What is held of the noise with these moves, or with the first so many of them."""
        known = None
        for key in reversed(self._held):
            count = len(key[1])
            better = known is None or count > len(known[1])
            if better and count <= len(moves) and key[0] == root and key[1] == moves[:count]:
                known = key
                if count >= len(moves) - 1:
                    break  # the noise itself, or a neighbour's pivot
        return known

    def _drawn(self, root: NoiseRecipe) -> torch.Tensor:
        self._last = root
        return root.noise(self.draw)

    def _direction(self, direction: int | NoiseRecipe) -> torch.Tensor:
        if isinstance(direction, NoiseRecipe):
            return self(direction)
        self._last = None
        return self.draw(direction)

    def _hold(self, key: tuple[NoiseRecipe, tuple], x: torch.Tensor) -> None:
        if key in self._held:
            return
        self._held[key] = x
        self._bytes += x.nbytes
        while len(self._held) > self.most or (self._bytes > self.most_bytes and len(self._held) > 1):
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.nbytes
