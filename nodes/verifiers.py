"""Nodes that make verifiers: what a search is judged by."""
from dataclasses import replace

from comfy_api.latest import io

from ..compat import advanced, schema
from ..verifiers.base import ImageVerifier
from ..verifiers.catalogue import SCORERS, all_files, architectures, load_verifier
from ..verifiers.ensemble import METHODS, Ensemble
from ..verifiers.sanity import Gated

VerifierType = io.Custom("NOISE_SEARCH_VERIFIER")
MEMBERS = 8


class NoiseSearchLoadVerifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadVerifier",
            display_name="Load Verifier",
            category="NoiseSearch/verifiers",
            description="A judge of images, for a search to look up to.",
            search_aliases=["scorer", "reward model", "aesthetic", "clip score"],
            inputs=[
                io.Combo.Input("scorer", options=list(SCORERS), tooltip="What kind of judge. The help page says what each sees and needs."),
                io.Combo.Input(
                    "file",
                    options=all_files(),
                    default="auto",
                    tooltip="Its weights, from models/verifiers or models/clip_verifiers. auto: the published file; if missing, it is named.",
                ),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu"],
                    default="auto",
                    tooltip="auto: the GPU unless memory is short. cpu: leaves the GPU to the diffusion model; slower.",
                ),
                advanced(
                    io.Combo.Input(
                        "architecture",
                        options=architectures(),
                        default="auto",
                        tooltip="For CLIP files: which CLIP it is. auto: read from the file's name, or from the folder's open_clip_config.json.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "frames",
                        default=ImageVerifier.frames,
                        min=1,
                        max=256,
                        tooltip="Videos: how many frames are judged, evenly spread over the clip.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "over_frames",
                        options=["mean", "min"],
                        default="mean",
                        tooltip="Videos: the score is the mean over the frames, or the score of the worst frame.",
                    )
                ),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, scorer, file, device, architecture="auto", frames=ImageVerifier.frames, over_frames="mean"):
        return io.NodeOutput(load_verifier(scorer, file, device, architecture, frames, over_frames))


def _weight(number):
    tooltip = f"How much verifier_{number} counts. 0: reported only."
    return io.Float.Input(f"weight_{number}", default=1.0, min=0.0, max=100.0, step=0.05, tooltip=tooltip)


class NoiseSearchVerifierEnsemble(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = range(1, MEMBERS + 1)
        return schema(
            node_id="NoiseSearchVerifierEnsemble",
            display_name="Verifier Ensemble",
            category="NoiseSearch/verifiers",
            description="Several judges as one. Harder to fool than any of them alone.",
            search_aliases=["combine verifiers", "average rank"],
            inputs=[
                *(VerifierType.Input(f"verifier_{i}", optional=True, tooltip="A judge. Sockets may be left empty.") for i in numbers),
                VerifierType.Input(
                    "held_out",
                    optional=True,
                    tooltip="A judge that is reported and never chooses. If it falls while the score rises, the search is fooling the others.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="average rank: the paper's, any scale. z-score: keeps how much better. weighted sum: for judges on one scale.",
                ),
                io.Boolean.Input(
                    "sanity_gate",
                    default=True,
                    tooltip="Rank black, flat, blown-out and broken images last, whatever the judges say. Off for art that is meant so.",
                ),
                *(advanced(_weight(i)) for i in numbers),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, method, sanity_gate, held_out=None, **inputs):
        connected = [i for i in range(1, MEMBERS + 1) if inputs.get(f"verifier_{i}") is not None]
        if not connected:
            raise ValueError("Verifier Ensemble has no verifier connected: connect at least one Load Verifier.")
        weights = tuple(inputs.get(f"weight_{i}", 1.0) for i in connected)
        ensemble = Ensemble(tuple(inputs[f"verifier_{i}"] for i in connected), weights, method, held_out)
        return io.NodeOutput(replace(ensemble, members=tuple(map(Gated, ensemble.members))) if sanity_gate else ensemble)


NODES = [NoiseSearchLoadVerifier, NoiseSearchVerifierEnsemble]
