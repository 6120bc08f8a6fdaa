"""Rollouts -> latents -> previews -> scores, in waves and batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, cast

import comfy.model_management as mm
import torch
from comfy.samplers import KSAMPLER

from ..search.journaled import Point
from ..search.rollout import Outcome, Rollout
from .batches import BatchSize
from .coupling import Coupling
from .flight import Flight, GivenUp
from .glances import Glances
from .jobs import Job, Jobs
from .keyframes import tell
from .ledger import Ledger
from .noise_cache import NoiseCache
from .renoise import renoise
from .seeded import quiet_noise, seeded_noise
from .setup import Judge, Looks, Setup
from .shelf import Kept, Shelf
from .solvers import Trace, levels_asked, no_predictions
from .spread import Spread
from .toy import draws_on_the_way, learn, steps_alone
from .varying import Varying
from .waves import Swaps, Wave
from .witness import GHOST, Watched, Witness

JUDGED = 16  # images decoded and judged at once; VAE and verifiers cut that further where memory is short


@dataclass
class End:
    """What a batch comes to, [B, ...] each, in model space: the state where the solver stopped, and the clean predictions there, at
    the level watched on the way, and of the solver's last step. points: of the first row, evaluations to record."""

    state: torch.Tensor | None = None
    x0: torch.Tensor | None = None
    early: torch.Tensor | None = None
    last: torch.Tensor | None = None
    points: list = field(default_factory=list)

    @property
    def clean(self) -> torch.Tensor | None:
        """The latest prediction there is, on the CPU."""
        latest = self.last if self.x0 is None else self.x0
        return None if latest is None else latest.float().cpu()


