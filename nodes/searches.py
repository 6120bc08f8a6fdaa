"""The searches, as settings that flow over a socket."""

from __future__ import annotations

from comfy_api.latest import io

from ..compat import COMFYUI, advanced, schema
from ..search.algorithms import RandomSearch, Replay, SearchOverPaths, ZeroOrder
from ..search.algorithms.paths import AUTO, HALF, PRESETS
from ..search.algorithms.zero_order import PIVOTS
from ..search.rollout import PREVIEWS
from .names import METHODS, NOISE
from .sockets import SearchType, centre_of, decoder_input, index_input, recipes_at

CUSTOM = "custom"


class NoiseSearchRandom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchRandom",
            display_name="Search: Random Seeds",
            category=METHODS,
            search_aliases=["try many seeds", "seed lottery", "Random Search"],
            description="Tries one seed after the other and keeps the best. The safe choice: every candidate is new, and the winner's seed works in any stock sampler.",
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
            display_name="Search: Make One Image Better (Zero-Order)",
            category=METHODS,
            search_aliases=[
                "improve image",
                "refine image",
                "hill climbing",
                "local search",
                "Zero-Order Search",
            ],
            description="Starts from one image and finds better ones like it: tries noises close to the best one, moves to the best of them, and repeats.",
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
                    tooltip="Cosine between a noise and its neighbours. Higher = smaller changes. 0.95 is what the paper's first author uses. With few candidates use a lower value.",
                ),
                io.Combo.Input(
                    "pivot",
                    options=list(PIVOTS),
                    default=PIVOTS[0],
                    tooltip="keep best: never leave the best noise for a worse one. always move: exactly as in the paper. restart when stuck: a new noise when no neighbour is better.",
                ),
                advanced(
                    io.Int.Input(
                        "chains",
                        default=ZeroOrder.chains,
                        min=1,
                        max=64,
                        optional=True,
                        tooltip="How many searches run side by side, each from its own noise. They share batches, which is faster on a GPU.",
                    )
                ),
                advanced(
                    io.String.Input(
                        "around",
                        default="",
                        optional=True,
                        tooltip="The recipe of an image to begin at, in place of the seed: the search looks for better ones like it. Empty = the seed's. \"More like this\" in the search node's panel fills it in.",
                    )
                ),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, neighbours, similarity, pivot, chains=ZeroOrder.chains, around=""):
        centre = centre_of(around)
        begins = (centre.root, centre.index) if centre else ()
        return io.NodeOutput(ZeroOrder(neighbours, similarity, pivot, chains, *begins))


class NoiseSearchPaths(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        local = PRESETS["local"]
        return schema(
            node_id="NoiseSearchPaths",
            display_name="Search: Branch Midway (Paths)",
            category=METHODS,
            search_aliases=["branching", "particle", "beam search", "Search over Paths"],
            description="Branches midway: puts fresh noise into half-denoised images, lets the judge see where each one is heading, and continues the best.",
            inputs=[
                io.Int.Input(
                    "paths",
                    default=SearchOverPaths.paths,
                    min=0,
                    max=64,
                    tooltip="Images kept from round to round (the paper's N). 0 = by the budget: 1 for small ones, 2 or 4 for large ones.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Noises tried per path and round (the paper's M). 0 = as many as candidates or budget_nfe allow.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, CUSTOM],
                    default="local",
                    tooltip="local: our measured setting. paper: start 0.12, forward 0.78, backward 0.81, probably the paper's values (it prints none). custom: the three values below.",
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
                    tooltip="What the judge sees of an unfinished image. extra evaluation: one more NFE, sharper (as in the paper). free: the sampler's last prediction.",
                ),
                io.Int.Input(
                    "seeds",
                    default=SearchOverPaths.seeds,
                    min=AUTO,
                    max=10000,
                    optional=True,
                    tooltip="Starting points that the judge looks at first; the best of them become the paths. 0 = the paths start unseen (as in the paper). -1 = as many as a third of the budget pays for.",
                ),
                io.Float.Input(
                    "finish",
                    default=SearchOverPaths.finish,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    optional=True,
                    tooltip="Share of noise (flow time) at which the rounds end. From there the best are sampled with your schedule's own steps, so that rounds may have few. 0 = the last round goes to the end (as in the paper).",
                ),
                decoder_input(optional=True),
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
    def execute(
        cls,
        paths,
        width,
        preset,
        start,
        forward,
        backward,
        steps_per_round,
        preview,
        seeds=SearchOverPaths.seeds,
        finish=SearchOverPaths.finish,
        decoder=SearchOverPaths.decoder,
    ):
        times = (start, forward, backward) if preset == CUSTOM else PRESETS[preset]
        return io.NodeOutput(
            SearchOverPaths(paths, width, *times, steps_per_round, preview, seeds, finish, decoder)
        )


class NoiseSearchReplay(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReplay",
            display_name="Remake Winner (from Recipe)",
            category=NOISE,
            search_aliases=["reproduce image", "same image again", "Replay Recipe"],
            description="Makes a winner again from its recipe, without a judge. Connect it where the search was, with the same model, prompt and settings.",
            inputs=[
                io.String.Input(
                    "recipe", multiline=True, default="", tooltip="The recipe output of a search, as it is."
                ),
                index_input(),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, recipe, index=-1):
        return io.NodeOutput(Replay(tuple(recipes_at(recipe, index)), COMFYUI))


NODES = [NoiseSearchRandom, NoiseSearchZeroOrder, NoiseSearchPaths, NoiseSearchReplay]
