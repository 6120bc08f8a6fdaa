"""Searches that judge unfinished images, and prompts varied for any search, as settings that flow over a socket."""

from __future__ import annotations

from comfy_api.latest import io

from ..compat import advanced, schema
from ..search.algorithms import ParticleSearch, RandomSearch, SeedPruning, Varied
from ..search.algorithms.base import as_search
from ..search.algorithms.particles import POTENTIALS
from ..search.algorithms.resampling import RESAMPLINGS
from ..search.rollout import EXTRA, FREE, PREVIEWS
from .names import METHODS
from .sockets import SearchType, decoder_input


def preview_inputs(first: str):
    """How unfinished images are shown to the verifier. first: the preview to begin with."""
    return [
        advanced(
            io.Combo.Input(
                "preview",
                options=[first, *(one for one in PREVIEWS if one != first)],
                default=first,
                tooltip="What the verifier sees of an unfinished image. free: what the sampler predicted last. extra evaluation: one more NFE, sharper; an image that goes on is spared it.",
            )
        ),
        decoder_input(" The report says how well they foresaw the final order."),
    ]


class NoiseSearchPruneSeeds(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchPruneSeeds",
            display_name="Search: Prune Seeds",
            category=METHODS,
            search_aliases=["PSP", "early stopping", "successive halving"],
            description="Begin many seeds, look at them on the way, and finish only the promising ones. Nearly twice as many seeds for the same evaluations.",
            inputs=[
                io.Int.Input(
                    "seeds",
                    default=SeedPruning.seeds,
                    min=0,
                    max=20000,
                    tooltip="How many seeds begin. 0 = as many as candidates or budget_nfe pay for, which is 1.75 times as many as random search has.",
                ),
                io.Float.Input(
                    "first_cut",
                    default=SeedPruning.first,
                    min=0.01,
                    max=0.98,
                    step=0.005,
                    round=0.001,
                    tooltip="After which share of the steps is looked for the first time. Earlier is cheaper, and previews say less.",
                ),
                io.Float.Input(
                    "second_cut",
                    default=SeedPruning.second,
                    min=0.02,
                    max=0.99,
                    step=0.005,
                    round=0.001,
                    tooltip="After which share of the steps is looked again. Must be larger than first_cut.",
                ),
                io.Float.Input(
                    "kept_first",
                    default=SeedPruning.after_first,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of all seeds that go on after the first look.",
                ),
                io.Float.Input(
                    "kept_second",
                    default=SeedPruning.after_second,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of all seeds that are finished after the second look. Not more than kept_first.",
                ),
                *preview_inputs(FREE),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def validate_inputs(cls, first_cut=None, second_cut=None, kept_first=None, kept_second=None):
        """Before anything is queued; linked values are not known yet."""
        if None not in (first_cut, second_cut) and second_cut <= first_cut:
            return f"second_cut ({second_cut}) must be larger than first_cut ({first_cut})."
        if None not in (kept_first, kept_second) and kept_second > kept_first:
            return f"kept_second ({kept_second}) cannot be more than kept_first ({kept_first}): nobody comes back."
        return True

    @classmethod
    def execute(cls, seeds, first_cut, second_cut, kept_first, kept_second, preview, decoder):
        return io.NodeOutput(
            SeedPruning(seeds, first_cut, second_cut, kept_first, kept_second, preview, decoder)
        )


class NoiseSearchParticles(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchParticles",
            display_name="Search: Particles (FK Steering)",
            category=METHODS,
            search_aliases=["feynman-kac", "SMC", "sequential monte carlo", "resampling"],
            description="Run images side by side with a stochastic sampler; on the way the better ones get more children, the worse ones none.",
            inputs=[
                io.Int.Input(
                    "particles",
                    default=ParticleSearch.particles,
                    min=0,
                    max=10000,
                    tooltip="How many images run side by side. 0 = as many as candidates or budget_nfe pay for.",
                ),
                io.Int.Input(
                    "looks",
                    default=ParticleSearch.looks,
                    min=1,
                    max=100,
                    tooltip="How often the verifier looks on the way, evenly between 20 % and 80 % of the steps.",
                ),
                io.Float.Input(
                    "strength",
                    default=ParticleSearch.strength,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly better images are preferred: 0 = not at all, 4 = e^4 = 55 times per standard deviation of the scores. It rises to that from look to look.",
                ),
                io.Combo.Input(
                    "potential",
                    options=list(POTENTIALS),
                    default=ParticleSearch.potential,
                    tooltip="What counts at a look. difference: how much better than at the look before. max: the best look so far. sum: all looks so far.",
                ),
                io.Float.Input(
                    "forward",
                    default=ParticleSearch.forward,
                    min=0.0,
                    max=0.9,
                    step=0.01,
                    tooltip="Noise put back before a child goes on, in flow time, so that children of one image differ. 0 = only what the sampler draws itself: take an ancestral sampler or Reinject Noise.",
                ),
                advanced(
                    io.Combo.Input(
                        "resampling",
                        options=list(RESAMPLINGS),
                        default=ParticleSearch.resampling,
                        tooltip="How children are dealt out. Both give each image its share, rounded up or down. ssp: two images at a time. systematic: one random number for all.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "threshold",
                        default=ParticleSearch.threshold,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        tooltip="Children are dealt out anew when the effective number of images falls below this share; until then each goes on, and its weight is kept. 1 = at every look.",
                    )
                ),
                *preview_inputs(EXTRA),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, particles, looks, strength, potential, forward, resampling, threshold, preview, decoder):
        return io.NodeOutput(
            ParticleSearch(
                particles, looks, strength, potential, resampling, threshold, forward, preview, decoder
            )
        )


class NoiseSearchVaryConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchVaryConditioning",
            display_name="Search: Vary Conditioning (Turbo Models)",
            category=METHODS,
            search_aliases=["turbo", "few-step", "diversity", "CADS"],
            description="For models that make nearly the same image of every seed: each candidate also gets a little noise on its prompt. Works with every search.",
            inputs=[
                io.Float.Input(
                    "strength",
                    default=Varied.strength,
                    min=0.01,
                    max=10.0,
                    step=0.01,
                    tooltip="How far each token of the prompt is turned in a random direction, its length kept. 0.1 = 6 degrees, 0.5 = 27, 1 = 45. Too much and images leave the prompt.",
                ),
                io.Float.Input(
                    "first_part",
                    default=Varied.share,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="For which share of the steps the prompt is varied; after that it is as you wrote it. The first step always is.",
                ),
                SearchType.Input(
                    "search",
                    optional=True,
                    tooltip="The search that decides. Not connected: random search, the best of so many candidates.",
                ),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, strength, first_part, search=None):
        inner = RandomSearch() if search is None else as_search(search)
        return io.NodeOutput(Varied(inner, strength, first_part))


NODES = [NoiseSearchPruneSeeds, NoiseSearchParticles, NoiseSearchVaryConditioning]
