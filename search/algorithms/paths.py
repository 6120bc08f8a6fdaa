"""Search over paths: put noise back in along the sampling path and keep the best continuations (Ma et al. 2025, section 3, "Paths-N")."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..noise import NoiseRecipe
from ..rollout import BY_VAE, DECODERS, EXTRA, MOST_PIECES, PREVIEWS, Rollout
from ..seeds import MASK, mix
from .base import FINISH, Asking, Best, BudgetTooSmall, Search, Terms, prices

# (start, forward, backward) in flow time. The paper prints no values; `paper` is what a re-implementation says it took over from its authors.
PRESETS = {"local": (0.75, 0.20, 0.45), "paper": (0.12, 0.78, 0.81)}
HALF = -1  # of the user's own steps
AUTO = -1  # starting points, as many as a third of the budget pays for
SHARE = 3
FINISHING, FINALISTS = 8, 4  # that part of the budget may go into finishing so many
BY_BUDGET = (
    4,
    2,
    1,
)  # paths, from the most on: as many as have WIDE noises each (paper, figure 6: small N first, large N later)
WIDE = 16
END = 1e-6  # flow times below this are the end of the schedule


@dataclass(frozen=True)
class Round:
    """Of every path: up to flow time `up` by noising, `width` times, and down to `down` in `steps` steps (None = the user's own)."""

    up: float
    down: float
    steps: int | None
    width: int


@dataclass(frozen=True)
class Pass(Search):
    """One pass of search over paths, as planned for a budget and a schedule: N = `paths` go down from `start`.

    seeds: starting points, of which the best `paths` go on; no more than `paths` = nobody looks at them.
    The rounds end at flow time `finish`; from there the best `finalists` go on over the user's own steps to exactly 0.
    """

    paths: int
    start: float
    rounds: tuple[Round, ...]
    seeds: int = 0
    finish: float = 0.0
    finalists: int = 0
    name = "search over paths"
    cuts = reinjects = True

    def begin(self, seed: int, best: Best) -> Asking:
        count, looked = max(self.seeds, self.paths), self.seeds > self.paths
        survivors = yield [
            Rollout(NoiseRecipe((seed + i) & MASK), stop=self.start, score=looked) for i in range(count)
        ]
        if looked:
            survivors = best(survivors, self.paths)
        for number, round in enumerate(self.rounds):
            children = yield [
                Rollout(NoiseRecipe(mix(seed, number, i, j)), path.id, round.up, round.down, round.steps)
                for i, path in enumerate(survivors)
                for j in range(round.width)
            ]
            survivors = best(children, self.paths)
        if self.finish:
            yield [Rollout(parent=path.id) for path in best(children, self._finalists)]

    def spread(self, noises: int) -> Pass:
        """With so many noises per path over all rounds, as evenly as can be, the first rounds wider by one."""
        width, more = divmod(noises, len(self.rounds))
        return replace(
            self,
            rounds=tuple(replace(round, width=width + (i < more)) for i, round in enumerate(self.rounds)),
        )

    def stages(self) -> list[tuple[int, Rollout]]:
        """How often each rollout is run, one stage after the other."""
        looked = self.seeds > self.paths
        found = [(max(self.seeds, self.paths), Rollout(NoiseRecipe(0), stop=self.start, score=looked))]
        found += [
            (self.paths * round.width, Rollout(NoiseRecipe(0), 0, round.up, round.down, round.steps))
            for round in self.rounds
        ]
        return found + ([(self._finalists, FINISH)] if self.finish else [])

    @property
    def _finalists(self) -> int:
        """As many as there are, at most."""
        return min(self.finalists, self.paths * self.rounds[-1].width)

    def prices(self, terms: Terms) -> tuple[int, int]:
        """(NFE of the pass, NFE that must be there so that it can end at any moment with a complete sample)."""
        return prices(self.stages(), terms)

    def announcement(self, terms: Terms) -> str:
        """What the user should know before it runs."""
        widths = sorted({round.width for round in self.rounds})
        spent, need = self.prices(terms)
        held = f", and wants {need} to be sure of a complete image at any moment" if need > spent else ""
        out_of = f" (the best of {self.seeds} starting points)" if self.seeds > self.paths else ""
        paths = f"{self.paths} path{'s' * (self.paths > 1)}{out_of}"
        rounds = f"{len(self.rounds)} round{'s' * (len(self.rounds) > 1)}"
        finish = f", from {self.finish:.0%} noise on with the own steps" if self.finish else ""
        looks = sum(count for count, rollout in self.stages() if rollout.score)
        return f"one pass costs {spent} NFE{held}: {paths} x {' or '.join(map(str, widths))} noises, {rounds}{finish}; {looks} images judged"

    def notes(self, wished: Search) -> list[str]:
        if not isinstance(wished, SearchOverPaths):
            return []
        found = []
        if wished.start != self.start:
            found.append(
                f"The search over paths starts at flow time {self.start:.3f} instead of {wished.start:.3f}, "
                "to have room for noise under the top of the schedule."
            )
        if wished.finish > END and wished.finish != self.finish:
            found.append(
                f"Its rounds end at flow time {self.finish:.3f} instead of {wished.finish:.3f}, since it starts at {self.start:.3f}."
            )
        return found


@dataclass(frozen=True)
class SearchOverPaths(Search):
    """
    paths: N, paths kept from round to round; 0 = by the budget: 1, and 2 or 4 where that leaves each of them WIDE noises a round.
    width: M, noises tried per path and round; 0 = as many as the budget pays for (the paper's scaling axis).
    start: flow time at which the search begins. forward, backward: how far each round goes up by noising, and down by denoising; backward > forward.
    steps: solver steps per round (the paper's L); 0 = the user's own sigmas in between, HALF = half as many.
    preview: how an unfinished sample is shown to the verifier, "extra evaluation" (the paper) or "free" (the solver's last prediction).
    seeds: starting points that the verifier looks at first, of which the best `paths` go on; 0 = none but those, which nobody looks at;
        AUTO = as many as a third of the budget pays for (all that is left, where the width is given).
    finish: flow time at which the rounds end, however few their steps. From there the best go on over the user's own steps: one for
        each path, and up to FINALISTS where a part of the budget (FINISHING) pays for them. 0 = the last round goes to the end.
    decoder: what decodes unfinished samples for the verifier (`rollout.DECODERS`).
    """

    paths: int = 2
    width: int = 0
    start: float = PRESETS["local"][0]
    forward: float = PRESETS["local"][1]
    backward: float = PRESETS["local"][2]
    steps: int = HALF
    preview: str = EXTRA
    seeds: int = 0
    finish: float = 0.0
    decoder: str = BY_VAE
    name = Pass.name
    cuts = reinjects = True

    def __post_init__(self) -> None:
        if self.paths < 0 or self.width < 0 or self.steps < HALF or self.seeds < AUTO:
            raise ValueError(
                f"Search over paths needs no negative number of paths, no negative width, and -1 step and -1 seed or more, but got paths = {self.paths}, width = {self.width}, steps = {self.steps}, seeds = {self.seeds}."
            )
        if not 0.0 <= self.finish < 1.0:
            raise ValueError(f"Finish is a flow time of 0 or more and less than 1, but got {self.finish}.")
        if not (0.0 < self.start < 1.0 and 0.0 < self.forward < 1.0 and 0.0 < self.backward <= 1.0):
            raise ValueError(
                f"Start, forward and backward are flow times between 0 and 1, but got {self.start}, {self.forward}, {self.backward}."
            )
        if not self.backward > self.forward + END:
            raise ValueError(
                f"A round must go further down than up, or the search never ends: backward ({self.backward}) must be larger than forward ({self.forward})."
            )
        rounds = self.start / (self.backward - self.forward)
        most = MOST_PIECES - 1 - bool(self.finish)
        if rounds > most:
            raise ValueError(
                f"Each round goes down by {self.backward - self.forward:.3g} only, so that it takes {rounds:.0f} rounds to the end, and {most} is the most: raise backward or lower forward."
            )
        if self.preview not in PREVIEWS:
            raise ValueError(f"The preview is one of {', '.join(PREVIEWS)}, not {self.preview!r}.")
        if self.decoder not in DECODERS:
            raise ValueError(f"The decoder is one of {', '.join(DECODERS)}, not {self.decoder!r}.")

    def plan(self, terms: Terms) -> Pass:
        """The pass that the budget pays for, fitted to the schedule. Raises BudgetTooSmall when none fits."""
        if not self.paths:
            return self._by_budget(terms)
        planned = self._pass(terms)
        spent, need = planned.prices(terms)
        if need > terms.budget and planned.finalists > self.paths:
            planned = replace(planned, finalists=self.paths)
            spent, need = planned.prices(terms)
        if need > terms.budget:
            held = f" and {need} to be sure of a complete image at any moment" if need > spent else ""
            raise BudgetTooSmall(
                f"One pass of search over paths costs {spent} NFE here{held} (paths = {self.paths}, width = {planned.rounds[0].width}, {len(planned.rounds)} rounds), "
                f"more than the {terms.budget} NFE of the budget. Raise candidates or budget_nfe, or take fewer paths or steps per round."
            )
        if self.seeds == AUTO:
            planned = self._with_starting_points(planned, terms)
        if self.width:
            return planned
        least = len(planned.rounds)
        affordable = bisect_right(
            range(least, terms.budget + 1),
            terms.budget,
            key=lambda noises: planned.spread(noises).prices(terms)[1],
        )  # the price never falls
        return planned.spread(least - 1 + affordable)

    def _by_budget(self, terms: Terms) -> Pass:
        for paths in BY_BUDGET:
            settings = replace(self, paths=paths)
            if paths == 1:
                break
            try:
                planned = settings.plan(terms)
            except BudgetTooSmall:
                continue
            if planned.rounds[-1].width >= WIDE:
                return planned
        return settings.plan(terms)

    def _with_starting_points(self, planned: Pass, terms: Terms) -> Pass:
        """As many as its share of the budget pays for, and the pass still fits."""
        share = terms.budget if self.width else terms.budget // SHARE
        look = Rollout(NoiseRecipe(0), stop=planned.start)
        most = max(share // terms.cost(look, None), planned.paths)
        counts = range(planned.paths, most + 1)
        fits = bisect_right(
            counts, terms.budget, key=lambda seeds: replace(planned, seeds=seeds).prices(terms)[1]
        )
        return replace(planned, seeds=counts[max(fits, 1) - 1])

    def lineage_price(self, terms: Terms) -> int:
        """NFE of sampling one winner again, alone and without looking at it on the way."""
        pieces = [(1, replace(piece, score=False)) for _, piece in self._pass(terms).stages()]
        return prices(pieces, terms)[0]

    def _pass(self, terms: Terms) -> Pass:
        """With the given width, or 1."""
        start = self._start(terms.top)
        finish = self.finish if END < self.finish < start else 0.0
        if self.finish >= start:  # a schedule that begins low
            finish = start / 2
        rounds = tuple(
            Round(up, down, self._steps(terms, up, down), self.width or 1)
            for up, down in self._levels(start, finish)
        )
        planned = Pass(self.paths, start, rounds, max(self.seeds, 0), finish, self.paths)
        if not finish:
            return planned
        (_, before), (_, last) = planned.stages()[-2:]
        affordable = terms.budget // FINISHING // max(terms.cost(last, before), 1)
        return replace(planned, finalists=max(self.paths, min(FINALISTS, affordable)))

    def _start(self, top: float) -> float:
        """Where the search begins on a schedule that begins at flow time `top`: with room above to go up."""
        return min(self.start, max(top - self.forward, top / 2))

    def _levels(self, start: float, finish: float) -> Iterator[tuple[float, float]]:
        """(flow time after noising, flow time after denoising) of each round; the last ends at exactly `finish`."""
        level = start
        while level > finish:
            up = level + self.forward
            level = up - self.backward if up - self.backward > finish + END else finish
            yield min(up, 1.0), level

    def _steps(self, terms: Terms, up: float, down: float) -> int | None:
        return max(1, terms.own_steps(up, down) // 2) if self.steps == HALF else self.steps or None
