"""Rollouts -> latents -> previews -> scores, in waves and batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import comfy.model_management as mm
import comfy.sample
import torch
from comfy.samplers import KSAMPLER

from ..search.noise import NoiseRecipe
from ..search.rollout import EXTRA, Outcome, Rollout
from ..search.seeds import mix
from .batches import BatchSize
from .ledger import Ledger
from .renoise import renoise
from .slicing import Sample
from .schedule import Schedule
from .shelf import Kept, Shelf
from .solvers import Solver, Trace, count_evaluations

EARLY = 0.4  # flow time of the clean prediction that self-supervised verifiers compare with the sample (paper, section 3)
JUDGED = 16  # images decoded and judged at once; VAE and verifiers cut that further where memory is short
WAVE_SECONDS = 30.0  # sampling time before what is there gets decoded and scored


@dataclass
class Job:
    """A rollout about to run. sigmas: its piece of schedule. root: the noise its lineage began with. below: the sigma its parent stopped at."""

    id: int
    rollout: Rollout
    sigmas: tuple[float, ...]
    root: NoiseRecipe
    seed: int
    below: float | None
    known: bool  # whether its first evaluation was paid for by the parent's preview

    @property
    def kind(self):
        """Jobs of one kind can share a batch."""
        r = self.rollout
        return (
            self.sigmas,
            self.below,
            r.parent is not None and r.noise is not None,
            self.known,
            r.finished,
            r.score,
        )


class Evaluator:
    """Runs rollouts for one sample of the user's batch with any guider, solver and schedule, and scores them.

    guider: the user's, with this sample's conditioning (`samples.guider_of`). judge: (images [B, ...], outcome ids, early previews or
    None) -> a list of score tuples, or None to score nothing (replay). decode: latents -> images. rows: how many samples at once. Everything is counted in `ledger`.
    """

    def __init__(
        self,
        guider,
        solver: Solver,
        schedule: Schedule,
        sample: Sample,
        ledger: Ledger,
        rows: int = 1,
        decode=None,
        judge=None,
        preview: str = EXTRA,
        early: bool = False,
        keep_images: int = 1,
        on_evaluation=lambda: None,
    ):
        self.guider, self.solver, self.schedule, self.sample, self.ledger = (
            guider,
            solver,
            schedule,
            sample,
            ledger,
        )
        self.watched = ledger.watch(guider, on_evaluation)
        self.model_sampling = guider.model_patcher.get_model_object("model_sampling")
        self.batch = BatchSize(rows if solver.batches else 1)
        self.decode, self.judge, self.preview, self.early = decode, judge, preview, early
        self.shelf = Shelf(keep_images)
        self.jobs: dict[int, Job] = {}
        self._costs: dict = {}

    @property
    def top(self) -> float:
        """Flow time at which the schedule begins."""
        return 1.0 if self.schedule.times is None else float(self.schedule.times[0])

    # -- the driver's side ------------------------------------------------------------------------------------------

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        sigmas = self._sigmas(rollout, parent)
        known = self._preview_pays(rollout, parent)
        if (sigmas, known) not in self._costs:
            watch = self._early_sigma() if self.early and rollout.finished else None
            whole = sigmas == tuple(self.schedule.sigmas.tolist())
            self._costs[sigmas, known] = count_evaluations(
                self.solver, torch.tensor(sigmas), self.model_sampling, known, watch, whole
            )
        return self._costs[sigmas, known] + self._pays_preview(rollout)

    @property
    def levels(self) -> tuple[float, ...]:
        """The schedule's own flow times, falling to 0; () where they are unknown."""
        times = self.schedule.times
        return () if times is None else (*times[:-1].tolist(), 0.0)

    def own_steps(self, start: float, stop: float) -> int:
        return len(self.schedule.piece(start, stop)) - 1

    def evaluate(
        self, asked: Sequence[tuple[int, Rollout]], enough: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        pending = [self._job(id, rollout) for id, rollout in asked]
        self.shelf.begin({rollout.parent for _, rollout in asked if rollout.parent is not None})
        while pending:
            wave, deadline = [], time.monotonic() + WAVE_SECONDS
            while pending and (not wave or time.monotonic() < deadline):
                _, alike = next(groupby(pending, key=lambda job: job.kind))
                nfe, done = self.batch.run(list(alike), self._sample)
                wave += [(job, nfe) for job in pending[:done]]
                pending = [] if enough() else pending[done:]
            scores = {}
            for i in range(0, len(wave), JUDGED):
                scores |= self._score([job for job, _ in wave[i : i + JUDGED]])
            yield [Outcome(job.id, job.rollout, scores.get(job.id, ()), nfe) for job, nfe in wave]

    def keep(self, best: Sequence[int]) -> None:
        """These finished outcomes, best first, are all that is worth holding; the others may go."""
        self.shelf.hold(best)

    # -- results ----------------------------------------------------------------------------------------------------

    def image(self, id: int) -> torch.Tensor:
        """The decoded image(s) of an outcome, [1, (T,) H, W, C]; of an unfinished one its preview, which is decoded anew each time."""
        kept = self.shelf[id]
        if kept.image is not None:
            return kept.image
        with self.ledger.clock("decoding"):
            image = self.decode(self._shown(kept))
        self.ledger.decodes += 1
        if kept.latent is not None:
            kept.image = image
        return image

    # -- one batch --------------------------------------------------------------------------------------------------

    def _job(self, id: int, rollout: Rollout) -> Job:
        parent = None if rollout.parent is None else self.jobs[rollout.parent]
        before = parent.rollout if parent else None
        if parent is None:
            root, seed = rollout.noise, rollout.noise.seed
        else:
            root = parent.root
            seed = (
                mix(rollout.noise.seed, 1) if rollout.noise else mix(parent.seed, 2)
            )  # a stochastic solver must not draw a second time what it drew before
        below = None if parent is None else parent.sigmas[-1]
        job = Job(
            id, rollout, self._sigmas(rollout, before), root, seed, below, self._preview_pays(rollout, before)
        )
        self.jobs[id] = job
        return job

    def _sigmas(self, rollout: Rollout, parent: Rollout | None) -> tuple[float, ...]:
        start = rollout.start if parent is None or rollout.start is not None else parent.stop
        if (
            parent is not None
            and rollout.noise is None
            and self.schedule.snap(start) != self.schedule.snap(parent.stop)
        ):
            raise ValueError(
                f"A rollout that starts at {start}, away from where its parent stopped ({parent.stop}), needs a noise."
            )
        return tuple(self.schedule.piece(start, rollout.stop, rollout.steps).tolist())

    def _preview_pays(self, rollout: Rollout, parent: Rollout | None) -> bool:
        return parent is not None and rollout.noise is None and bool(self._pays_preview(parent))

    def _pays_preview(self, rollout: Rollout) -> int:
        return int(rollout.score and not rollout.finished and self.preview == EXTRA)

    def _draw(self, seed: int) -> torch.Tensor:
        return comfy.sample.prepare_noise(self.sample.latent, seed, [self.sample.index])

    def _sample(self, jobs: list[Job]) -> int:
        """Run jobs of one kind as one batch; puts their latents on the shelf. Returns the NFE of each."""
        nfe = self.ledger.nfe
        try:
            with self.ledger.clock("sampling"):
                self._run(jobs)
        except Exception:
            self.ledger.lost_nfe += self.ledger.nfe - nfe
            self.ledger.nfe = nfe
            raise
        return (self.ledger.nfe - nfe) // len(jobs)

    def _run(self, jobs: list[Job]) -> None:
        first = jobs[0]
        parents = [self.shelf[job.rollout.parent] for job in jobs] if first.rollout.parent is not None else []
        fresh = (
            [job.rollout.noise.noise(self._draw) for job in jobs] if parents and first.rollout.noise else []
        )
        roots = torch.cat([job.root.noise(self._draw) for job in jobs])
        if parents and not self.solver.batches:
            torch.manual_seed(
                first.seed
            )  # a solver that draws from the global generator goes on from the root's noise in the first piece only
        states, x0s, last = {}, {}, {}

        def piece(model, x, sigmas, extra_args=None, callback=None, disable=None):
            """The user's solver on this piece of schedule; `x` is the noised latent that ComfyUI begins with."""
            known = None
            if parents:
                x = torch.cat([kept.state for kept in parents]).to(x)
                if fresh:
                    x = renoise(self.schedule.levels, x, first.below, sigmas[0], torch.cat(fresh))
                elif first.known:
                    known = torch.cat([kept.x0 for kept in parents]).to(x)
            options, mask = extra_args["model_options"], extra_args.get("denoise_mask")
            if self.solver.random_inpaint and mask is not None:
                model.noise = torch.cat(
                    [_inpaint_noise(x[i : i + 1], job.root.seed) for i, job in enumerate(jobs)]
                )
            trace = Trace(
                model,
                x,
                sigmas[0],
                options,
                known,
                self._early_sigma() if self.early and first.rollout.finished else None,
            )
            stop = sigmas[-1].clone()  # uni_pc writes into its sigmas
            x = self.solver.run(
                trace, x, sigmas, [job.seed for job in jobs], options, mask, callback, disable
            )
            x0s["early"] = trace.seen
            if not first.rollout.finished:
                states["x"] = x
                if self._pays_preview(first.rollout):
                    x0s["x0"] = model(
                        x,
                        stop * x.new_ones([x.shape[0]]),
                        denoise_mask=mask,
                        model_options=options,
                        seed=first.seed,
                    )
            return x

        rows = len(jobs)
        latent = self.sample.latent.repeat(rows, *[1] * (self.sample.latent.ndim - 1))
        sigmas = torch.tensor(first.sigmas)

        def callback(step, x0, x, total_steps):
            last["x0"] = x0

        out = self.watched.sample(
            roots,
            latent,
            KSAMPLER(piece),
            sigmas,
            denoise_mask=self.sample.mask,
            callback=callback,
            disable_pbar=True,
            seed=first.seed,
        )
        process_out = self.guider.model_patcher.model.process_latent_out
        x0 = x0s.get("x0", last.get("x0"))
        x0 = None if x0 is None else x0.float().cpu()
        if first.rollout.finished:
            out = out.to(mm.intermediate_device())
            denoised = out if x0 is None else process_out(x0)
            early = None if x0s["early"] is None else process_out(x0s["early"].float().cpu())
            kept = [
                Kept(
                    latent=out[i : i + 1].clone(),
                    denoised=denoised[i : i + 1].clone(),
                    early=None if early is None else early[i : i + 1],
                )
                for i in range(rows)
            ]
        else:
            state = states["x"].cpu()
            kept = [
                Kept(state=state[i : i + 1].clone(), x0=None if x0 is None else x0[i : i + 1].clone())
                for i in range(rows)
            ]
        for job, one in zip(jobs, kept):
            self.shelf.put(job.id, one)

    def _early_sigma(self) -> float:
        """The level of the schedule nearest to flow time 0.4."""
        if self.schedule.times is None:
            raise ValueError(
                "A self-supervised verifier needs a model whose noise levels are known; this one's are not."
            )
        return float(self.schedule.sigmas[int((self.schedule.times[:-1] - EARLY).abs().argmin())])

    # -- decoding and scoring, after the sampling call: model management may move the diffusion model away meanwhile ----

    def _score(self, jobs: list[Job]) -> dict[int, tuple[float, ...]]:
        jobs = [job for job in jobs if job.rollout.score]
        if self.judge is None or not jobs:
            return {}
        kept = [self.shelf[job.id] for job in jobs]
        mm.throw_exception_if_processing_interrupted()
        with self.ledger.clock("decoding"):
            images = self.decode(torch.cat([self._shown(one) for one in kept]))
            early = self.decode(torch.cat([one.early for one in kept])) if self.early else None
            self.ledger.decodes += len(jobs) * (2 if self.early else 1)
        for job, one, image in zip(jobs, kept, images):
            if job.rollout.finished:
                one.image, one.early = image[None].clone(), None
        with self.ledger.clock("verifying"):
            scores = self.judge(images, [job.id for job in jobs], early)
        return {job.id: tuple(row) for job, row in zip(jobs, scores)}

    def _shown(self, kept: Kept) -> torch.Tensor:
        """The clean latent to look at: the sample, or the x-prediction of one that still has noise in it."""
        if kept.latent is None and kept.x0 is None:
            raise ValueError(
                f'The sampler {self.solver.name} reports no predictions, so its unfinished samples cannot be shown. Use the preview "{EXTRA}", or another sampler.'
            )
        if kept.latent is None:
            return self.guider.model_patcher.model.process_latent_out(kept.x0)
        return kept.latent if float(self.schedule.sigmas[-1]) == 0 else kept.denoised


def _inpaint_noise(x, seed):
    """The noise that stock KSAMPLER puts under the mask for `ddim`."""
    noise = torch.randn(x.shape, generator=torch.manual_seed(seed + 1), device="cpu")
    return noise.to(x)


def replay(evaluator: Evaluator, rollouts: Sequence[Rollout]) -> int:
    """Run a lineage (`Recipe.pieces`) without any verifier, in an evaluator that ran nothing else. Returns the id of its finished outcome."""
    for i, rollout in enumerate(rollouts):
        list(evaluator.evaluate([(i, rollout)]))
        evaluator.keep([i])
    return len(rollouts) - 1
