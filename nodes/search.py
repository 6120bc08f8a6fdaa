"""The nodes that search, and the settings they take."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..compat import COMFYUI, advanced, schema
from ..sampling.stock import cfg_guider, ksampler_sigmas
from ..search.algorithms import RandomSearch, Replay, SearchOverPaths, ZeroOrder
from ..search.algorithms.paths import HALF, PRESETS
from ..search.algorithms.zero_order import PIVOTS
from ..search.rollout import PREVIEWS, recipes_from_json, recipes_to_json
from ..verifiers.ensemble import as_ensemble
from ..session.noises import seed_of
from .prompt_text import find_prompt
from ..session.run import Found, Wishes, search_images
from .sockets import (
    ALIASES,
    CATEGORY,
    Report,
    SearchType,
    VerifierType,
    ksampler_inputs,
    later_inputs,
    result_outputs,
    wish_inputs,
)

CUSTOM = "custom"
EVERYWHERE = [io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.dynprompt]
UNCONNECTED = object()  # a socket that nothing is connected to; None: what is connected is not known yet


class NoiseSearchRandom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchRandom",
            display_name="Random Search",
            category=f"{CATEGORY}/searches",
            search_aliases=ALIASES,
            description="Best of so many seeds. The safe choice: every candidate is new, and the winner's seed works in any stock sampler.",
            inputs=[],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(RandomSearch())


class NoiseSearchZeroOrder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchZeroOrder",
            display_name="Zero-Order Search",
            category=f"{CATEGORY}/searches",
            search_aliases=[*ALIASES, "hill climbing", "local search"],
            description="Climb from a first image to better ones like it: look at neighbours of the best noise, move to the best of them, repeat.",
            inputs=[
                io.Int.Input(
                    "neighbours",
                    default=ZeroOrder.neighbours,
                    min=1,
                    max=256,
                    tooltip="Candidates around the best noise in each round (the paper's N).",
                ),
                io.Float.Input(
                    "similarity",
                    default=ZeroOrder.cosine,
                    min=-0.99,
                    max=0.999,
                    step=0.01,
                    round=0.001,
                    tooltip="Cosine between a noise and its neighbours. Higher = smaller steps. 0.95 is the paper's first author's; small budgets want larger steps.",
                ),
                io.Combo.Input(
                    "pivot",
                    options=list(PIVOTS),
                    default=PIVOTS[0],
                    tooltip="keep best: never leave the best noise for a worse one. always move: the paper to the letter. restart when stuck: a new noise when no neighbour is better.",
                ),
                advanced(
                    io.Int.Input(
                        "chains",
                        default=ZeroOrder.chains,
                        min=1,
                        max=64,
                        optional=True,
                        tooltip="How many climb side by side, each from a noise of its own. They share batches, which is faster on a GPU.",
                    )
                ),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, neighbours, similarity, pivot, chains=ZeroOrder.chains):
        return io.NodeOutput(ZeroOrder(neighbours, similarity, pivot, chains))


class NoiseSearchPaths(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        local = PRESETS["local"]
        return schema(
            node_id="NoiseSearchPaths",
            display_name="Search over Paths",
            category=f"{CATEGORY}/searches",
            search_aliases=[*ALIASES, "particle", "branching"],
            description="Branch half-way: put fresh noise into half-denoised images, let the verifier see where each is heading, go on with the best.",
            inputs=[
                io.Int.Input(
                    "paths",
                    default=SearchOverPaths.paths,
                    min=1,
                    max=64,
                    tooltip="Images kept from round to round (the paper's N).",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Noises tried per path and round (the paper's M). 0 = as many as candidates or budget_nfe pay for.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, CUSTOM],
                    default="local",
                    tooltip="local: our measured setting. paper: start 0.12, forward 0.78, backward 0.81, probably the paper's (it prints none). custom: the three values below.",
                ),
                io.Float.Input(
                    "start",
                    default=local[0],
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    tooltip="custom: share of noise (flow time) at which the search begins.",
                ),
                io.Float.Input(
                    "forward",
                    default=local[1],
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    tooltip="custom: how much noise each round puts back, in flow time.",
                ),
                io.Float.Input(
                    "backward",
                    default=local[2],
                    min=0.02,
                    max=1.0,
                    step=0.01,
                    tooltip="custom: how much each round then removes. Must be larger than forward.",
                ),
                io.Int.Input(
                    "steps_per_round",
                    default=SearchOverPaths.steps,
                    min=HALF,
                    max=1000,
                    tooltip="Sampling steps in each round (the paper's L). -1 = half of those your schedule has in between. 0 = all of those.",
                ),
                io.Combo.Input(
                    "preview",
                    options=list(PREVIEWS),
                    default=PREVIEWS[0],
                    tooltip="What the verifier sees of an unfinished image. extra evaluation: one more NFE, sharper (the paper). free: what the sampler predicted last.",
                ),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def validate_inputs(cls, preset=None, forward=None, backward=None):
        """Before anything is queued; linked values are not known yet."""
        if preset == CUSTOM and None not in (forward, backward) and backward <= forward:
            return f"A round must go further down than up, or the search never ends: backward ({backward}) must be larger than forward ({forward})."
        return True

    @classmethod
    def execute(cls, paths, width, preset, start, forward, backward, steps_per_round, preview):
        times = (start, forward, backward) if preset == CUSTOM else PRESETS[preset]
        return io.NodeOutput(SearchOverPaths(paths, width, *times, steps_per_round, preview))


class NoiseSearchReplay(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReplay",
            display_name="Replay Recipe",
            category=f"{CATEGORY}/searches",
            search_aliases=ALIASES,
            description="Makes a found image again from its recipe, without a verifier. Connect it where the search was, with the same model, prompt and settings.",
            inputs=[
                io.String.Input(
                    "recipe", multiline=True, default="", tooltip="The recipe output of a search, unchanged."
                )
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, recipe):
        return io.NodeOutput(Replay(tuple(recipes_from_json(recipe))))


class NoiseSearchKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchKSampler",
            display_name="KSampler (Search)",
            category=CATEGORY,
            search_aliases=ALIASES,
            not_idempotent=True,
            hidden=EVERYWHERE,
            description="A KSampler that tries several noises, lets a verifier judge the images, and hands back the best one, its seed and what it cost.",
            inputs=[
                *ksampler_inputs(),
                io.Vae.Input("vae", tooltip="Decodes candidates, for the verifier to see."),
                VerifierType.Input(
                    "verifier",
                    optional=True,
                    tooltip="Who judges the images: Load Verifier or Verifier Ensemble. Only Replay Recipe and a single candidate do without.",
                ),
                *wish_inputs(),
                *later_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The winner's latent."),
                *result_outputs(),
            ],
        )

    @classmethod
    def validate_inputs(cls, candidates=None, budget_nfe=None, search=UNCONNECTED, verifier=UNCONNECTED):
        return has_judge(candidates, budget_nfe, search, verifier)

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
        candidates,
        keep_top,
        verifier=None,
        prompt="",
        search=None,
        budget_nfe=0,
        stop_at_score=0.0,
        time_limit=0.0,
        batch_size=0,
        exactly_reproducible=True,
    ):
        guider = cfg_guider(model, positive, negative, cfg)
        sigmas = ksampler_sigmas(model, steps, sampler_name, scheduler, denoise)
        wishes = Wishes(
            candidates, keep_top, budget_nfe, stop_at_score, time_limit, batch_size, exactly_reproducible
        )
        found = search_images(
            guider,
            comfy.samplers.sampler_object(sampler_name),
            sigmas,
            latent_image,
            seed,
            search,
            verifier,
            vae,
            prompt_for(cls, verifier, prompt, "positive"),
            wishes,
            node_id=hidden(cls, "unique_id"),
        )
        return io.NodeOutput(found.latent, *outputs_of(found), ui=ui_of(found))


class NoiseSearchSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchSampler",
            display_name="Search Sampler",
            category=CATEGORY,
            search_aliases=ALIASES,
            not_idempotent=True,
            hidden=EVERYWHERE,
            description="SamplerCustomAdvanced that searches: any guider, any sampler, any sigmas.",
            inputs=[
                io.Noise.Input(
                    "noise", tooltip="RandomNoise: its seed starts the search, and is the first candidate."
                ),
                io.Guider.Input("guider", tooltip="Any guider: CFGGuider, BasicGuider, DualCFGGuider, ..."),
                io.Sampler.Input("sampler", tooltip="Any k-diffusion sampler but dpm_adaptive."),
                io.Sigmas.Input("sigmas", tooltip="The noise levels every candidate runs through."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="The latent to denoise. Each sample of a batch gets a search of its own; noise masks work.",
                ),
                io.Vae.Input("vae", tooltip="Decodes candidates, for the verifier to see."),
                VerifierType.Input(
                    "verifier",
                    optional=True,
                    tooltip="Who judges the images: Load Verifier or Verifier Ensemble. Only Replay Recipe and a single candidate do without.",
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
            ],
        )

    @classmethod
    def validate_inputs(cls, candidates=None, budget_nfe=None, search=UNCONNECTED, verifier=UNCONNECTED):
        return has_judge(candidates, budget_nfe, search, verifier)

    @classmethod
    def execute(
        cls,
        noise,
        guider,
        sampler,
        sigmas,
        latent_image,
        vae,
        candidates,
        keep_top,
        verifier=None,
        prompt="",
        search=None,
        budget_nfe=0,
        stop_at_score=0.0,
        time_limit=0.0,
        batch_size=0,
        exactly_reproducible=True,
        final_sigmas=None,
    ):
        wishes = Wishes(
            candidates, keep_top, budget_nfe, stop_at_score, time_limit, batch_size, exactly_reproducible
        )
        found = search_images(
            guider,
            sampler,
            sigmas,
            latent_image,
            seed_of(noise, latent_image),
            search,
            verifier,
            vae,
            prompt_for(cls, verifier, prompt, "guider"),
            wishes,
            final_sigmas,
            hidden(cls, "unique_id"),
        )
        return io.NodeOutput(found.latent, found.denoised, *outputs_of(found), ui=ui_of(found))


def has_judge(candidates, budget_nfe, search, verifier):
    """True, or what to say before the graph is queued. candidates, budget_nfe: None where linked."""
    if verifier is not UNCONNECTED or search is not UNCONNECTED or candidates is None:
        return True
    if candidates == 1 and not budget_nfe:  # the plain sampler: nothing is compared
        return True
    return "A search needs a verifier, but none is connected, or what is connected is muted: connect Load Verifier. (candidates = 1 samples without one.)"


def hidden(cls, name: str):
    """A hidden input; None where the node is called without ComfyUI's executor."""
    return getattr(cls.hidden, name, None)


