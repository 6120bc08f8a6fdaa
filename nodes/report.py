"""The node that makes a report readable."""

from __future__ import annotations

import json

import numpy as np
import torch
from comfy_api.latest import io

from ..compat import schema
from ..session import pictures
from ..session.report_picture import THEMES, picture_of
from ..session.summary import text_of
from .names import SAMPLERS
from .sockets import ReportType


class NoiseSearchReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReport",
            display_name="Search Report",
            category=SAMPLERS,
            search_aliases=["report of a search", "curve", "summary", "statistics"],
            description="What a search found, to read and to show: a few lines of text, and a picture with the curve and the best images.",
            is_output_node=True,
            inputs=[
                ReportType.Input(
                    "report",
                    tooltip="The report of KSampler (Best of N Search), SamplerCustomAdvanced (Best of N Search) or Score and Sort Images.",
                ),
                io.Int.Input(
                    "top",
                    default=8,
                    min=0,
                    max=64,
                    tooltip="How many images the picture shows at most. A search hands out keep_top of them.",
                ),
                io.Int.Input(
                    "width", default=1024, min=480, max=4096, tooltip="Width of the picture in pixels."
                ),
                io.Combo.Input(
                    "theme", options=list(THEMES), default="dark", tooltip="Dark or light background."
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="text",
                    tooltip="The winner and its seed, the score from the first candidate to the best, the next best, the prompt, the cost, and notes.",
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="The best score so far against the cost, and a contact sheet of the best images.",
                ),
                io.String.Output(display_name="json", tooltip="The whole report, for programs."),
            ],
        )

    @classmethod
    def execute(cls, report, top, width, theme):
        text = text_of(report)
        picture = picture_of(report, getattr(report, "pictures", ()), top, width, theme)
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)[None]
        shown = pictures.show(picture)
        return io.NodeOutput(
            text,
            pixels,
            json.dumps(report, indent=1, ensure_ascii=False),
            ui={"images": [shown], "text": [text]},
        )


NODES = [NoiseSearchReport]
