"""What the outcomes of a search leave in memory: the best few, what is built on, and unfinished samples under a cap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

CAP = 2**30  # bytes of unfinished samples


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

    @property
    def finished(self) -> bool:
        return self.latent is not None

    def size(self) -> int:
        return sum(t.nbytes for t in (self.state, self.x0, self.latent, self.denoised) if t is not None)


class Shelf:
    """{outcome id: Kept}, as many as are of use, however long the search.

    Finished samples: those that `hold` named last and those that the running round starts from; images for the first `images` of
    `hold` only. Unfinished ones stay, for a later round may start from any of them, until they take more than `cap` bytes: then the
    oldest go that the running round does not start from. What was put here since `hold` stays until it is called again.
    """

    def __init__(self, images: int, cap: int = CAP):
        self.images, self.cap = images, cap
        self._finished: dict[int, Kept] = {}
        self._unfinished: dict[int, Kept] = {}
        self._parents: frozenset[int] = frozenset()
        self._bytes = 0  # of the unfinished

    def __getitem__(self, id: int) -> Kept:
        kept = self._finished.get(id) or self._unfinished.get(id)
        if kept is None:
            raise RuntimeError(
                f"The latent of candidate {id} is no longer in memory: a search holds its best finished candidates only, those that its running round "
                f"starts from, and up to {self.cap / 2**30:.1f} GiB of unfinished ones. A search that builds on more of its best says so with `keeps`; "
                "if it builds on unfinished ones, search in smaller images or with fewer of them."
            )
        return kept

    def __contains__(self, id: int) -> bool:
        return id in self._finished or id in self._unfinished

    def ids(self) -> list[int]:
        return sorted((*self._finished, *self._unfinished))

    def put(self, id: int, kept: Kept) -> None:
        if kept.finished:
            self._finished[id] = kept
        else:
            self._unfinished[id] = kept
            self._bytes += kept.size()

    def begin(self, parents: Collection[int]) -> None:
        """A new round starts from these. RuntimeError when one of them is gone; unfinished ones that are no parents may go."""
        for id in parents:
            self[id]
        self._parents = frozenset(parents)
        if self._bytes > self.cap:
            for id in [id for id in self._unfinished if id not in self._parents]:
                self._bytes -= self._unfinished.pop(id).size()
                if self._bytes <= self.cap:
                    break

    def hold(self, best: Sequence[int]) -> None:
        """`best`: the finished outcomes worth holding, best first. Other finished ones go, but for the parents of the running round."""
        held, shown = self._parents.union(best), set(best[: self.images])
        self._finished = {id: kept for id, kept in self._finished.items() if id in held}
        for id, kept in self._finished.items():
            if id not in shown:
                kept.image = None