def graph_of(cls) -> dict:
    """The graph as it runs, with the nodes that nodes have put in their own place (loops and the like)."""
    running = hidden(cls, "dynprompt")
    if running is None:
        return hidden(cls, "prompt") or {}
    return {node_id: running.get_node(node_id) for node_id in running.all_node_ids()}


def prompt_for(cls, verifier, prompt: str, entrance: str) -> str:
    """What the user wrote, or the text behind the conditioning where the verifier needs one."""
    if (
        prompt.strip()
        or verifier is None
        or not any(getattr(v, "needs_prompt", False) for v in as_ensemble(verifier).everyone)
    ):
        return prompt.strip()
    return find_prompt(graph_of(cls), hidden(cls, "unique_id"), entrance)


def outputs_of(found: Found):
    """In the order of `result_outputs`."""
    return (
        found.images,
        found.top_images,
        found.top_latents,
        found.seed,
        found.scores[0],
        found.noise(),
        recipes_to_json(found.recipes, COMFYUI),
        Report(found.report),
    )


def ui_of(found: Found) -> dict:
    return {"noise_search": [found.report]}


NODES = [
    NoiseSearchKSampler,
    NoiseSearchSampler,
    NoiseSearchRandom,
    NoiseSearchZeroOrder,
    NoiseSearchPaths,
    NoiseSearchReplay,
]
