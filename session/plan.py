"""A search as planned: everything that bad input can break, found out before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from ..sampling.batches import rows_that_fit
from ..sampling.evaluator import Evaluator
from ..sampling.jobs import EARLY
from ..sampling.ledger import Ledger
from ..sampling.levels import Levels
from ..sampling.schedule import Schedule
from ..sampling.setup import Looks, Setup
from ..sampling.slicing import Sample, draws_noise, guider_of, samples_of
from ..sampling.solvers import Solver
from ..sampling.toy import learn
from ..sampling.varying import check as can_be_varied
from ..search.algorithms.base import BudgetTooSmall, Ground, Search, fresh
from ..search.algorithms.replay import Replay
from ..search.driver import Limits, terms
from ..search.journaled import Journaled
from ..search.rollout import DECODERS, PREVIEWS, Outcome, Recipe, lineage
from ..search.selection import Comparison
from ..untrusted import choice, legible
from .decoding import decoder
from .drafting import Drafts, Shorter, drafts_of, price_of
from .evidence import Evidence
from .journaling import journaled, recovered
from .judging import Judge
from .live import Live, LiveSearch
from .progress import LiveProgress
from .prospect import prospect
from .sketching import Sketch, sketch_of
from .provenance import Origin
from .uncut import uncut
from .wishes import AUTO, Wishes


@dataclass(frozen=True)
class Task:
    """One search node's inputs, the same for every sample of its latent batch."""

    guider: Any
    solver: Solver
    schedule: Schedule
    final: Schedule | None
    settings: Search
    verifier: Any
    vae: Any
    prompt: str
    wishes: Wishes
    origin: Origin | None = None
    shorter: Shorter | None = None


@dataclass(frozen=True)
class Plan:
    """The search for one sample of the batch.

    wished: the settings before planning. search: as planned for this budget and schedule. renderer: samples the winner once more alone, where that is wanted,
    or the best drafts with all steps. journaled, finals: the evaluator and the renderer of drafts with the journal in front of them, where there is one;
    why_not: where there should be and is none. evidence: where to write down what the drafts show. notes: how the search was chosen. live: what its panel is told.
    """

    sample: Sample
    wished: Search
    search: Search
    evaluator: Evaluator
    renderer: Evaluator | None
    judge: Judge | None
    limits: Limits
    announcement: str
    live: LiveSearch
    journaled: Journaled | None = None
    why_not: str = ""
    drafts: Drafts | None = None
    finals: Journaled | None = None
    evidence: Evidence | None = None
    notes: tuple[str, ...] = ()

    @property
    def runs(self) -> Journaled | Evaluator:
        """What the search asks."""
        return self.journaled or self.evaluator

    @property
    def renders_the_same(self) -> bool:
        """Whether the last rendering samples what the search sampled, alone; other sigmas give another image."""
        return self.renderer is not None and self.renderer.schedule is self.evaluator.schedule

    def recipe(self, outcomes: Mapping[int, Outcome], id: int) -> Recipe:
        """What gives a finished outcome's image again, as it is handed on and shown."""
        anew = self.renderer is not None and not self.renders_the_same
        return uncut(Recipe(lineage(outcomes, id), self.sample.index), self.evaluator, anew)

    @property
    def comparison(self) -> Comparison:
        return self.judge.comparison if self.judge else Comparison()


def task_of(
    guider: Any,
    sampler: Any,
    sigmas: torch.Tensor,
    settings: Search,
    verifier: Any,
    vae: Any,
    prompt: str,
    wishes: Wishes,
    final_sigmas: torch.Tensor | None = None,
    origin: Origin | None = None,
    shorter: Shorter | None = None,
) -> Task:
    """Raises ValueError for what cannot be searched, or not with each other."""
    compares = settings.needs_verifier and not (wishes.plain and not settings.cuts)
    if vae is None or (verifier is None and compares):
        raise ValueError(
            f"A search needs a {'VAE: connect that of your model' if vae is None else 'verifier: connect Load Judge'}."
        )
    levels = _levels(guider.model_patcher)
    schedule = Schedule(sigmas, *levels)
    final = None if final_sigmas is None else Schedule(final_sigmas, *levels)
    if final is not None and settings.reinjects:
        raise ValueError(
            f"final_sigmas renders a winner anew from its initial noise, which does not go with {settings.name}. Leave final_sigmas unconnected."
        )
    if settings.cuts and float(schedule.sigmas[-1]) > 0:
        raise ValueError(
            f"{settings.name.capitalize()} needs a schedule that ends in a clean image, but the last sigma is {float(schedule.sigmas[-1]):.4g}. Give it the whole schedule."
        )
    return Task(
        guider, Solver(sampler), schedule, final, settings, verifier, vae, prompt, wishes, origin, shorter
    )


