"""Which of a text-encode node's texts says what to make."""

from __future__ import annotations

from ..untrusted import excerpt
from .prompt_graph import PromptGraph
from .prompt_literals import literal

# Fields of encoders with several texts, the one that leads the picture first
RANKED = (
    "user_prompt",  # Lumina 2
    "llama",  # HiDream
    "t5xxl",  # FLUX, Stable Diffusion 3
    "mt5xl",  # Hunyuan DiT
    "text_g",  # SDXL
    "clip_g",
    "bert",
    "text_l",
    "clip_l",
    "tags",  # ACE Step
    "lyrics",
    "populated_text",  # wildcards, filled in
    "wildcard_text",
)
USUAL = {*RANKED, "text", "prompt", "positive", "negative", "positive_prompt", "negative_prompt"}
ABOUT = ("system", "template", "instruction")  # in the name of a text about the prompt
FREE = ("multiline", "dynamicPrompts", "forceInput")  # options of inputs that take any text


class Several(ValueError):
    """A node has texts that differ, and nothing says which counts."""


def text_fields(graph: PromptGraph, node_id: str) -> list[str]:
    """The inputs of a node that are given free text, not a choice or a file name."""
    kind = graph.kind(node_id)
    return [
        name
        for name in graph.inputs(node_id)
        if kind
        and kind.takes(name) == "STRING"
        and (name in USUAL or any(kind.options(name).get(option) for option in FREE))
    ]


def text_of(graph: PromptGraph, node_id: str, output: str) -> str:
    """The text that an encoder makes its output of this name of; "" when it is empty. Raises Several or Computed."""
    fields = text_fields(graph, node_id)
    fields = [name for name in fields if is_negative(name) == is_negative(output)] or fields
    fields = [name for name in fields if not any(word in name.lower() for word in ABOUT)] or fields
    values = graph.inputs(node_id)
    if set(fields) <= set(RANKED):
        ranked = sorted(fields, key=RANKED.index)
        return next((text for name in ranked if (text := literal(graph, values[name])).strip()), "")
    texts = {name: text for name in fields if (text := literal(graph, values[name])).strip()}
    if len(set(texts.values())) > 1:
        shown = ", ".join(
            f"{excerpt(name, 40)}: {excerpt(text, 40)}" for name, text in list(texts.items())[:6]
        )
        raise Several(f"{graph.class_type(node_id)} has several texts ({shown})")
    return next(iter(texts.values()), "")


def is_negative(name: str) -> bool:
    """Whether an input or output is for what to avoid, by its name."""
    name = name.lower()
    return "neg" in name or "uncond" in name or name.endswith("-")
