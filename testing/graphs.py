"""A stock run and its search twin on the closed-form model, built the way the nodes build them."""

from dataclasses import dataclass

import comfy.sample
import comfy.samplers
import torch
from closed_form import PixelVAE, TargetVerifier, cond, make_model, one_hot, uncond
from noisesearch.session.run import Wishes, search_images
from noisesearch.sampling.evaluator import Evaluator
from noisesearch.sampling.ledger import Ledger
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.slicing import guider_of, samples_of
from noisesearch.sampling.schedule import Schedule
from noisesearch.sampling.setup import Looks, Setup
from noisesearch.sampling.solvers import Solver

STEPS = 6


def scheduler_for(family):
    """EDM starts at sigma 80: few steps of `simple` would overshoot."""
    return "karras" if family == "EDM" else "simple"


def some_latent(batch=1, shape=(4, 8, 8), seed=5):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))


def half_mask(size=64):
    mask = torch.zeros(1, size, size)
    mask[:, :, : size // 2] = 1
    return mask


@dataclass
class Graph:
    """A model with all that a sampler node is given; `latent` is a LATENT dict."""

    model: object
    positive: list
    negative: list
    latent: dict
    sampler_name: str = "euler"
    scheduler: str = "simple"
    steps: int = STEPS
    cfg: float = 4.0
    denoise: float = 1.0
    own_sampler: object = None

    @classmethod
    def mixture(cls, family="CONST", positive=None, latent=None, dims=2, **settings):
        """dims: 3 for videos, whose latents are [B, 4, 3, 8, 8]."""
        latent = latent or {"samples": torch.zeros(1, 4, 8, 8)}
        return cls(
            make_model(family, dims=dims),
            positive or cond(one_hot(2)),
            uncond(),
            latent,
            scheduler=scheduler_for(family),
            **settings,
        )

    @property
    def rows_per_nfe(self):
        """Network rows of one evaluation."""
        return 1 if self.cfg == 1.0 else 2

    @property
    def sampler(self):
        return self.own_sampler or comfy.samplers.sampler_object(self.sampler_name)

    @property
    def sigmas(self):
        model = self.model
        return comfy.samplers.KSampler(
            model,
            self.steps,
            model.load_device,
            self.sampler_name,
            self.scheduler,
            self.denoise,
            model.model_options,
        ).sigmas

    @property
    def guider(self):
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(self.cfg)
        return guider

    def stock(self, seed):
        """The stock KSampler's samples for this seed."""
        samples = comfy.sample.fix_empty_latent_channels(self.model, self.latent["samples"])
        noise = comfy.sample.prepare_noise(samples, seed, self.latent.get("batch_index"))
        return comfy.sample.sample(
            self.model,
            noise,
            self.steps,
            self.cfg,
            self.sampler_name,
            self.scheduler,
            self.positive,
            self.negative,
            samples,
            denoise=self.denoise,
            noise_mask=self.latent.get("noise_mask"),
            seed=seed,
            disable_pbar=True,
        )

    def evaluator(self, rows=3, index=0, schedule=None, guider=None, **looks):
        schedule = schedule or Schedule(self.sigmas, Levels(self.model.get_model_object("model_sampling")))
        sample = samples_of(self.latent, self.model)[index]
        setup = Setup(guider_of(guider or self.guider, index), Solver(self.sampler), schedule, sample)
        return Evaluator(setup, Ledger(), Looks(**looks), rows)

    def search(
        self,
        settings=None,
        seed=11,
        verifier=None,
        vae=None,
        prompt="",
        final_sigmas=None,
        guider=None,
        sigmas=None,
        stopper=None,
        origin=None,
        shorter=None,
        panel=None,
        **wishes,
    ):
        vae = vae or PixelVAE()
        verifier = verifier or TargetVerifier(vae.decode(some_latent(seed=1))[0])
        sigmas = self.sigmas if sigmas is None else sigmas
        return search_images(
            guider or self.guider,
            self.sampler,
            sigmas,
            self.latent,
            seed,
            settings,
            verifier,
            vae,
            prompt,
            Wishes(**wishes),
            final_sigmas,
            stopper=stopper,
            origin=origin,
            shorter=shorter,
            panel=panel,
        )


def evaluated(evaluator, rollouts, first=0):
    """All outcomes of an evaluator on rollouts."""
    return [outcome for wave in evaluator.evaluate(list(enumerate(rollouts, first))) for outcome in wave]