def plans_of(
    task: Task, latent: dict, ledger: Ledger, live: LiveProgress, panel: Live | None = None
) -> list[Plan]:
    """A plan for each sample of the LATENT. Raises ValueError, BudgetTooSmall among them, before anything runs."""
    samples = samples_of(latent, task.guider.model_patcher)
    rows = task.wishes.batch_size or rows_that_fit(task.guider, samples[0].latent.shape)
    plans, panel = [], panel or Live()
    # a decoder is loaded once, for all samples
    sketch = cache(lambda how: sketch_of(how, task.guider.model_patcher, task.vae))
    for i, sample in enumerate(samples):
        settings, place = task.settings.of_sample(i, len(samples), sample.index)
        one = replace(task, guider=guider_of(task.guider, i), settings=settings)
        sample = replace(sample, index=place)
        plans.append(_plan(one, sample, rows, ledger, live, panel.search(), sketch))
    return plans


def _plan(
    task: Task,
    sample: Sample,
    rows: int,
    ledger: Ledger,
    live: LiveProgress,
    shown: LiveSearch,
    sketch: Callable[[str], Sketch | None],
) -> Plan:
    wished, wishes = task.settings, task.wishes
    judge = None if task.verifier is None else Judge(task.verifier, task.prompt, ledger)
    early = bool(judge and wished.needs_verifier and judge.needs_previews)
    setup = Setup(task.guider, task.solver, task.schedule, sample)
    settings, drafts, evidence, notes = _chosen(task, setup, judge, early)
    _check_looks(settings)
    if settings.varies:
        can_be_varied(task.guider)
    if judge and settings.needs_verifier:
        _check(judge, settings, wishes)
    if draws_noise(task.guider):
        rows = 1
    looks = Looks(
        decoder(task.vae),
        judge and shown.watching(judge),
        settings.preview,
        early,
        wishes.keep_top,
        lambda one: live.glance(ledger.nfe, one),
        sketch(settings.decoder),
    )

    def advance() -> None:
        live.advance(ledger.told)
        shown.advance(ledger)

    runs = replace(setup, guider=drafts.guider, schedule=drafts.schedule) if drafts else setup
    evaluator = Evaluator(runs, ledger, looks, rows, advance)
    piece = evaluator.cost(fresh(0), None)
    whole = price_of(setup, setup.schedule, early) if drafts else piece
    if judge and early:
        for schedule in (runs.schedule, task.schedule):
            judge.previews_at(_nearest(schedule, EARLY))
    budget = wishes.budget_nfe or wishes.candidates * whole
    # batched arithmetic differs visibly from a lone run's on GPUs; what does not pay for two samples and one more is no batch
    on_gpu = task.guider.model_patcher.load_device.type != "cpu"
    batched = (
        rows > 1 and task.solver.batches and budget >= (3 if wishes.budget_nfe else 2) * whole and on_gpu
    )
    renderer = None
    if drafts:
        renderer = Evaluator(setup, ledger, looks, 1, advance)
    elif task.final or (wishes.exact and batched and settings.needs_verifier):
        again = replace(setup, schedule=task.final or task.schedule)
        renderer = Evaluator(again, ledger, Looks(looks.decode, glance=looks.glance), 1, advance)
    trial = evaluator.coupling.wanted(piece) if rows > 1 and budget >= 3 * piece else 0
    if wishes.budget_nfe:  # what is found out must be worth its price
        trial = trial if 4 * trial <= budget else 0
    else:  # beside the candidates
        budget += trial
    evaluator.coupling.allow(trial, bool(wishes.budget_nfe))
    limits = _limits(settings, wishes, budget, evaluator, renderer, drafts)
    try:
        search = settings.plan(terms(evaluator, limits))
    except BudgetTooSmall:
        if not trial or not wishes.budget_nfe:
            raise
        evaluator.coupling.allow(0)
        search = settings.plan(terms(evaluator, limits))
    terms_here = terms(evaluator, limits)
    announcement = search.announcement(terms_here) or f"{limits.nfe} NFE at most"
    if drafts:
        announcement = drafts.announcement(limits.nfe)
    kept = finals = None
    why_not = ""
    if task.origin and wishes.journal and judge and settings.needs_verifier:
        kept, why_not = journaled(runs, evaluator, judge, ledger, task.origin)
        announcement += f" · {why_not}" if why_not else ""
        if drafts and renderer and kept:
            finals, why_not = journaled(
                setup, renderer, judge, ledger, task.origin, alone=wishes.exact and on_gpu
            )
    elif task.origin and wishes.journal and isinstance(search, Replay):
        kept = recovered(runs, evaluator, search.recipes[0].pieces, ledger, task.origin)
    shown.planned(
        announcement,
        limits,
        whole,
        0 if wishes.budget_nfe else wishes.candidates,
        kept.key if kept else "",
        finals.key if finals else "",
        judge,
    )
    if judge and settings.needs_verifier and not drafts:
        shown.foresee = partial(prospect, search, judge.comparison)
    plan = Plan(
        sample,
        task.settings,
        search,
        evaluator,
        renderer,
        judge,
        limits,
        announcement,
        shown,
        kept,
        why_not,
        drafts,
        finals,
        evidence,
        notes,
    )
    shown.recipes_by(plan.recipe)
    return plan


