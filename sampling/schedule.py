"""Pieces of the user's schedule between two flow times."""

from __future__ import annotations

import torch

from .levels import Levels
from .sigmas import checked

SNAP = 1e-6  # flow times closer than this are the same level


class Schedule:
    """The user's sigmas, cut at flow times.

    sigmas: [n + 1], falling, at least two of them. levels: None for a model that only runs whole schedules; why: what to say when it should not.
    """

    def __init__(
        self,
        sigmas: torch.Tensor,
        levels: Levels | None,
        why: str = "This model only runs whole schedules: its noise levels are unknown.",
    ) -> None:
        self.sigmas = checked(sigmas)
        self.levels, self.why = levels, why
        self.times = None if levels is None else levels.time(self.sigmas)

    @property
    def ends(self) -> tuple[float, float]:
        """Its first and its last sigma."""
        return float(self.sigmas[0]), float(self.sigmas[-1])

    @property
    def known(self) -> Levels:
        """The model's levels. Raises ValueError where they are unknown."""
        if self.levels is None:
            raise ValueError(self.why)
        return self.levels

    @property
    def flow(self) -> torch.Tensor:
        """The schedule's flow times. Raises ValueError where they are unknown."""
        if self.times is None:
            raise ValueError(self.why)
        return self.times

    def snap(self, time: float) -> float:
        """A flow time, moved onto the user's level when it is one, and into the schedule's range; 0 = the schedule's end."""
        times = self.flow
        if time <= float(times[-1]) + SNAP:
            return 0.0
        nearest = int((times - time).abs().argmin())
        if time >= float(times[0]) or abs(float(times[nearest]) - time) <= SNAP:
            return float(times[nearest])
        return time

    def whole(self, start: float | None, stop: float) -> bool:
        return stop == 0.0 and (
            start is None or (self.times is not None and self.snap(start) >= float(self.times[0]))
        )

    def piece(self, start: float | None = None, stop: float = 0.0, steps: int | None = None) -> torch.Tensor:
        """float32 sigmas from flow time `start` (None = the top) down to `stop` (0 = the end of the schedule).

        The end points and the user's own sigmas strictly between, or `steps` steps spaced as the user's.
        Raises ValueError when nothing is left between the two.
        """
        if self.whole(start, stop) and steps is None:
            return self.sigmas
        times = self.flow
        places = self._place(float(times[0]) if start is None else start), self._place(stop)
        if not places[0] < places[1]:
            raise ValueError(
                f"No step is left between flow times {start} and {stop}: the schedule runs from {float(times[0]):.3f} to {float(times[-1]):.3f}."
            )
        if steps is None:
            inner = torch.arange(int(places[0]) + 1, len(times), dtype=torch.float64)
            at = torch.cat(
                [
                    torch.tensor(places[:1], dtype=torch.float64),
                    inner[inner < places[1]],
                    torch.tensor(places[1:], dtype=torch.float64),
                ]
            )
        else:
            at = torch.linspace(*places, steps + 1, dtype=torch.float64)
        return self._sigmas_at(at)

    def around(self, piece: torch.Tensor) -> tuple[torch.Tensor, slice]:
        """The whole schedule with this piece in its place, and the place: for patches that ask where on the way a level lies."""
        above, below = self.sigmas[self.sigmas > piece[0]], self.sigmas[self.sigmas < piece[-1]]
        return torch.cat([above, piece, below]), slice(len(above), len(above) + len(piece))

    def _place(self, time: float) -> float:
        """Where a flow time lies in the schedule: 0 = the first sigma, n = the last, fractions between (linear in flow time)."""
        time, times = self.snap(time), self.flow
        if time == 0.0:
            return float(len(times) - 1)
        right = int(torch.searchsorted(-times, torch.tensor(-time, dtype=torch.float64)))
        if right == 0 or float(times[right]) == time:
            return float(right)
        above, below = float(times[right - 1]), float(times[right])
        return right - 1 + (above - time) / (above - below)

    def _sigmas_at(self, places: torch.Tensor) -> torch.Tensor:
        times = self.flow
        low = places.floor().long().clamp(max=len(times) - 2)
        share = places - low
        sigmas = self.known.sigma(times[low] * (1 - share) + times[low + 1] * share).float()
        exact = share.round()
        return torch.where((share - exact).abs() < 1e-12, self.sigmas[low + exact.long()], sigmas)
