"""The node that makes one verifier of several."""

from comfy_api.latest import io

from ..compat import schema
from ..search.selection import METHODS
from ..untrusted import choice
from ..verifiers.ensemble import Ensemble
from .names import JUDGES
from .sockets import VerifierType

MEMBERS = 8


class NoiseSearchVerifierEnsemble(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = range(1, MEMBERS + 1)
        return schema(
            node_id="NoiseSearchVerifierEnsemble",
            display_name="Combine Judges",
            category=JUDGES,
            description="Several judges as one. Harder to fool than any of them alone.",
            search_aliases=["combine verifiers", "average rank", "Verifier Ensemble"],
            inputs=[
                *(
                    VerifierType.Input(
                        f"verifier_{i}", optional=True, tooltip="A judge. You can leave sockets empty."
                    )
                    for i in numbers
                ),
                VerifierType.Input(
                    "held_out",
                    optional=True,
                    tooltip="A judge that is reported but never chooses. If its score falls while the winner's rises, the search is fooling the other judges.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="average rank: as in the paper, for judges of any scale. z-score: also counts by how much an image is better. weighted sum: for judges on the same scale.",
                ),
                io.Boolean.Input(
                    "sanity_gate",
                    default=True,
                    tooltip="Rank empty, burnt-out and broken images last without asking a judge. Turn this off for art that is meant to look like that.",
                ),
                *(_weight(i) for i in numbers),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, method, sanity_gate, held_out=None, **inputs):
        choice(method, METHODS, "way to combine verifiers")
        connected = [i for i in range(1, MEMBERS + 1) if inputs.get(f"verifier_{i}") is not None]
        if not connected:
            raise ValueError("Combine Judges has no verifier connected: connect at least one Load Judge.")
        weights = tuple(inputs.get(f"weight_{i}", 1.0) for i in connected)
        return io.NodeOutput(
            Ensemble(
                tuple(inputs[f"verifier_{i}"] for i in connected), weights, method, held_out, sanity_gate
            )
        )


def _weight(number):
    tooltip = f"How much verifier_{number} counts. 0: reported only."
    return io.Float.Input(
        f"weight_{number}", optional=True, default=1.0, min=0.0, max=100.0, step=0.05, tooltip=tooltip
    )


NODES = [NoiseSearchVerifierEnsemble]
