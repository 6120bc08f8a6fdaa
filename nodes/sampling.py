"""Samplers with something more: counting what they cost."""
from __future__ import annotations

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from comfy_api.latest import io

from ..compat import fix_empty_latent, schema
from ..sampling.ledger import Ledger
from .sockets import CATEGORY, MAX_SEED


class NoiseSearchCountNFE(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchCountNFE", display_name="KSampler (Count NFE)", category=f"{CATEGORY}/sampling", search_aliases=["nfe", "network evaluations", "cost"],
            description="The stock KSampler, and how many network evaluations it took.",
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the input latent."),
                io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate="fixed", tooltip="The random seed used for creating the noise."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Sampling steps."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Classifier-free guidance scale."),
                io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS), tooltip="The sampling algorithm."),
                io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS), tooltip="How noise is removed over the steps."),
                io.Conditioning.Input("positive", tooltip="What to include in the image."),
                io.Conditioning.Input("negative", tooltip="What to keep out of the image."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="How much is denoised; lower keeps the structure of the input."),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent, as KSampler gives it."),
                io.Int.Output(display_name="nfe", tooltip="Guided evaluations, summed over the samples of the batch. Guidance counts once, as in the paper."),
                io.Int.Output(display_name="network_rows", tooltip="Samples that went through the network: guidance, areas and context windows each count."),
            ])

    @classmethod
    def execute(cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise):
        latent = fix_empty_latent(model, latent_image)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        ledger = Ledger()
        sigmas = comfy.samplers.KSampler(model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options).sigmas
        noise = comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))
        samples = ledger.watch(guider).sample(
            noise, latent["samples"], comfy.samplers.sampler_object(sampler_name), sigmas, denoise_mask=latent.get("noise_mask"),
            callback=latent_preview.prepare_callback(model, steps), disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed)
        return io.NodeOutput({**latent, "samples": samples.to(comfy.model_management.intermediate_device())}, ledger.nfe, ledger.network_rows)


NODES = [NoiseSearchCountNFE]
