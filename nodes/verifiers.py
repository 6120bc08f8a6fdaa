"""Nodes that make verifiers: what a search is judged by."""

from comfy_api.latest import io

from ..compat import schema, told_to_the_page
from ..verifiers.base import ImageVerifier, over_frames_of
from ..verifiers.catalogue import AESTHETIC_HEAD, SCORERS, all_files, head_files, load_verifier, missing_files
from ..verifiers.files import AUTO, VERIFIERS, resolve, stamp
from ..verifiers.judges.aesthetic import Aesthetic
from ..verifiers.judges.text_match import TextMatch
from ..verifiers.networks.clip_vision import ClipVisionFeatures
from .names import JUDGES
from .sockets import VerifierType
from .verifier_inputs import architecture_input, device_input, frames_inputs


class NoiseSearchLoadVerifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadVerifier",
            display_name="Load Judge (ImageReward, CLIP, HPS)",
            category=JUDGES,
            description="Loads a judge (verifier): a network that scores images, so that a search can choose.",
            search_aliases=[
                "judge",
                "image reward",
                "reward model",
                "aesthetic",
                "scorer",
                "clip score",
                "pick score",
                "verifier",
                "Load Verifier",
            ],
            inputs=[
                told_to_the_page(
                    io.Combo.Input(
                        "scorer",
                        options=list(SCORERS),
                        default=next(iter(SCORERS)),
                        tooltip="Which judge. The help page says what each one looks at and which file it needs.",
                    ),
                    "noise_search_missing",
                    missing_files(),
                ),
                io.Combo.Input(
                    "file",
                    options=all_files(),
                    default="auto",
                    tooltip="Its weights, from models/verifiers or models/clip_verifiers. auto: the published file. If it is missing, the error says where to get it.",
                ),
                device_input(),
                architecture_input(),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def fingerprint_inputs(cls, scorer=None, file=AUTO, **others):
        return SCORERS[scorer].stamp(file) if isinstance(scorer, str) and scorer in SCORERS else ""

    @classmethod
    def execute(
        cls,
        scorer,
        file,
        device,
        architecture=AUTO,
        frames=ImageVerifier.frames,
        over_frames=ImageVerifier.over_frames,
    ):
        return io.NodeOutput(load_verifier(scorer, file, device, architecture, frames, over_frames))


class NoiseSearchAestheticFromClipVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchAestheticFromClipVision",
            display_name="Aesthetic Score (CLIP Vision, Image Judge)",
            category=JUDGES,
            description="LAION's aesthetic score on a stock CLIP Vision model: needs no package beyond ComfyUI.",
            search_aliases=["laion aesthetic", "Aesthetic Score (CLIP Vision)"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="OpenAI's CLIP ViT-L/14 (clip-vit-large-patch14), from Load CLIP Vision.",
                ),
                io.Combo.Input(
                    "file",
                    options=head_files(),
                    default=AUTO,
                    tooltip="The small file on top of it, from models/verifiers. auto: the published one.",
                ),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def fingerprint_inputs(cls, file=AUTO, **others):
        return stamp((VERIFIERS, file, (AESTHETIC_HEAD,)))

    @classmethod
    def execute(cls, clip_vision, file, frames=ImageVerifier.frames, over_frames=ImageVerifier.over_frames):
        path = resolve("The aesthetic score", VERIFIERS, file, (AESTHETIC_HEAD,))
        return io.NodeOutput(
            over_frames_of(Aesthetic(ClipVisionFeatures(clip_vision), path), frames, over_frames)
        )


class NoiseSearchTextMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchTextMatch",
            display_name="Spells This Text (OCR, Image Judge)",
            category=JUDGES,
            description="A judge that reads the image: is the text there, letter for letter?",
            search_aliases=["ocr", "text rendering", "typography", "Text Match (OCR)"],
            inputs=[
                io.String.Input(
                    "text",
                    default="",
                    tooltip="The text that should be in the image. Empty: the text in quotes in the prompt.",
                ),
                io.Boolean.Input(
                    "exact", default=False, tooltip="Whether upper and lower case and spaces must match."
                ),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, text, exact, frames=ImageVerifier.frames, over_frames=ImageVerifier.over_frames):
        return io.NodeOutput(over_frames_of(TextMatch(text, exact), frames, over_frames))


NODES = [NoiseSearchLoadVerifier, NoiseSearchAestheticFromClipVision, NoiseSearchTextMatch]
