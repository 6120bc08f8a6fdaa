"""One search from end to end: what KSampler (Search) and Search Sampler share."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch

from .. import compat
from ..sampling.batches import rows_that_fit
from ..sampling.evaluator import Evaluator, replay
from ..sampling.ledger import Ledger
from ..sampling.levels import Levels
from ..sampling.slicing import draws_noise, guider_of, samples_of
from ..sampling.schedule import Schedule
from ..sampling.solvers import Solver
from ..search.algorithms import RandomSearch, Replay
from ..search.algorithms.base import Terms, fresh, prices
from ..search.driver import Limits, Result, run
from ..search.noise import NoiseRecipe
from ..search.rollout import EXTRA, Recipe, lineage
from ..search.selection import Comparison
from .decoding import decoder, flat
from .judging import FINAL, Judge
from .noises import RecipeNoise
from .progress import LiveProgress
from .report import report_of


@dataclass(frozen=True)
class Wishes:
    """What the user asked of a search besides the sampling itself; the widgets of both nodes."""

    candidates: int = 8
    keep_top: int = 4
    budget_nfe: int = 0
    stop_at_score: float = 0.0
    time_limit: float = 0.0
    batch_size: int = 0
    exact: bool = True

    def __post_init__(self):
        for name, least in (
            ("candidates", 1),
            ("keep_top", 1),
            ("budget_nfe", 0),
            ("time_limit", 0),
            ("batch_size", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, but is {getattr(self, name)}.")


@dataclass(frozen=True)
class Found:
    """The winners of all samples of the batch, in order; `top_*`: the best few of each."""

    latent: dict
    denoised: dict
    images: torch.Tensor
    top_images: torch.Tensor
    top_latents: dict
    recipes: list[Recipe]
    scores: list[float]
    report: dict

    @property
    def seed(self) -> int:
        return self.recipes[0].pieces[0].noise.seed

    def noise(self):
        """The winning noise as a stock NOISE; for lineages of several pieces an object that says why there is none."""
        return RecipeNoise(self.recipes)


def search_images(
    guider,
    sampler,
    sigmas,
    latent: dict,
    seed: int,
    settings,
    verifier,
    vae,
    prompt: str,
    wishes: Wishes,
    final_sigmas=None,
    node_id: str | None = None,
) -> Found:
    """Search once for every sample of the latent batch. Bad input raises ValueError before anything runs."""
    NoiseRecipe(seed)  # refuses what is no seed
    settings = settings or RandomSearch()
    if vae is None or (verifier is None and not isinstance(settings, Replay)):
        raise ValueError(
            f"A search needs a {'VAE: connect that of your model' if vae is None else 'verifier: connect Load Verifier'}."
        )
    model = guider.model_patcher
    samples = samples_of(latent, model)
    solver, levels = Solver(sampler), _levels(model)
    schedule = Schedule(sigmas, *levels)
    final = None if final_sigmas is None else Schedule(final_sigmas, *levels)
    if final is not None and getattr(settings, "reinjects", False):
        raise ValueError(
            f"final_sigmas renders a winner anew from its initial noise, which does not go with {settings.name}. Leave final_sigmas unconnected."
        )
    if hasattr(settings, "plan") and float(schedule.sigmas[-1]) > 0:
        raise ValueError(
            f"{settings.name.capitalize()} needs a schedule that ends in a clean image, but the last sigma is {float(schedule.sigmas[-1]):.4g}. Give it the whole schedule."
        )

    ledger, searches = Ledger(), []
    rows = wishes.batch_size or rows_that_fit(guider, samples[0].latent.shape)
    live = LiveProgress(node_id, 1)
    for i, sample in enumerate(samples):
        one, own = guider_of(guider, i), settings
        if isinstance(settings, Replay):
            own = settings.of_sample(i, len(samples))
            sample = replace(sample, index=own.recipes[0].index)
        judge = None if verifier is None else Judge(verifier, prompt, ledger)
        searches.append(
            _Search(
                one,
                solver,
                schedule,
                final,
                sample,
                ledger,
                judge,
                decoder(vae),
                1 if draws_noise(one) else rows,
                own,
                wishes,
                live,
            )
        )
    live.total = sum(search.limits.nfe for search in searches)
    judges, found = [search.judge for search in searches if search.judge], []
    while searches:  # one after the other, so that each one's latents can go
        found.append(searches.pop(0).run(seed))
    report = report_of(settings, seed, judges, ledger, found)
    return _assemble(compat.fix_empty_latent(model, latent), found, report)


def _levels(model):
    """(the model's Levels, ""); or (None, why it has none): whole images can be searched all the same."""
    try:
        return Levels(model.get_model_object("model_sampling")), ""
    except ValueError as error:
        logging.info("NoiseSearch: %s", error)
        return None, str(error)


class _Search:
    """The search for one sample of the batch."""

    def __init__(
        self, guider, solver, schedule, final, sample, ledger, judge, decode, rows, settings, wishes, live
    ):
        self.wishes, self.live, self.ledger, self.judge, self.sample = wishes, live, ledger, judge, sample
        replays = isinstance(settings, Replay)
        self.comparison = judge.comparison if judge else Comparison()
        if (
            wishes.stop_at_score
            and judge
            and not replays
            and len(judge.members) > 1
            and self.comparison.method != "weighted sum"
        ):
            raise ValueError(
                f"stop_at_score needs one verifier or a weighted sum; by {self.comparison.method} a score only says how candidates compare. Set it to 0."
            )
        if judge and judge.needs_previews and getattr(settings, "reinjects", False) and not replays:
            raise ValueError(
                f"A self-supervised verifier follows one sample from flow time 0.4 to its end, but {settings.name} judges unfinished ones. Use random or zero-order search."
            )
        parts = dict(ledger=ledger, decode=decode, on_evaluation=lambda: live.advance(ledger.nfe))
        self.evaluator = Evaluator(
            guider,
            solver,
            schedule,
            sample,
            rows=rows,
            judge=judge,
            keep_images=wishes.keep_top,
            preview=getattr(settings, "preview", EXTRA),
            early=bool(judge and judge.needs_previews and not replays),
            **parts,
        )
        whole = self.evaluator.cost(fresh(0), None)
        budget = wishes.budget_nfe or wishes.candidates * whole
        # batched arithmetic differs visibly from a lone run's on GPUs; what does not pay for two samples and one more is no batch
        batched = (
            rows > 1
            and solver.batches
            and budget >= (3 if wishes.budget_nfe else 2) * whole
            and guider.model_patcher.load_device.type != "cpu"
        )
        again = wishes.exact and batched and not replays
        self.renderer = (
            Evaluator(guider, solver, final or schedule, sample, rows=1, **parts) if final or again else None
        )
        if replays:  # to its end, whatever was wished of a search
            self.limits = Limits(settings.price(_terms(self.evaluator)))
        else:
            reserve = self._final_cost(settings) if self.renderer else 0
            self.limits = Limits(
                budget if wishes.budget_nfe else budget + reserve,
                reserve,
                wishes.time_limit or None,
                wishes.stop_at_score or None,
            )
        self.settings, self.announcement = settings, f"{self.limits.nfe} NFE at most"
        if hasattr(settings, "plan"):
            terms = _terms(self.evaluator, self.limits.nfe - self.limits.reserve)
            self.settings = settings.plan(terms)
            self.announcement = self.settings.announcement(terms)

    def _final_cost(self, settings) -> int:
        return (
            settings.lineage_price(_terms(self.evaluator))
            if getattr(settings, "reinjects", False)
            else self.renderer.cost(fresh(0), None)
        )

    def run(self, seed: int) -> _FoundOne:
        before = self.ledger.nfe
        self.live.say(self.announcement)
        result = run(
            self.settings,
            seed,
            self.evaluator,
            self.comparison,
            self.limits,
            lambda progress: self._show(progress, before),
        )
        search_nfe = self.ledger.nfe - before
        top = [outcome.id for outcome in result.ranking[: self.wishes.keep_top]]
        kept = [self.evaluator.shelf[id] for id in top]
        images = [self.evaluator.image(id) for id in top]
        recipe = Recipe(lineage(result.outcomes, top[0]), self.sample.index)
        scores = result.winner.scores
        again = (
            self.renderer
            and search_nfe + prices([(1, piece) for piece in recipe.pieces], _terms(self.renderer))[0]
            <= self.limits.nfe
        )
        if again:
            last = replay(self.renderer, recipe.pieces)
            kept[0], images[0] = self.renderer.shelf[last], self.renderer.image(last)
        witness = self.judge.witness if self.judge else {}
        if self.judge and (again or not scores) and not self.judge.needs_previews:
            now = self.judge(images[0], [FINAL])[0]
            scores = tuple(old if math.isnan(new) else new for new, old in zip(now, scores or now))
        held_out = witness.get(FINAL, witness.get(top[0]))
        leading = scores[self.judge.leading] if self.judge and scores else math.nan
        return _FoundOne(
            result,
            self.limits,
            self.announcement,
            recipe,
            kept,
            images,
            scores,
            leading,
            held_out,
            witness,
            search_nfe,
            self.ledger.nfe - before - search_nfe,
            self.evaluator.batch.rows,
            skipped=bool(self.renderer) and not again,
        )

    def _show(self, progress, before):
        best = progress.best
        if best is None or not best.scores:
            return self.live.say(f"{progress.nfe}/{progress.budget} NFE")
        score = " ".join(f"{score:.3g}" for score in best.scores)
        what = f"{progress.finished} candidates · best" if best.finished else "on the way · best preview"
        self.live.best(
            before + progress.nfe,
            f"{what} {score} · {progress.nfe}/{progress.budget} NFE",
            self.evaluator.image(best.id),
        )


def _terms(evaluator, budget: int = 0) -> Terms:
    return Terms(budget, evaluator.cost, evaluator.top, evaluator.own_steps)


@dataclass(frozen=True)
class _FoundOne:
    result: Result
    limits: Limits
    announcement: str
    recipe: Recipe
    kept: list
    images: list
    scores: tuple[float, ...]
    leading: float
    held_out: float | None
    witness: dict
    search_nfe: int
    final_nfe: int
    rows: int
    skipped: bool  # whether the winner should have been rendered once more, and the budget did not pay for it


def _assemble(latent: dict, found: list[_FoundOne], report: dict) -> Found:
    def latents(rows, **changes):
        return {**latent, "samples": torch.cat(rows), **changes}

    top = [kept.latent for one in found for kept in one.kept]
    places = {"batch_index": [one.recipe.index for one in found for _ in one.kept]}
    top_latents = {key: value for key, value in latents(top, **places).items() if key != "noise_mask"}
    return Found(
        latent=latents([one.kept[0].latent for one in found]),
        denoised=latents([one.kept[0].denoised for one in found]),
        images=flat([one.images[0] for one in found]),
        top_images=flat([image for one in found for image in one.images]),
        top_latents=top_latents,
        recipes=[one.recipe for one in found],
        scores=[one.leading for one in found],
        report=report,
    )
