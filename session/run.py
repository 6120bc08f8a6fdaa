"""One search from end to end: plan, run, account. What KSampler (Best of N Search) and SamplerCustomAdvanced (Best of N Search) share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from .. import compat
from ..sampling.evaluator import replay
from ..sampling.ledger import Ledger
from ..sampling.shelf import Kept
from ..search.algorithms import RandomSearch
from ..search.algorithms.base import as_search, prices
from ..search.driver import Limits, Progress, Result, run, terms
from ..search.noise import NoiseRecipe
from ..search.rollout import Recipe
from .drafting import Drafts, Shorter
from .faults import Faults
from .finals import account_of, finals_of, shown_by
from .foresight import foresight, in_words
from .found import Found, FoundOne, assembled
from .judging import FINAL, Judge
from .live import Live
from .plan import Plan, plans_of, task_of
from .progress import LiveProgress
from .prospect import in_words as prospect_in_words
from .prospect import prospect
from .provenance import Origin
from .report import report_of
from .stop import Stopper
from .wishes import Wishes

ALIKE = 0.05  # share of variance between candidates below which there is little to choose from

__all__ = ["Found", "Wishes", "search_images"]


def search_images(
    guider: Any,
    sampler: Any,
    sigmas: torch.Tensor,
    latent: dict,
    seed: int,
    settings: Any,
    verifier: Any,
    vae: Any,
    prompt: str,
    wishes: Wishes,
    final_sigmas: torch.Tensor | None = None,
    node_id: str | None = None,
    stopper: Stopper | None = None,
    origin: Origin | None = None,
    shorter: Shorter | None = None,
    panel: Live | None = None,
) -> Found:
    """Search once for every sample of the latent batch. Bad input raises ValueError before anything runs.

    stopper: what tells it to stop and keep the best. origin: the node and its graph, for the journal; without it there is none.
    shorter: the user's schedule with so many steps, for drafts; without it they are spaced as the sigmas. panel: what is told to those who watch.
    """
    NoiseRecipe(seed)  # refuses what is no seed
    wished = RandomSearch() if settings is None else as_search(settings)
    task = task_of(
        guider, sampler, sigmas, wished, verifier, vae, prompt, wishes, final_sigmas, origin, shorter
    )
    panel = panel or Live()
    with closing(panel):
        ledger, live, faults = Ledger(), LiveProgress(node_id, 1, panel.glances), panel.faults
        plans = plans_of(task, latent, ledger, live, panel)
        judges = [plan.judge for plan in plans if plan.judge]
        panel.begin(plans[0].search.name, plans[0].judge)
        live.total = sum(plan.limits.nfe for plan in plans)
        found = []
        while plans:  # one after the other, so that each one's latents can go
            found.append(_Running(plans.pop(0), wishes, ledger, live, faults, stopper or Stopper()).run(seed))
        report = report_of(wished, seed, judges, ledger, found, faults)
        with faults.spared("The progress line"):
            live.say(_last_words(found, judges))
    return assembled(compat.fix_empty_latent(guider.model_patcher, latent), found, report)


@dataclass
class Handed:
    """One of the images that are handed on. id: of its candidate. latent, denoised, image: [1, ...] each. final: the id of its final
    render, where it was a draft."""

    id: int
    recipe: Recipe
    latent: torch.Tensor
    denoised: torch.Tensor
    image: torch.Tensor
    scores: tuple[float, ...]
    final: int | None = None


class _Running:
    """A plan that is being carried out."""

    def __init__(
        self,
        plan: Plan,
        wishes: Wishes,
        ledger: Ledger,
        live: LiveProgress,
        faults: Faults,
        stopper: Stopper,
    ) -> None:
        self.plan, self.wishes, self.ledger, self.live, self.faults = plan, wishes, ledger, live, faults
        self.stopper = stopper
        self.before, self.told = ledger.nfe, ledger.told
        self.notes = list(plan.notes)

    def run(self, seed: int) -> FoundOne:
        plan, evaluator = self.plan, self.plan.evaluator
        with self.faults.spared("The progress line"):
            self.live.say(plan.announcement)
        self._open_panel()
        searches = plan.search.needs_verifier  # there is nothing to keep of a replay that is broken off
        should_stop = (lambda: self.stopper.stopped) if searches else (lambda: False)
        journaled = self.ledger.journal_candidates
        result = run(plan.search, seed, plan.runs, plan.comparison, plan.limits, self._show, should_stop)
        top = [outcome.id for outcome in result.ranking[: self.wishes.keep_top]]
        if plan.journaled:
            plan.journaled.bring(top)
        search_nfe = self.ledger.nfe - self.before
        self.notes += result.faults
        self.notes += plan.journaled.notes if plan.journaled else [plan.why_not] if plan.why_not else []
        handed = [
            Handed(
                id,
                plan.recipe(result.outcomes, id),
                *_finished(evaluator.shelf[id]),
                evaluator.image(id),
                result.outcomes[id].scores,
            )
            for id in top
        ]
        drafts = None
        if plan.drafts:
            handed, drafts = self._finals(plan.drafts, result, handed)
        winner = handed[0]
        _refuse_nan(winner.latent)
        again = None if plan.drafts else self._rendered_again(winner.recipe, result.nfe, winner.latent)
        if again is not None:
            winner.latent, winner.denoised, winner.image = again
        coupling = evaluator.coupling
        batching = f"{coupling.rung}: {coupling.why}"
        if coupling.lowered:
            self.notes.append(f"Candidates ran {batching}.")
        spread = evaluator.spread.share
        if evaluator.spread.fault:
            self.notes.append(
                f"How different the candidates look was not measured ({evaluator.spread.fault})."
            )
        if spread is not None and spread < ALIKE:
            self.notes.append(
                f"The candidates look alike: {spread:.1%} of all that varies in their pixels differs from seed to seed, so there is little to choose from. "
                "Turbo and distilled models are often like that; Search: Vary Conditioning makes their images differ more."
            )
        foreseen: list[dict] = []
        with self.faults.spared("Comparing previews with later looks"):
            foreseen = foresight(result, plan.comparison)
            self.notes += in_words(foreseen)
        winner.scores = scores = self._final_scores(winner, again is not None)
        witness = plan.judge.witness if plan.judge else {}
        found = FoundOne(
            wished=plan.wished,
            result=result,
            limits=plan.limits,
            announcement=plan.announcement,
            recipe=winner.recipe,
            latents=[one.latent for one in handed],
            denoised=winner.denoised,
            images=[one.image for one in handed],
            scores=scores,
            leading=scores[plan.judge.leading] if plan.judge and scores else math.nan,
            chosen=winner.id,
            held_out=witness.get(FINAL, witness.get(winner.final if winner.final is not None else winner.id)),
            witness=witness,
            answers=plan.judge.answers if plan.judge else {},
            top_ids=[one.id for one in handed],
            top_recipes=[one.recipe for one in handed],
            top_scores=[one.scores for one in handed],
            search_nfe=search_nfe,
            final_nfe=self.ledger.nfe - self.before - search_nfe,
            rows=evaluator.batch.rows,
            batching=batching,
            rendered=frozenset(one.id for one in handed if one.final is not None),
            drafts=drafts,
            foresight=foreseen,
            spread=spread,
            forecast=self._forecast(result, journaled),
            notes=self.notes,
        )
        plan.live.done(found, plan.judge.warning if plan.judge else "")
        return found

    def _forecast(self, result: Result, journaled: int) -> dict | None:
        """What more candidates would bring. journaled: candidates that the journal had answered before this search."""
        if self.plan.judge is None or not self.plan.search.needs_verifier:
            return None
        if self.plan.drafts:
            return {"unknown": "the candidates are drafts, and what is rendered of them scores otherwise"}
        with self.faults.spared("The forecast"):
            sampled = len(result.ranking) - (self.ledger.journal_candidates - journaled)
            each = result.seconds / sampled if sampled > 0 else None
            return prospect(self.plan.search, self.plan.comparison, result.ranking, each)
        return None

    def _open_panel(self) -> None:
        plan, model = self.plan, self.plan.evaluator.model
        names = plan.judge.names if plan.judge else []
        looks = type(model).__name__, tuple(plan.sample.latent.shape), tuple(names)
        plan.live.begin(self.ledger, looks, plan.evaluator.probe if _worth_a_probe(plan) else None)

    def _finals(
        self, drafts: Drafts, result: Result, handed: list[Handed]
    ) -> tuple[list[Handed], dict[str, Any]]:
        """(the best drafts as they come out with all steps, then the other drafts; what the report says of them)."""
        plan = self.plan
        plan.live.finishing()
        finals = finals_of(plan, result, lambda: self.stopper.hurried, self.faults)
        self.notes += finals.notes
        if plan.finals:
            self.notes += plan.finals.notes
        shown = shown_by(drafts, result, finals, plan)
        if plan.evidence and (fault := plan.evidence.add(shown)):
            self.notes.append(fault)
        rendered = [
            Handed(
                one.draft.id,
                one.recipe,
                one.latent,
                one.denoised,
                one.image,
                one.outcome.scores,
                one.outcome.id,
            )
            for one in finals.best
        ]
        gone = {draft.id for draft, _ in finals.rendered} if rendered else set()
        rest = [one for one in handed if one.id not in gone]
        both = [*rendered, *rest][: self.wishes.keep_top]
        if rendered and len(both) > len(rendered):
            self.notes.append(
                f"Of the top images the first {len(rendered)} have all {drafts.full} steps; the others are drafts of {drafts.steps}, as they were searched."
            )
        return both, account_of(drafts, finals, plan.judge.witness if plan.judge else {}, shown)

    def _rendered_again(
        self, recipe: Recipe, search_nfe: int, searched: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """(latent, denoised, image) of the winner sampled once more alone, where that was planned, is paid for and comes out well."""
        renderer = self.plan.renderer
        if renderer is None:
            return None
        price = prices([(1, piece) for piece in recipe.pieces], terms(renderer, Limits(0)))[0]
        if search_nfe + self.plan.evaluator.coupling.spent + price > self.plan.limits.nfe:
            self.notes.append(
                "A winner was not rendered once more alone: what was left of the budget does not pay for it. "
                "A stock sampler gives the same image except for the last digits."
            )
            return None
        self.plan.live.finishing()
        with self.faults.spared("The last rendering of the winner"):
            renderer.flight.landed = True  # the search has its image
            last = (
                None
                if self.stopper.hurried
                else replay(renderer, recipe.pieces, lambda: self.stopper.hurried)
            )
            if last is None:
                self.notes.append(
                    "The last rendering of the winner was skipped: the search was told to stop twice."
                )
                return None
            latent, denoised = _finished(renderer.shelf[last])
            if bool(latent.isfinite().all()):
                self._compare(searched, latent)
                return latent, denoised, renderer.image(last)
            self.notes.append(
                "The last rendering of the winner came out with values that are not numbers (NaN or infinite), so the image is "
                "the one that the search saw."
            )
        return None

    def _compare(self, searched: torch.Tensor, alone: torch.Tensor) -> None:
        """The last rendering is a check for free: alone, the winner must come out as it did in its batch."""
        if self.plan.renders_the_same:
            with self.faults.spared("Comparing the last rendering with what the search saw"):
                found = self.plan.evaluator.coupling.agree(searched, alone)
                self.notes += [found] if found else []

    def _final_scores(self, winner: Handed, again: bool) -> tuple[float, ...]:
        """The winner's scores: of its last rendering where there was one, of the image itself after a replay."""
        judge, scores = self.plan.judge, winner.scores
        if judge and (again or not scores) and not judge.needs_previews:
            with self.faults.spared("Judging the winner once more"):
                now = judge(winner.image, [FINAL])[0]
                return tuple(old if math.isnan(new) else new for new, old in zip(now, scores or now))
        return scores

    def _show(self, progress: Progress) -> None:
        self._show_best(progress)
        self.plan.live.wave(progress, self.ledger)

    def _show_best(self, progress: Progress) -> None:
        with self.faults.spared("The preview"):
            best, cost = progress.best, f"{progress.nfe}/{progress.budget} NFE"
            if best is None or not best.scores:
                return self.live.say(cost)
            what = f"{progress.finished} candidates · best" if best.finished else "on the way · best preview"
            evaluator = self.plan.evaluator
            image = (
                evaluator.image(best.id) if evaluator.has(best.id) else None
            )  # the journal has no previews
            if image is not None:
                self.plan.live.saw([best.id], image)
            said = _answers(self.plan.judge.answers.get(best.id, {})) if self.plan.judge else []
            line = f"{what} {_numbers(best.scores)} · {cost}"
            self.live.best(self.told + progress.nfe, "\n".join([line, *said]), image)


