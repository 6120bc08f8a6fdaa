"""Whether a search drafts, and how: few steps for its candidates, all steps for the best of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch

from ..sampling.jobs import Jobs
from ..sampling.schedule import Schedule
from ..sampling.setup import Setup
from ..sampling.toy import draws_on_the_way
from ..search.algorithms.base import BudgetTooSmall, Search, fresh
from ..search.drafts import LEAST, TRIED, Seen, choose, correlation_of, shown
from .wishes import AUTO, Wishes

Shorter = Callable[[int], torch.Tensor]  # steps -> the user's schedule with so many


@dataclass(frozen=True)
class Drafts:
    """steps: of a draft. full: of a final render. cfg: of the drafts, None where it is the user's own. top: how many are rendered.
    guider, schedule: of the drafts. reserve: NFE of the final renders. why: what chose the steps, "" where the user did.
    known: (correlation, pairs it is worth) that earlier searches showed of drafts with these steps."""

    steps: int
    full: int
    cfg: float | None
    top: int
    guider: Any
    schedule: Schedule
    reserve: int
    why: str
    known: tuple[float, float]

    def announcement(self, budget: int) -> str:
        return f"drafts of {self.steps} steps, the best {self.top} rendered with all {self.full} · {budget} NFE at most"

    def describe(self) -> dict[str, Any]:
        """For the report and for pictures: with these values in its widgets a search does the same again."""
        return {
            "draft_steps": self.steps,
            "draft_cfg": self.cfg or 0.0,
            "verify_top": self.top,
            "steps": self.full,
            "chosen": self.why,
        }


@dataclass(frozen=True)
class Declined:
    """Why a search that may draft does not."""

    why: str


def drafts_of(
    wishes: Wishes,
    setup: Setup,
    settings: Search,
    shorter: Shorter | None,
    final_sigmas: bool,
    early: bool,
    whole: int,
    budget: int,
    seen: Callable[[], Sequence[Seen]],
) -> Drafts | Declined | None:
    """The drafts of a search, None where none are wished. ValueError or BudgetTooSmall where the user wished for what cannot be.

    setup: of the final render. early: whether a judge compares images with their predictions on the way. whole: NFE of a final render.
    seen: what earlier searches showed of drafts here.
    """
    if not wishes.draft_steps or not settings.needs_verifier:
        return None
    if wishes.plain:
        return Declined("One candidate is the plain sampler: nothing was drafted.")
    full = len(setup.schedule.sigmas) - 1
    auto = wishes.draft_steps == AUTO
    refused = _refused(wishes, setup, settings, final_sigmas, full)
    if refused and not auto:
        raise ValueError(refused)
    if refused:
        return Declined(f"Nothing was drafted. {refused}")
    one = _Of(wishes, setup, shorter, early, whole, full)
    if auto:
        return one.chosen(budget, seen())
    if wishes.draft_steps >= full:
        raise ValueError(no_fewer(wishes.draft_steps, full))
    return one.wished(budget, seen())


def no_fewer(draft_steps: int, full: int) -> str:
    """What to say of drafts that are no shorter than what they stand for."""
    return (
        f"Drafts need fewer steps than the final image, which has {full}, but draft_steps is {draft_steps}. "
        f"Set it to {LEAST} or a few more, or to 0 for no drafts."
    )


def _refused(wishes: Wishes, setup: Setup, settings: Search, final_sigmas: bool, full: int) -> str:
    """Why there can be no drafts here; "" when there can."""
    if settings.reinjects:
        return (
            f"Drafts are rendered anew from their initial noise, which does not go with {settings.name}. Set draft_steps to 0, "
            "or take a search that keeps to initial noises (random or zero-order search)."
        )
    if final_sigmas:
        return "final_sigmas and draft_steps are two ways to search with few steps. Leave final_sigmas unconnected, or set draft_steps to 0."
    model_sampling = setup.guider.model_patcher.get_model_object("model_sampling")
    if (
        draws_on_the_way(setup.solver, model_sampling, setup.schedule.sigmas) is not False
    ):  # or it cannot be told
        name = setup.solver.name.removeprefix("sample_").removesuffix("_function")
        return (
            f"The sampler {name} draws noise on the way, so with another number of steps a seed gives another image, and a draft foretells nothing. "
            "Set draft_steps to 0, or choose a sampler that draws none, such as euler or dpmpp_2m."
        )
    if full <= LEAST and wishes.draft_steps == AUTO:
        return f"{full} steps are too few for drafts of fewer."
    return ""


@dataclass(frozen=True)
class _Of:
    """Drafts of one search: its wishes, and what a whole sample is."""

    wishes: Wishes
    setup: Setup
    shorter: Shorter | None
    early: bool
    whole: int
    full: int

    def wished(self, budget: int, seen: Sequence[Seen]) -> Drafts:
        drafts, cost = self._with(self.wishes.draft_steps, "", seen)
        if drafts.reserve + cost > budget:
            raise BudgetTooSmall(
                f"{drafts.top} final renders and one draft take {drafts.reserve + cost} NFE here, more than the {budget} NFE of the budget. "
                "Raise candidates or budget_nfe, or lower verify_top."
            )
        return drafts

    def chosen(self, budget: int, seen: Sequence[Seen]) -> Drafts | Declined:
        costs = {steps: self._cost(self._schedule(steps)) for steps in TRIED if steps < self.full}
        choice = choose(budget, self.whole, costs, self.wishes.verify_top, shown(seen))
        pairs = sum(len(one.pairs) for one in seen)
        source = f"by the shipped prior and {pairs} pairs of the journal" if pairs else "by the shipped prior"
        if not choice.steps:
            return Declined(
                f"draft_steps: no drafts, {choice.count} samples of all {self.full} steps instead ({source})."
            )
        return self._with(
            choice.steps,
            f"draft_steps: {choice.count} drafts of {choice.steps} steps, the best {self.wishes.verify_top} rendered with all {self.full}: "
            f"an expected gain of {choice.gain:.2f} spreads of the score, {choice.without:.2f} without drafts ({source}).",
            seen,
        )[0]

    def _with(self, steps: int, why: str, seen: Sequence[Seen]) -> tuple[Drafts, int]:
        """The drafts, and the NFE of one."""
        schedule = self._schedule(steps)
        cfg = self.wishes.draft_cfg or None
        drafts = Drafts(
            steps,
            self.full,
            cfg,
            self.wishes.verify_top,
            self.setup.guider if cfg is None else _guided(self.setup.guider, cfg),
            schedule,
            self.wishes.verify_top * self.whole,
            why,
            correlation_of([one for one in seen if one.steps == steps]),
        )
        return drafts, self._cost(schedule)

    def _schedule(self, steps: int) -> Schedule:
        """The user's schedule with few steps; spaced as the user's sigmas where nothing else is known of it."""
        own = self.setup.schedule
        sigmas = self.shorter(steps) if self.shorter else own.piece(steps=steps)
        return Schedule(sigmas, own.levels, own.why)

    def _cost(self, schedule: Schedule) -> int:
        return price_of(self.setup, schedule, self.early)


def price_of(setup: Setup, schedule: Schedule, early: bool) -> int:
    """NFE of a whole sample on a schedule."""
    model_sampling = setup.guider.model_patcher.get_model_object("model_sampling")
    return Jobs(setup.solver, schedule, model_sampling, early=early).cost(fresh(0), None)


def _guided(guider: Any, cfg: float) -> Any:
    """A copy of the guider with another guidance scale. ValueError for those whose guidance is not one scale."""
    plain = comfy.samplers.CFGGuider
    methods = ("set_cfg", "predict_noise")
    one_scale = isinstance(guider, plain) and all(
        getattr(type(guider), name) is getattr(plain, name) for name in methods
    )
    if not one_scale or "negative" not in guider.original_conds:
        raise ValueError(
            f"draft_cfg is the guidance scale of a CFGGuider, but this guider is a {type(guider).__name__}. Set draft_cfg to 0: drafts are then guided as the final image."
        )
    one = copy.copy(guider)
    one.set_cfg(cfg)
    return one