class Evaluator:
    """Runs rollouts and scores them. rows: how many samples at once. Everything is counted in `ledger`."""

    def __init__(
        self,
        setup: Setup,
        ledger: Ledger,
        looks: Looks,
        rows: int = 1,
        on_evaluation: Callable[[], None] = lambda: None,
    ) -> None:
        self.solver, self.schedule, self.sample = setup.solver, setup.schedule, setup.sample
        self.ledger, self.looks = ledger, looks
        self.flight = Flight()
        self.watched = ledger.watch(setup.guider, on_evaluation, self.flight.step)
        patcher = self.watched.model_patcher
        self.model, self.model_sampling = patcher.model, patcher.get_model_object("model_sampling")
        learn(self.solver, self.model_sampling, self.schedule.sigmas)
        self.batch = BatchSize(rows if self.solver.batches else 1)
        self.coupling = Coupling(setup, ledger)
        self.shelf = Shelf(looks.images)
        self.jobs = Jobs(self.solver, self.schedule, self.model_sampling, looks.preview, looks.early)
        latent, index = self.sample.latent, self.sample.index
        self.noises = NoiseCache(
            lambda seed: quiet_noise(latent, seed, index), lambda seed: seeded_noise(latent, seed, index)
        )
        self.varying = Varying(self.schedule.sigmas, self.model_sampling, index)
        self.spread = Spread()
        self.swaps = Swaps(patcher)
        self.glances = Glances(patcher, looks.glance)
        self._records = False
        self._recorded: tuple[Rollout, list[Point]] | None = None
        self._wave: list[tuple[Job, int]] = []  # sampled and not judged yet, with the NFE of each

    @property
    def top(self) -> float:
        """Flow time at which the schedule begins."""
        return 1.0 if self.schedule.times is None else float(self.schedule.times[0])

    @property
    def held(self) -> int:
        """NFE that went, or may still go, into finding out whether candidates may share a batch."""
        return self.coupling.held

    @cached_property
    def stochastic(self) -> bool | None:
        """Whether the sampler draws noise on the way; None = not known."""
        return draws_on_the_way(self.solver, self.model_sampling, self.schedule.sigmas)

    @cached_property
    def steps_alone(self) -> bool:
        """Whether each step of the sampler by itself makes up the whole."""
        return steps_alone(self.solver)

    # -- the driver's side ------------------------------------------------------------------------------------------

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        """NFE that the rollout asks for, known before it runs; it pays less where a cache skips some."""
        return self.jobs.cost(rollout, parent)

    @property
    def levels(self) -> tuple[float, ...]:
        """The schedule's own flow times, falling to 0; () where they are unknown."""
        times = self.schedule.times
        return () if times is None else (*times[:-1].tolist(), 0.0)

    def own_steps(self, start: float, stop: float) -> int:
        return len(self.schedule.piece(start, stop)) - 1

    def evaluate(
        self, asked: Sequence[tuple[int, Rollout]], enough: Callable[[], bool] = lambda: False
    ) -> Generator[list[Outcome], None, None]:
        """The outcomes of (id, rollout) pairs, wave after wave, in the order asked.

        enough: asked between batches and evaluations; True ends the wave, and what is sampled gets decoded, judged and handed out. A
        batch in flight is given up unless it is nearly there.
        """
        self.flight.enough = enough
        pending = deque(self.jobs.add(id, rollout) for id, rollout in asked)
        self.shelf.begin({rollout.parent for _, rollout in asked if rollout.parent is not None})
        while pending:
            wave, self._wave = Wave(self.swaps), []
            while pending and not (self._wave and (wave.over or enough())):
                try:
                    self._wave += self._next_batch(pending, wave)
                except GivenUp:
                    pending.clear()
            if not self._wave:
                return
            self.flight.landed = self.flight.landed or any(job.rollout.finished for job, _ in self._wave)
            self.swaps.looking()
            outcomes, self._wave = self._judged(self._wave), []
            yield outcomes
            self.glances.rest()

    def keep(self, best: Sequence[int]) -> None:
        """These finished outcomes, best first, are all that is worth holding; the others may go."""
        self.shelf.hold(best)

    # -- what a journal needs besides ----------------------------------------------------------------------------------

    @property
    def judges_latents(self) -> bool:
        """Whether a finished outcome's latent is all that a judge needs."""
        return self.jobs.early is None

    @property
    def exact(self) -> bool:
        """Whether the model computes in full precision."""
        model = self.model
        return {getattr(model, "manual_cast_dtype", None) or model.get_dtype()} <= {
            torch.float32,
            torch.float64,
        }

    def know(self, id: int, rollout: Rollout) -> None:
        self.jobs.add(id, rollout)
        self.flight.landed = self.flight.landed or rollout.finished

    def has(self, id: int) -> bool:
        return id in self.shelf

    def put(self, id: int, tensors: Mapping[str, torch.Tensor]) -> None:
        self.shelf.put(id, Kept(latent=tensors["latent"], denoised=tensors["denoised"]))

    def tensors(self, id: int) -> dict[str, torch.Tensor]:
        kept = self.shelf[id]
        assert kept.latent is not None and kept.denoised is not None  # of finished outcomes only
        return {"latent": kept.latent, "denoised": kept.denoised}

    def resample(self, asked: Sequence[tuple[int, Rollout]], enough: Callable[[], bool]) -> int:
        """Sample these, and judge nothing. Returns the NFE paid. enough: True gives up what is not there yet."""
        self.flight.enough = enough
        pending = deque(self.jobs.add(id, rollout) for id, rollout in asked)
        self.shelf.begin({rollout.parent for _, rollout in asked if rollout.parent is not None})
        paid = 0
        try:
            while pending and not enough():
                paid += sum(nfe for _, nfe in self._next_batch(pending, Wave(self.swaps)))
        except GivenUp:
            pass
        return paid

    def judged(self, paid: Sequence[tuple[int, int]]) -> list[Outcome]:
        """The outcomes of (id, NFE paid) pairs whose latents are on the shelf."""
        return self._judged([(self.jobs[id], nfe) for id, nfe in paid])

    def unjudged(self) -> list[tuple[int, int]]:
        return [(job.id, nfe) for job, nfe in self._wave]

    def record(self) -> None:
        """Keep two evaluations of the first sample that begins with a noise: its first, and one in the middle."""
        self._records = True

    def recorded(self) -> tuple[Rollout, list[Point]] | None:
        return self._recorded

    def answers(self, rollout: Rollout, points: Sequence[Point]) -> list[torch.Tensor]:
        """What the model predicts where a sample with this noise was evaluated once. 1 NFE for each point."""
        assert rollout.noise is not None  # it begins with one
        job = Job(0, rollout, self.jobs.piece(rollout), rollout.noise, rollout.noise.seed)
        given: list[torch.Tensor] = []

        def ask(
            model: Any,
            x: torch.Tensor,
            sigmas: torch.Tensor,
            extra_args: Any = None,
            callback: Any = None,
            disable: Any = None,
        ) -> torch.Tensor:
            options, mask = extra_args["model_options"], extra_args.get("denoise_mask")
            if self.solver.random_inpaint and mask is not None:
                model.noise = _inpaint_noise(x, job.root.seed)
            for point in points:
                sigma = point.sigma * x.new_ones([1])
                x0 = model(point.x.to(x), sigma, denoise_mask=mask, model_options=options, seed=job.seed)
                given.append(x0.cpu())
            return x

        self.flight.enough = lambda: False
        self.flight.begin(1, len(points))
        schedule, _ = self.schedule.around(torch.tensor(job.sigmas))
        ledger, nfe, asked = self.ledger, self.ledger.nfe, self.ledger.asked_nfe
        with ledger.clock("sampling"):
            self._guided(self.noises.batch([job.root]), schedule, [job], ask)
        ledger.check_nfe += ledger.nfe - nfe
        ledger.nfe, ledger.asked_nfe = nfe, asked
        return given

    # -- results ----------------------------------------------------------------------------------------------------

    def image(self, id: int) -> torch.Tensor:
        """The decoded image(s) of an outcome, [1, (T,) H, W, C]; of an unfinished one its preview, which is decoded anew each time."""
        kept = self.shelf[id]
        if kept.image is not None:
            return kept.image
        image = self._pictures([kept])
        if kept.finished:
            kept.image = image
        return image

    def probe(self) -> None:
        """Decode the latent that the search begins with, which tells how long that takes; counted as all decodes are."""
        if self.looks.decode is not None:
            self._decoded([self.sample.latent])

    # -- one batch --------------------------------------------------------------------------------------------------

    def _next_batch(self, pending: deque[Job], wave: Wave) -> list[tuple[Job, int]]:
        """Sample as many of the next jobs as go together; takes them from `pending`. Returns each with its NFE."""
        kind = pending[0].kind
        alike = list(takewhile(lambda job: job.kind == kind, islice(pending, self.batch.rows)))
        began, loading = time.monotonic(), self.swaps.loading
        share = self.coupling.share(alike, self.batch.rows)
        paid, _ = self.batch.run(alike[:share], self._sample)
        wave.add(len(paid), time.monotonic() - began - (self.swaps.loading - loading))
        return [(pending.popleft(), nfe) for nfe in paid]

    def _sample(self, jobs: list[Job]) -> list[int]:
        """Run jobs of one kind, in one batch if they may be. Returns the NFE that each of the first ones paid, as many as were run."""
        with self.ledger.clock("sampling"):
            return self.coupling.run(jobs, self._run)

    def _run(self, jobs: list[Job], witness: Witness | None) -> None:
        """Run jobs of one kind as one batch; puts their latents on the shelf. witness: watches the model (`witness.py`)."""
        first, rows = jobs[0], len(jobs)
        self.flight.begin(rows, self.jobs.evaluations(first))
        parents = [self.shelf[job.rollout.parent] for job in jobs if job.rollout.parent is not None]
        noises = [job.rollout.noise for job in jobs if job.rollout.noise is not None]
        fresh = self.noises.batch(noises) if first.renoised else None
        roots = self.noises.batch([job.root for job in jobs])
        if parents and rows == 1:
            # what draws from the global generator goes on from the root's noise in the first piece only
            torch.manual_seed(first.seed)
        schedule, place = self.schedule.around(torch.tensor(first.sigmas))
        end = End()

        def piece(
            model: Any,
            x: torch.Tensor,
            sigmas: torch.Tensor,
            extra_args: dict,
            callback: Callable[[dict], None] | None = None,
            disable: bool | None = None,
        ) -> torch.Tensor:
            """The user's solver on its piece of the schedule; `x` is the noised latent that ComfyUI begins with.

            ComfyUI, and whatever is attached to the model, are given the whole schedule.
            """
            options, mask = extra_args["model_options"], extra_args.get("denoise_mask")
            above, sigmas = sigmas[: place.start + 1], sigmas[place]
            known = _together([kept.x0 for kept in parents]).to(x) if first.known else None
            if parents:
                x = self._begin(first, parents, fresh, x)
            elif place.start:
                x = self.model_sampling.noise_scaling(sigmas[0], roots.to(x), model.latent_image)
            if self.solver.random_inpaint and mask is not None:
                model.noise = torch.cat(
                    [_inpaint_noise(x[i : i + 1], job.root.seed) for i, job in enumerate(jobs)]
                )
            if place.start:
                tell(model, options, lambda: levels_asked(self.solver, above, self.model_sampling))
            if witness is not None:
                model = Watched(model, witness)
            trace = Trace(
                model,
                x,
                first.sigmas[0],
                options,
                known,
                self.jobs.watched(first.rollout),
                self._wanted(first),
            )
            stop = sigmas[-1].clone()  # uni_pc writes into its sigmas
            seeds = [job.seed for job in jobs]
            x = self.solver.run(trace, x, sigmas, seeds, options, mask, callback, disable)
            end.state, end.early, end.points = x, trace.seen, trace.recorded
            if self.jobs.pays_preview(first.rollout):
                ones = x.new_ones([rows])
                end.x0 = model(x, stop * ones, denoise_mask=mask, model_options=options, seed=first.seed)
            return x

        def callback(step: int, x0: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
            end.last = x0
            self.glances.look(x0)

        out = self._guided(roots, schedule, jobs, piece, callback)
        if end.points:
            self._recorded = first.rollout, [Point(*point) for point in end.points]
        parts = self._finished(end, out) if first.rollout.finished else self._unfinished(end)
        for i, job in enumerate(jobs):
            if job.id != GHOST:
                # copies: a slice would hold the whole batch in memory
                row = {name: all[i : i + 1].clone() for name, all in parts.items() if all is not None}
                self.shelf.put(job.id, Kept(**row))

    def _guided(
        self,
        roots: torch.Tensor,
        schedule: torch.Tensor,
        jobs: list[Job],
        run: Callable,
        callback: Callable | None = None,
    ) -> torch.Tensor:
        """The user's guider over jobs of one kind, with `run` as its sampler function. roots: the noise that each lineage began with."""
        guider = self.varying.guider(self.coupling.guider(self.watched), [job.root for job in jobs])
        return guider.sample(
            roots,
            self.sample.latent.repeat(len(roots), *[1] * (self.sample.latent.ndim - 1)),
            KSAMPLER(run),
            schedule,
            denoise_mask=self.sample.mask,
            callback=callback,
            disable_pbar=True,
            seed=jobs[0].seed,
        )

    def _wanted(self, job: Job) -> tuple[int, ...]:
        """Which evaluations to record."""
        if not self._records or self._recorded or job.rollout.parent is not None:
            return ()
        return 0, self.jobs.cost(job.rollout, None) // 2

    def _begin(
        self, first: Job, parents: list[Kept], fresh: torch.Tensor | None, x: torch.Tensor
    ) -> torch.Tensor:
        """The states that children go on from, in model space, placed as `x`."""
        assert first.below is not None  # they have parents
        levels = self.schedule.known
        if first.refines:
            # where the schedule ends above 0 a latent is x / a
            signal = float(levels.coefficients(first.below)[0])
            state = self.model.process_latent_in(_together([kept.latent for kept in parents])) * signal
        else:
            state = _together([kept.state for kept in parents])
        state = state.to(x)
        return state if fresh is None else renoise(levels, state, first.below, first.sigmas[0], fresh)

    def _finished(self, end: End, out: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """What is kept of a batch of finished samples, [B, ...] each. out: what ComfyUI makes of the last states."""
        out, clean, wire = out.to(mm.intermediate_device()), end.clean, self.model.process_latent_out
        denoised = out if clean is None else wire(clean)
        early = None if end.early is None else wire(end.early.float().cpu())
        return {"latent": out, "denoised": denoised, "early": early}

    def _unfinished(self, end: End) -> dict[str, torch.Tensor | None]:
        assert end.state is not None  # the solver ran
        return {"state": end.state.cpu(), "x0": end.clean}

    # -- decoding and scoring, after the sampling call: model management may move the diffusion model away meanwhile ----

    def _judged(self, sampled: list[tuple[Job, int]]) -> list[Outcome]:
        """Decode all, then ask the judge about all: a judge that does not fit beside the VAE is brought in once."""
        scores: dict[int, tuple[float, ...]] = {}
        if self.looks.judge is not None:
            shown = [job for job, _ in sampled if job.rollout.score]
            # what is decoded in another way can be of another size
            groups = [
                [job for job in shown if job.rollout.finished == finished] for finished in (True, False)
            ]
            parts = [group[i : i + JUDGED] for group in groups for i in range(0, len(group), JUDGED)]
            looks = [self._look(part) for part in parts]
            for part in parts:
                scores |= self._score(part, *looks.pop(0), self.looks.judge)
        return [Outcome(job.id, job.rollout, scores.get(job.id, ()), nfe) for job, nfe in sampled]

    def _look(self, jobs: list[Job]) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """(the image of each job, [1, ...], and the early predictions where they are wanted, [B, ...])."""
        kept = [self.shelf[job.id] for job in jobs]
        mm.throw_exception_if_processing_interrupted()
        decoded = self._pictures(kept)
        early = self._decoded([one.early for one in kept]) if self.looks.early else None
        images = [image[None].clone() for image in decoded]  # a slice would hold them all in memory
        for job, one, image in zip(jobs, kept, images):
            if one.finished:
                if _has_no_relatives(job):
                    self.spread.add(image)
                one.image, one.early = image, None
        return images, early

    def _score(
        self, jobs: list[Job], images: list[torch.Tensor], early: torch.Tensor | None, judge: Judge
    ) -> dict[int, tuple[float, ...]]:
        mm.throw_exception_if_processing_interrupted()
        with self.ledger.clock("verifying"):
            scores = judge(torch.cat(images), [job.id for job in jobs], early)
        return {job.id: tuple(row) for job, row in zip(jobs, scores)}

    def _pictures(self, some: list[Kept]) -> torch.Tensor:
        """What there is to see of outcomes that are all finished, or all unfinished."""
        if self.looks.sketch is None or some[0].finished:
            return self._decoded([self._shown(one) for one in some])
        with self.ledger.clock("decoding"):
            images = self.looks.sketch(_together([self._predicted(one) for one in some]))
        self.ledger.decodes += len(some)
        return images

    def _decoded(self, latents: list[torch.Tensor | None]) -> torch.Tensor:
        assert self.looks.decode is not None  # nobody asks for images otherwise
        with self.ledger.clock("decoding"):
            images = self.looks.decode(_together(latents))
        self.ledger.decodes += len(latents)
        return images

    def _shown(self, kept: Kept) -> torch.Tensor | None:
        """The clean latent to look at: the sample, or the x-prediction of one that still has noise in it."""
        if kept.latent is not None:
            return kept.latent if float(self.schedule.sigmas[-1]) == 0 else kept.denoised
        return self.model.process_latent_out(self._predicted(kept))

    def _predicted(self, kept: Kept) -> torch.Tensor:
        """The x-prediction of an unfinished sample, in model space."""
        if kept.x0 is None:
            raise ValueError(no_predictions(self.solver))
        return kept.x0


def _together(rows: list[torch.Tensor | None]) -> torch.Tensor:
    """One tensor of rows that are all there, by the kind of their jobs."""
    return torch.cat(cast("list[torch.Tensor]", rows))


def _has_no_relatives(job: Job) -> bool:
    """Whether it began with a noise that no other sample is meant to be like."""
    return not job.root.moves and (job.rollout.parent is None or job.rollout.noise is None)


def _inpaint_noise(x: torch.Tensor, seed: int) -> torch.Tensor:
    """The noise that stock KSAMPLER puts under the mask for `ddim`."""
    noise = torch.randn(x.shape, generator=torch.manual_seed(seed + 1), device="cpu")
    return noise.to(x)


def replay(
    evaluator: Evaluator, rollouts: Sequence[Rollout], enough: Callable[[], bool] = lambda: False
) -> int | None:
    """Run a lineage (`Recipe.pieces`) without any verifier, in an evaluator that ran nothing else.

    Returns the id of its finished outcome; None when it was given up because it was `enough`.
    """
    for i, rollout in enumerate(rollouts):
        if not list(evaluator.evaluate([(i, rollout)], enough)):
            return None
        evaluator.keep([i])
    return len(rollouts) - 1
