"""Nodes of judges that are vision-language models, as ComfyUI loads them."""

from comfy_api.latest import io

from ..compat import advanced, schema
from ..verifiers.base import ImageVerifier, over_frames_of
from ..verifiers.judges.vlm_judge import COMBINE
from ..verifiers.judges.vlm_presets import PRESETS, vlm_judge
from ..verifiers.judges.vlm_questions import made_by
from ..verifiers.networks.vlm import VisionLanguageModel
from ..verifiers.networks.vlm_kinds import SIZES
from .names import JUDGES
from .sockets import VerifierType
from .verifier_inputs import frames_inputs

_ASK = next(iter(PRESETS))
_SIZE = 512
_CLIP = "A vision-language model from Load CLIP, such as qwen3vl_4b. The encoder that your diffusion model uses may be one."


class NoiseSearchVLMJudge(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchVLMJudge",
            display_name="Ask a Vision Model (VLM Judge)",
            category=JUDGES,
            description="A judge that reads the picture: a vision-language model is asked about it. Knows who has which colour, and what is where.",
            search_aliases=["vqascore", "qwen judge", "llm grader", "unified reward", "questions"],
            inputs=[
                io.Clip.Input("clip", tooltip=_CLIP),
                io.Combo.Input(
                    "ask",
                    options=list(PRESETS),
                    default=_ASK,
                    tooltip="What it is asked. The help page has the words. checks of the prompt: several questions, by you or by itself.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    tooltip="Your own words instead: questions, one a line, or the one question or instruction. Curly brackets stand for the prompt. Empty: as chosen above.",
                ),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default=COMBINE[0],
                    optional=True,
                    tooltip="Several questions: the product of their answers (all must be right), the mean, or the worst.",
                ),
                advanced(
                    io.Int.Input(
                        "size",
                        default=_SIZE,
                        min=SIZES[0],
                        max=SIZES[1],
                        step=32,
                        optional=True,
                        tooltip="Longer side of the picture it is shown, in pixels. Twice as much takes four times as long. Gemma 3 always sees 896 x 896.",
                    )
                ),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(
        cls,
        clip,
        ask,
        text,
        combine=COMBINE[0],
        size=_SIZE,
        frames=ImageVerifier.frames,
        over_frames=ImageVerifier.over_frames,
    ):
        return io.NodeOutput(over_frames_of(vlm_judge(clip, ask, text, combine, size), frames, over_frames))


class NoiseSearchVLMQuestions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchVLMQuestions",
            display_name="Make Questions of a Prompt (for VLM Judge)",
            category=JUDGES,
            description="Has a vision-language model make yes-or-no questions of a prompt: read them, change them, and give them to VLM Judge.",
            search_aliases=["split the prompt", "checks"],
            inputs=[
                io.Clip.Input("clip", tooltip=_CLIP),
                io.String.Input(
                    "prompt", multiline=True, default="", tooltip="The prompt that questions are made of."
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="questions",
                    tooltip="One a line. Connect them to the text of VLM Judge, or read them in Preview as Text and write your own.",
                )
            ],
        )

    @classmethod
    def execute(cls, clip, prompt):
        if not prompt.strip():
            raise ValueError("Make Questions of a Prompt has no prompt to make them of. Write one.")
        return io.NodeOutput("\n".join(made_by(VisionLanguageModel(clip), prompt.strip())))


NODES = [NoiseSearchVLMJudge, NoiseSearchVLMQuestions]
