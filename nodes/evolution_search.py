"""The search for many evaluations of few steps."""

from __future__ import annotations

from comfy_api.latest import io

from ..compat import advanced, schema
from ..search.algorithms import Evolution
from .names import METHODS
from .sockets import SearchType


class NoiseSearchEvolution(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchEvolution",
            display_name="Search: Evolve Noises (Many Evaluations)",
            category=METHODS,
            search_aliases=["evolutionary search", "genetic algorithm", "trust region", "CMA-ES"],
            description="Begins with random seeds and looks for better images around the best of them. For few-step models or drafts, and 100 evaluations or more.",
            inputs=[
                io.Int.Input(
                    "first",
                    default=Evolution.first,
                    min=1,
                    max=4096,
                    tooltip="How many random seeds it begins with. A search of no more candidates than that is Search: Random Seeds.",
                ),
                io.Int.Input(
                    "regions",
                    default=Evolution.regions,
                    min=1,
                    max=256,
                    tooltip="Around how many of the best of them it goes on looking. They share batches.",
                ),
                io.Int.Input(
                    "children",
                    default=Evolution.children,
                    min=1,
                    max=256,
                    tooltip="Noises tried around each of them in a round.",
                ),
                advanced(
                    io.Float.Input(
                        "similarity",
                        default=Evolution.cosine,
                        min=0.37,
                        max=0.98,
                        step=0.005,
                        round=0.001,
                        tooltip="Cosine between a noise and its first children. After a success they are tried further away, after a failure nearer.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "refined",
                        default=Evolution.refined,
                        min=0,
                        max=64,
                        tooltip="How often in a round noise goes back into the best finished image, from which it is made anew. Not with draft_steps. 0 = never.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "middle",
                        default=Evolution.middle,
                        min=0.01,
                        max=0.99,
                        step=0.01,
                        tooltip="How much noise that is, in flow time: 1 = only noise, 0 = none.",
                    )
                ),
            ],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls, first, regions, children, similarity, refined, middle):
        return io.NodeOutput(Evolution(first, regions, children, similarity, refined, middle))


NODES = [NoiseSearchEvolution]
