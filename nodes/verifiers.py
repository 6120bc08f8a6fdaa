"""Nodes that make verifiers: what a search is judged by."""
from comfy_api.latest import io

from ..compat import advanced, schema
from ..verifiers.aesthetic import Aesthetic
from ..verifiers.base import ImageVerifier
from ..verifiers.catalogue import AESTHETIC_HEAD, AUTO, SCORERS, all_files, head_files, load_verifier, resolve
from ..verifiers.clip_vision import ClipVisionFeatures
from ..verifiers.files import VERIFIERS
from ..verifiers.text_match import TextMatch
from .sockets import VerifierType
from .verifier_inputs import architecture_input, device_input


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
                device_input(),
                architecture_input(),
                advanced(
                    io.Int.Input(
                        "frames",
                        optional=True,
                        default=ImageVerifier.frames,
                        min=1,
                        max=256,
                        tooltip="Videos: how many frames are judged, evenly spread over the clip.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "over_frames",
                        optional=True,
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


class NoiseSearchAestheticFromClipVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchAestheticFromClipVision",
            display_name="Aesthetic Score (CLIP Vision)",
            category="NoiseSearch/verifiers",
            description="LAION's aesthetic score on a stock CLIP Vision model: needs no package beyond ComfyUI.",
            search_aliases=["laion aesthetic"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="OpenAI's CLIP ViT-L/14 (clip-vit-large-patch14), from Load CLIP Vision."),
                io.Combo.Input("file", options=head_files(), default=AUTO, tooltip="The small file on top of it, from models/verifiers. auto: the published one."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, clip_vision, file):
        path = resolve("The aesthetic score", VERIFIERS, file, (AESTHETIC_HEAD,))
        return io.NodeOutput(Aesthetic(ClipVisionFeatures(clip_vision), path))


class NoiseSearchTextMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchTextMatch",
            display_name="Text Match (OCR)",
            category="NoiseSearch/verifiers",
            description="A judge that reads the image: is the text there, letter for letter?",
            search_aliases=["ocr", "text rendering", "typography"],
            inputs=[
                io.String.Input("text", default="", tooltip="The text that should be in the image. Empty: what stands in quotes in the prompt."),
                io.Boolean.Input("exact", default=False, tooltip="Whether upper and lower case and spaces count."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, text, exact):
        return io.NodeOutput(TextMatch(text, exact))


NODES = [NoiseSearchLoadVerifier, NoiseSearchAestheticFromClipVision, NoiseSearchTextMatch]
