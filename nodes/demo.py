"""The embedded demo models."""

from comfy_api.latest import io

from ..compat import schema
from ..demo.worlds import WORLDS
from .names import DEMO


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadDemoModel",
            display_name="Load Demo Model",
            category=DEMO,
            description="Tiny text-to-image models that come with NoiseSearch: a real ComfyUI MODEL, CLIP and VAE. They draw 64x64 pixels on any CPU in a moment, with flaws for a search to fix.",
            search_aliases=["tiny model", "demo checkpoint", "digits", "scenes"],
            inputs=[
                io.Combo.Input(
                    "world",
                    options=list(WORLDS),
                    default="digits",
                    tooltip='digits: handwritten digits, "digit seven". scenes: one or two coloured shapes, "a red circle left of a blue star on a grey background". digits, two-step: digits from a model distilled for two steps, lcm.',
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="A flow model in Stable Diffusion 3's layout, its shift set as its world needs it: 1.0, for the two-step digits 3.0.",
                ),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="A text encoder that knows the words of its world; an empty prompt is the negative.",
                ),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="16 channels, a ratio of 8: EmptySD3LatentImage at 64x64 pixels fits.",
                ),
            ],
        )

    @classmethod
    def execute(cls, world):
        from ..demo.load import load_world

        return io.NodeOutput(*load_world(world))


NODES = [LoadDemoModel]
