"""The nodes that search."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..compat import schema
from ..sampling.stock import cfg_guider, ksampler_sigmas
from ..session.noises import seed_of
from .searching import EVERYWHERE, UNCONNECTED, Searching, drafts_fit, has_judge, needed, stops_of, wishes_of
from .names import SAMPLERS
from .sockets import (
    JUDGE,
    VerifierType,
    ksampler_inputs,
    later_inputs,
    later_outputs,
    result_outputs,
    wish_inputs,
)


class NoiseSearchKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchKSampler",
            display_name="KSampler (Best of N Search)",
            category=SAMPLERS,
            search_aliases=[
                "best of n",
                "better image",
                "better images",
                "seed search",
                "cherry pick",
                "inference-time scaling",
                "test-time compute",
                "KSampler (Search)",
            ],
            not_idempotent=True,
            has_intermediate_output=True,
            hidden=EVERYWHERE,
            description="A KSampler that makes several images, lets a judge score them, and keeps the best one. It also gives the winner's seed and what the search cost.",
            inputs=[
                *ksampler_inputs(),
                io.Vae.Input("vae", tooltip="Decodes the candidates so that the judge can see them."),
                VerifierType.Input(
                    "verifier",
                    optional=True,
                    lazy=True,
                    tooltip="Who judges the images: Load Judge or Combine Judges. Only Remake Winner and a single candidate do without.",
                ),
                *wish_inputs(),
                *later_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The winner's latent."),
                *result_outputs(),
                *later_outputs(),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        candidates=None,
        budget_nfe=None,
        search=UNCONNECTED,
        verifier=UNCONNECTED,
        pick="",
        draft_steps=None,
        steps=None,
    ):
        judged = has_judge(candidates, budget_nfe, search, verifier, pick)
        return drafts_fit(draft_steps, steps) if judged is True and not pick else judged

    @classmethod
    def check_lazy_status(cls, pick="", **inputs):
        return needed(pick, inputs)

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        return stops_of(inputs)

    @classmethod
    def execute(
        cls,
        model,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        latent_image,
        denoise,
        vae,
        verifier=None,
        prompt="",
        search=None,
        choose=JUDGE,
        pick="",
        **wished,
    ):
        guider = cfg_guider(model, positive, negative, cfg)
        sigmas = ksampler_sigmas(model, steps, sampler_name, scheduler, denoise)
        return Searching(cls, "positive", choose, pick).node_output(
            guider,
            comfy.samplers.sampler_object(sampler_name),
            sigmas,
            latent_image,
            seed,
            search,
            verifier,
            vae,
            prompt,
            wishes_of(**wished),
            shorter=lambda few: ksampler_sigmas(model, few, sampler_name, scheduler, denoise),
        )


class NoiseSearchSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchSampler",
            display_name="SamplerCustomAdvanced (Best of N Search)",
            category=SAMPLERS,
            search_aliases=[
                "best of n custom sampler",
                "seed search for guiders",
                "inference-time scaling",
                "Search Sampler",
            ],
            not_idempotent=True,
            has_intermediate_output=True,
            hidden=EVERYWHERE,
            description="SamplerCustomAdvanced that makes several images and keeps the best one: any guider, any sampler, any sigmas.",
            inputs=[
                io.Noise.Input("noise", tooltip="RandomNoise. Its seed is the first candidate."),
                io.Guider.Input("guider", tooltip="Any guider: CFGGuider, BasicGuider, DualCFGGuider, ..."),
                io.Sampler.Input("sampler", tooltip="Any sampler except dpm_adaptive."),
                io.Sigmas.Input("sigmas", tooltip="The noise levels every candidate runs through."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="The latent to denoise. Each sample of a batch gets a search of its own; noise masks work.",
                ),
                io.Vae.Input("vae", tooltip="Decodes the candidates so that the judge can see them."),
                VerifierType.Input(
                    "verifier",
                    optional=True,
                    lazy=True,
                    tooltip="Who judges the images: Load Judge or Combine Judges. Only Remake Winner and a single candidate do without.",
                ),
                *wish_inputs(),
                io.Sigmas.Input(
                    "final_sigmas",
                    optional=True,
                    tooltip="Search with few steps, then render the winner's noise once more with these sigmas. Part of the budget.",
                ),
                *later_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="output", tooltip="The winner's latent, as SamplerCustomAdvanced gives it."
                ),
                io.Latent.Output(display_name="denoised_output", tooltip="Its last clean prediction."),
                *result_outputs(),
                *later_outputs(),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        candidates=None,
        budget_nfe=None,
        search=UNCONNECTED,
        verifier=UNCONNECTED,
        pick="",
        draft_steps=None,
    ):
        judged = has_judge(candidates, budget_nfe, search, verifier, pick)
        return drafts_fit(draft_steps) if judged is True and not pick else judged

    @classmethod
    def check_lazy_status(cls, pick="", **inputs):
        return needed(pick, inputs)

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        return stops_of(inputs)

    @classmethod
    def execute(
        cls,
        noise,
        guider,
        sampler,
        sigmas,
        latent_image,
        vae,
        verifier=None,
        prompt="",
        search=None,
        final_sigmas=None,
        choose=JUDGE,
        pick="",
        **wished,
    ):
        return Searching(cls, "guider", choose, pick).node_output(
            guider,
            sampler,
            sigmas,
            latent_image,
            seed_of(noise, latent_image),
            search,
            verifier,
            vae,
            prompt,
            wishes_of(**wished),
            final_sigmas,
            denoised=True,
        )


NODES = [NoiseSearchKSampler, NoiseSearchSampler]
