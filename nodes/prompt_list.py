"""Prompts from a list, one per run, and a contact sheet of the best images: for searches that run overnight."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from comfy_api.latest import io

from ..compat import schema
from .names import JUDGES, SAMPLERS

MOST_PROMPTS = 10_000
NAME_LETTERS = 40  # of a prompt, in a file name
GAP = 8  # pixels between the images of a sheet
MOST_PIXELS = 16384  # wide or high


def prompts_of(text: str) -> list[str]:
    """One prompt a line. Empty lines and lines that begin with # are left out."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(found) > MOST_PROMPTS:
        raise ValueError(f"The list has {len(found)} prompts; {MOST_PROMPTS} is the most.")
    return found


def file_name(number: int, prompt: str) -> str:
    """A name that sorts by number and shows the prompt; letters, digits and underscores only."""
    words = re.sub(r"[^a-z0-9]+", "_", prompt.lower())[:NAME_LETTERS].strip("_")
    return f"{number:04d}_{words}".rstrip("_")


def contact_sheet(images: torch.Tensor, columns: int, width: int) -> torch.Tensor:
    """[B, H, W, C] -> one image [1, h, w, C], row by row on black. columns: 0 = as square as it gets. width: of each image; 0 = its own."""
    count, height, own, channels = images.shape
    columns = min(count, columns or -(-count // max(1, round(count**0.5))))
    rows = -(-count // columns)
    if width and width != own:
        size = (max(1, round(height * width / own)), width)
        images = F.interpolate(images.movedim(-1, 1), size, mode="bilinear", antialias=True).movedim(1, -1)
    height, own = images.shape[1:3]
    whole = (rows * (height + GAP) + GAP, columns * (own + GAP) + GAP)
    if max(whole) > MOST_PIXELS:
        raise ValueError(
            f"The sheet would be {whole[1]} x {whole[0]} pixels; {MOST_PIXELS} is the most. Take a smaller width."
        )
    sheet = images.new_zeros(1, *whole, channels)
    for i, image in enumerate(images):
        top, left = (
            GAP + place * (side + GAP) for place, side in ((i // columns, height), (i % columns, own))
        )
        sheet[0, top : top + height, left : left + own] = image
    return sheet


class NoiseSearchPromptList(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchPromptList",
            display_name="Prompt from List (One per Run)",
            category=SAMPLERS,
            search_aliases=["prompt list", "batch of prompts", "overnight", "queue prompts"],
            description="Gives one prompt of a list for each run. Set the run count to the number of prompts and every one gets its own search, its own winner and its own file.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="a red fox in the snow\na lighthouse in a storm",
                    tooltip="One prompt a line. Empty lines and lines that begin with # are left out.",
                ),
                io.Int.Input(
                    "number",
                    default=1,
                    min=1,
                    max=MOST_PROMPTS,
                    control_after_generate=True,
                    tooltip="Which prompt, counted from 1. With increment below, each run takes the next one. After an interruption set it to the first that is missing.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="prompt",
                    tooltip="For CLIP Text Encode, and for the prompt input of a search.",
                ),
                io.String.Output(
                    display_name="file_name",
                    tooltip="The number and the first words of the prompt, for the filename_prefix of Save Image.",
                ),
                io.Int.Output(display_name="count", tooltip="How many prompts the list has."),
            ],
        )

    @classmethod
    def execute(cls, prompts, number):
        found = prompts_of(prompts)
        if not found:
            raise ValueError("The list of prompts is empty. Write one prompt a line.")
        if number > len(found):
            raise ValueError(
                f"number is {number}, but the list has {len(found)} prompts: all of them have been run. Set number to 1 to begin again."
            )
        prompt = found[number - 1]
        return io.NodeOutput(prompt, file_name(number, prompt), len(found))


class NoiseSearchContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchContactSheet",
            display_name="Contact Sheet",
            category=JUDGES,
            search_aliases=["image grid", "collage", "montage"],
            description="Puts a batch of images on one sheet, such as the best images of a search, best first.",
            inputs=[
                io.Image.Input("images", tooltip="The images, such as top_images of a search."),
                io.Int.Input(
                    "columns", default=0, min=0, max=64, tooltip="Images in a row. 0 = as square as possible."
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=0,
                    max=4096,
                    tooltip="Width of each image on the sheet, in pixels. 0 = as it is.",
                ),
            ],
            outputs=[io.Image.Output(display_name="sheet", tooltip="One image.")],
        )

    @classmethod
    def execute(cls, images, columns, width):
        return io.NodeOutput(contact_sheet(images, columns, width))


NODES = [NoiseSearchPromptList, NoiseSearchContactSheet]