def _chosen(
    task: Task, setup: Setup, judge: Judge | None, early: bool
) -> tuple[Search, Drafts | None, Evidence | None, tuple[str, ...]]:
    """(the search, its drafts, where to write down what they show, what to say of the choice)."""
    settings, wishes = task.settings, task.wishes
    if settings.drafts and not wishes.draft_steps:
        wishes = replace(wishes, draft_steps=AUTO)
    if not (wishes.draft_steps and settings.needs_verifier):
        return settings, None, None, ()
    evidence = None
    if judge and task.origin and wishes.journal:
        evidence = Evidence(setup, judge, task.origin, wishes.draft_cfg)
    model_sampling = task.guider.model_patcher.get_model_object("model_sampling")
    learn(task.solver, model_sampling, task.schedule.sigmas)
    whole = price_of(setup, task.schedule, early)
    budget = wishes.budget_nfe or wishes.candidates * whole
    found = drafts_of(
        wishes,
        setup,
        settings,
        task.shorter,
        task.final is not None,
        early,
        whole,
        budget,
        evidence.seen if evidence else lambda: [],
    )
    drafts = found if isinstance(found, Drafts) else None
    here = None
    if settings.drafts and not task.wishes.draft_steps and _may_be_cut(task, setup, early):
        here = terms(Evaluator(setup, Ledger(), Looks(preview=settings.preview)), Limits(budget))
        here = here if here.stochastic is False and here.levels else None
    steps, why = len(task.schedule.sigmas) - 1, found.why if found else ""
    search, said = settings.settled(Ground(budget, whole, steps, why, here))
    said = said or why
    return search, None if search.reinjects else drafts, evidence, ((said,) if said else ())


def _may_be_cut(task: Task, setup: Setup, early: bool) -> bool:
    """Whether a search of ours may stop samples on the way and put noise back in. early: a judge follows each to its end.

    Not where a score may end it, since all images are finished last; nor of videos, whose looks are dear.
    """
    wishes, latent = task.wishes, setup.sample.latent
    video = latent.ndim == 5 and latent.shape[2] > 1
    ends_in_noise = float(task.schedule.sigmas[-1]) > 0
    return not (early or task.final or wishes.plain or wishes.stop_at_score or video or ends_in_noise)


def _check_looks(settings: Search) -> None:
    """What a search of another pack says of its previews is anybody's words."""
    name = legible(settings.name, 60)
    choice(settings.decoder, DECODERS, f"decoder for the previews of {name}")
    choice(settings.preview, PREVIEWS, f"preview for {name}")


def _check(judge: Judge, settings: Search, wishes: Wishes) -> None:
    method = judge.comparison.method
    if wishes.stop_at_score and len(judge.members) > 1 and method != "weighted sum":
        raise ValueError(
            f"stop_at_score needs one verifier or a weighted sum; by {method} a score only says how candidates compare. Set it to 0."
        )
    if judge.needs_previews and settings.cuts:
        raise ValueError(
            f"A self-supervised verifier follows one sample from flow time 0.4 to its end, but {settings.name} judges unfinished ones. Use random or zero-order search."
        )


def _limits(
    settings: Search,
    wishes: Wishes,
    budget: int,
    evaluator: Evaluator,
    renderer: Evaluator | None,
    drafts: Drafts | None,
) -> Limits:
    whole = settings.whole_price(terms(evaluator, Limits(0)))
    if whole is not None:  # to its end, whatever was wished of a search
        return Limits(whole, keep=wishes.keep_top)
    reserve = settings.lineage_price(terms(renderer, Limits(0))) if renderer else 0
    if drafts:
        reserve = drafts.reserve
    return Limits(
        budget if wishes.budget_nfe or drafts else budget + reserve,
        reserve,
        wishes.time_limit or None,
        wishes.stop_at_score or None,
        wishes.keep_top,
    )


def _nearest(schedule: Schedule, time: float) -> float:
    """The flow time of the schedule's level that is nearest to one."""
    assert schedule.times is not None  # or the price of following it could not be told
    times = schedule.times[:-1]
    return float(times[int((times - time).abs().argmin())])


def _levels(model: Any) -> tuple[Levels, str] | tuple[None, str]:
    """(the model's Levels, ""); or (None, why it has none): whole images can be searched all the same."""
    try:
        return Levels(model.get_model_object("model_sampling")), ""
    except ValueError as error:
        logging.info("NoiseSearch: %s", error)
        return None, str(error)
