"""The nodes that search, and the settings they take."""
from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..compat import schema
from ..search.algorithms import RandomSearch, ZeroOrder
from ..search.algorithms.zero_order import PIVOTS
from ..search.rollout import recipes_to_json
from .noises import seed_of
from .prompt_text import find_prompt
from .run import Found, Wishes, search_images
from .sockets import ALIASES, CATEGORY, MAX_SEED, SearchType, VerifierType, result_outputs, wish_inputs

EVERYWHERE = [io.Hidden.unique_id, io.Hidden.prompt]


class NoiseSearchRandom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchRandom", display_name="Random Search", category=f"{CATEGORY}/searches", search_aliases=ALIASES,
            description="Best of so many seeds. The safe choice: every candidate is new, and the winner's seed works in any stock sampler.",
            inputs=[], outputs=[SearchType.Output(display_name="search")])

    @classmethod
    def execute(cls):
        return io.NodeOutput(RandomSearch())


class NoiseSearchZeroOrder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchZeroOrder", display_name="Zero-Order Search", category=f"{CATEGORY}/searches", search_aliases=[*ALIASES, "hill climbing", "local search"],
            description="Climb from a first image to better ones like it: look at neighbours of the best noise, move to the best of them, repeat.",
            inputs=[
                io.Int.Input("neighbours", default=ZeroOrder.neighbours, min=1, max=256, tooltip="Candidates around the best noise in each round (the paper's N)."),
                io.Float.Input("similarity", default=ZeroOrder.cosine, min=-0.99, max=0.999, step=0.01, round=0.001,
                               tooltip="Cosine between a noise and its neighbours. Higher = smaller steps. 0.95 is the paper's first author's; small budgets want larger steps."),
                io.Combo.Input("pivot", options=list(PIVOTS), default=PIVOTS[0],
                               tooltip="keep best: never leave the best noise for a worse one. always move: the paper to the letter. restart when stuck: a new noise when no neighbour is better."),
            ],
            outputs=[SearchType.Output(display_name="search")])

    @classmethod
    def execute(cls, neighbours, similarity, pivot):
        return io.NodeOutput(ZeroOrder(neighbours, similarity, pivot))


class NoiseSearchKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchKSampler", display_name="KSampler (Search)", category=CATEGORY, search_aliases=ALIASES, not_idempotent=True, hidden=EVERYWHERE,
            description="A KSampler that tries several noises, lets a verifier judge the images, and hands back the best one, its seed and what it cost.",
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the input latent."),
                io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate="fixed", tooltip="Seed of the first candidate; the others follow from it. The first candidate is the image a plain KSampler gives."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Sampling steps of every candidate."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Classifier-free guidance scale."),
                io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS), tooltip="The sampling algorithm. All but dpm_adaptive can search."),
                io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS), tooltip="How noise is removed over the steps."),
                io.Conditioning.Input("positive", tooltip="What to include in the image."),
                io.Conditioning.Input("negative", tooltip="What to keep out of the image."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise. Each sample of a batch gets a search of its own; noise masks work."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="How much is denoised; lower keeps the structure of the input (image to image)."),
                io.Vae.Input("vae", tooltip="Decodes candidates, for the verifier to see."),
                VerifierType.Input("verifier", optional=True, tooltip="Who judges the images: Load Verifier or Verifier Ensemble. Only Replay Recipe does without."),
                *wish_inputs(),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The winner's latent."), *result_outputs()])

    @classmethod
    def execute(cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise, vae, candidates, keep_top, verifier=None,
                prompt="", search=None, budget_nfe=0, stop_at_score=0.0, time_limit=0.0, batch_size=0, exactly_reproducible=True):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        sigmas = comfy.samplers.KSampler(model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options).sigmas
        wishes = Wishes(candidates, keep_top, budget_nfe, stop_at_score, time_limit, batch_size, exactly_reproducible)
        found = search_images(guider, comfy.samplers.sampler_object(sampler_name), sigmas, latent_image, seed, search, verifier, vae,
                              prompt_for(cls, verifier, prompt, "positive"), wishes, node_id=hidden(cls, "unique_id"))
        return io.NodeOutput(found.latent, *outputs_of(found), ui=ui_of(found))


class NoiseSearchSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchSampler", display_name="Search Sampler", category=CATEGORY, search_aliases=ALIASES, not_idempotent=True, hidden=EVERYWHERE,
            description="SamplerCustomAdvanced that searches: any guider, any sampler, any sigmas.",
            inputs=[
                io.Noise.Input("noise", tooltip="RandomNoise: its seed starts the search, and is the first candidate."),
                io.Guider.Input("guider", tooltip="Any guider: CFGGuider, BasicGuider, DualCFGGuider, ..."),
                io.Sampler.Input("sampler", tooltip="Any k-diffusion sampler but dpm_adaptive."),
                io.Sigmas.Input("sigmas", tooltip="The noise levels every candidate runs through."),
                io.Latent.Input("latent_image", tooltip="The latent to denoise. Each sample of a batch gets a search of its own; noise masks work."),
                io.Vae.Input("vae", tooltip="Decodes candidates, for the verifier to see."),
                VerifierType.Input("verifier", optional=True, tooltip="Who judges the images: Load Verifier or Verifier Ensemble. Only Replay Recipe does without."),
                *wish_inputs(),
                io.Sigmas.Input("final_sigmas", optional=True, tooltip="Search with few steps, then render the winner's noise once more with these sigmas. Part of the budget."),
            ],
            outputs=[
                io.Latent.Output(display_name="output", tooltip="The winner's latent, as SamplerCustomAdvanced gives it."),
                io.Latent.Output(display_name="denoised_output", tooltip="Its last clean prediction."),
                *result_outputs()])

    @classmethod
    def execute(cls, noise, guider, sampler, sigmas, latent_image, vae, candidates, keep_top, verifier=None, prompt="", search=None, budget_nfe=0, stop_at_score=0.0,
                time_limit=0.0, batch_size=0, exactly_reproducible=True, final_sigmas=None):
        wishes = Wishes(candidates, keep_top, budget_nfe, stop_at_score, time_limit, batch_size, exactly_reproducible)
        found = search_images(guider, sampler, sigmas, latent_image, seed_of(noise, latent_image), search, verifier, vae,
                              prompt_for(cls, verifier, prompt, "guider"), wishes, final_sigmas, hidden(cls, "unique_id"))
        return io.NodeOutput(found.latent, found.denoised, *outputs_of(found), ui=ui_of(found))


def hidden(cls, name: str):
    """A hidden input; None where the node is called without ComfyUI's executor."""
    return getattr(cls.hidden, name, None)


def prompt_for(cls, verifier, prompt: str, entrance: str) -> str:
    """What the user wrote, or the text behind the conditioning where the verifier needs one."""
    if verifier is None or prompt.strip() or not any(getattr(v, "needs_prompt", True) for v in (*getattr(verifier, "members", (verifier,)), *filter(None, [getattr(verifier, "held_out", None)]))):
        return prompt.strip()
    return find_prompt(hidden(cls, "prompt") or {}, hidden(cls, "unique_id"), entrance)


def outputs_of(found: Found):
    """In the order of `result_outputs`."""
    return found.images, found.top_images, found.top_latents, found.seed, found.scores[0], found.noise(), recipes_to_json(found.recipes), found.report


def ui_of(found: Found) -> dict:
    return {"noise_search": [found.report]}


NODES = [NoiseSearchKSampler, NoiseSearchSampler, NoiseSearchRandom, NoiseSearchZeroOrder]
