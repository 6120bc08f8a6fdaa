"""What the outcomes of a search leave in memory, under a cap."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CAP = 2**30  # bytes of latents


@dataclass
class Kept:
    """[1, ...] each. state, x0: an unfinished sample and its x-prediction, in model space. latent, denoised: the two
    outputs of a finished one, as stock nodes give them. early: its clean prediction at flow time 0.4, until it is judged. image: the decoded sample."""

    state: torch.Tensor | None = None
    x0: torch.Tensor | None = None
    latent: torch.Tensor | None = None
    denoised: torch.Tensor | None = None
    early: torch.Tensor | None = None
    image: torch.Tensor | None = None

    def size(self) -> int:
        return sum(t.nbytes for t in (self.state, self.x0, self.latent, self.denoised) if t is not None)


class Shelf:
    """{outcome id: Kept}. Images stay for the best few only. When the cap is reached, unfinished samples that nothing was built on go first, then the worst finished ones."""

    def __init__(self, images: int, cap: int = CAP):
        self.images, self.cap = images, cap
        self.kept: dict[int, Kept] = {}
        self.total = 0

    def __getitem__(self, id: int) -> Kept:
        if id not in self.kept:
            raise RuntimeError(
                f"The latent of candidate {id} is no longer in memory: the search holds more than {self.cap / 2**30:.1f} GiB of latents. Search in smaller images or fewer paths."
            )
        return self.kept[id]

    def put(self, id: int, kept: Kept) -> None:
        self.kept[id] = kept
        self.total += kept.size()

    def make_room(self, parents: set[int]) -> None:
        """Before a new round: the unfinished samples that are not its parents may go, the oldest first."""
        self._drop(id for id in list(self.kept) if self.kept[id].state is not None and id not in parents)

    def rank(self, best: list[int]) -> None:
        """`best`: the finished outcomes, best first."""
        rest = [id for id in best[self.images :] if id in self.kept]
        for id in rest:
            self.kept[id].image = None
        self._drop(reversed(rest))

    def _drop(self, ids) -> None:
        """Forget these, in this order, until the cap is kept."""
        for id in ids:
            if self.total <= self.cap:
                return
            self.total -= self.kept.pop(id).size()