def _worth_a_probe(plan: Plan) -> bool:
    """Whether one decode more, to tell how long the search will take, is little beside it. Videos take long to decode, and what the
    journal answers is not decoded at all."""
    latent = plan.sample.latent
    still = latent.ndim == 4 or latent.shape[2] == 1
    return still and not (plan.journaled and plan.journaled.begun)


def _finished(kept: Kept) -> tuple[torch.Tensor, torch.Tensor]:
    """(latent, denoised) of a finished outcome."""
    assert kept.latent is not None and kept.denoised is not None
    return kept.latent, kept.denoised


def _refuse_nan(latent: torch.Tensor) -> None:
    """A winner that holds NaN is no image: every candidate came out so, or the verifiers could not tell."""
    if bool(latent.isnan().any()):
        raise RuntimeError(
            "The best candidate came out as NaN (not numbers), so there is no image to hand on. The model overflows: "
            "try another precision (--force-fp32, or a model file in bf16), another sampler, or a lower cfg."
        )


def _last_words(found: Sequence[FoundOne], judges: Sequence[Judge]) -> str:
    """What stays in the node when the search is over."""
    lines = []
    for one in found:
        first = one.result.outcomes[min(one.result.outcomes)]
        was = f" (first {_numbers(first.scores)})" if first.scores and first.finished else ""
        best = f"best {_numbers(one.scores)}{was}" if one.scores else "done"
        lines.append(f"{best} · {len(one.result.ranking)} candidates · {one.search_nfe + one.final_nfe} NFE")
        if one.forecast and "gain" in one.forecast:
            lines.append(prospect_in_words(one.forecast))
        lines += _answers(one.answers.get(FINAL) or one.answers.get(one.result.winner.id, {}))
    if judges and judges[0].prompt:
        lines.append(f"judged by: {judges[0].prompt[:300]}")
    lines += dict.fromkeys(judge.warning for judge in judges if judge.warning)
    return "\n".join(lines)


def _answers(by_verifier: dict) -> list[str]:
    """A line for each verifier that says what its score was made of, if it is made of several."""
    return [
        " · ".join(f"{name} {number:.2f}" for name, number in answers.items())[:600]
        for answers in by_verifier.values()
        if len(answers) > 1
    ]


def _numbers(scores: Sequence[float]) -> str:
    return " ".join(f"{score:.3g}" for score in scores)
