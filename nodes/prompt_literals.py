"""Text that is written in the graph: in a widget, in a text node, or in several that ComfyUI's string nodes put together."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature

from .prompt_graph import ANY, PromptGraph, is_link

LONGEST = 20_000  # characters put together; chained nodes can double a text again and again
STRING_NODES: dict[str, Callable[..., str]] = {
    "StringConcatenate": lambda string_a="", string_b="", delimiter="": delimiter.join((string_a, string_b)),
    "StringReplace": lambda string="", find="", replace="": _replaced(string, find, replace),
    "StringSubstring": lambda string="", start=0, end=0: string[start:end],
    "StringTrim": lambda string="", mode="Both": {"Left": string.lstrip, "Right": string.rstrip}.get(
        mode, string.strip
    )(),
    "CaseConverter": lambda string="", mode="": {
        "UPPERCASE": string.upper,
        "lowercase": string.lower,
        "Capitalize": string.capitalize,
        "Title Case": string.title,
    }.get(mode, lambda: string)(),
}
HANDED_ON = {"ShowText|pysssss": "text", "PreviewAny": "source"}  # nodes that show a text and hand it on
# in the name of a STRING that leads to a text elsewhere
NOT_TEXT = ("file", "path", "folder", "dir", "url", "seed")


class Computed(ValueError):
    """The text is not written in the graph: a node makes it while the graph runs. Its message is that node's class."""


def literal(graph: PromptGraph, value) -> str:
    """The text of a widget's value or link. Raises Computed."""
    if not is_link(value):
        return str(value)
    texts: dict[tuple, str] = {}
    entered, waiting = set(), [value]
    while waiting:  # no recursion: chains may be long
        here = tuple(waiting[-1])
        if here in texts:
            waiting.pop()
            continue
        combine, parts = _parts(graph, here[0])
        missing = [part for part in parts.values() if is_link(part) and tuple(part) not in texts]
        if missing:
            entered.add(here)
            if any(tuple(part) in entered for part in missing):
                raise Computed(f"{graph.class_type(here[0])}, which leads back to itself")
            waiting += missing
            continue
        known = {name: texts[tuple(part)] if is_link(part) else part for name, part in parts.items()}
        try:
            texts[here] = combine(**known)
        except (AttributeError, TypeError):  # a part that is no text, or no number
            raise Computed(graph.class_type(here[0])) from None
        if len(texts[here]) > LONGEST:
            raise Computed(f"{graph.class_type(here[0])}, in more than {LONGEST} characters")
    return texts[tuple(value)]


def _parts(graph: PromptGraph, node_id: str) -> tuple[Callable[..., str], dict]:
    """How a node makes its text, and of which parts."""
    name, inputs, kind = graph.class_type(node_id), graph.inputs(node_id), graph.kind(node_id)
    if name in STRING_NODES and set(inputs) <= set(signature(STRING_NODES[name]).parameters):
        return STRING_NODES[name], inputs
    one = graph.chosen(node_id) or HANDED_ON.get(name)
    if one is None and isinstance(inputs.get("populated_text"), str):  # wildcards, already filled in
        one = "populated_text"
    if one is None and kind and len(inputs) == 1:
        (only,) = inputs
        type_, handed_on = kind.takes(only), set(kind.outputs) == {ANY} or name.startswith("PrimitiveString")
        written = isinstance(inputs[only], str) and type_ == "STRING" and not _leads_elsewhere(only)
        one = only if written or (handed_on and is_link(inputs[only])) else None
    if not (is_link(inputs.get(one)) or isinstance(inputs.get(one), str)):
        raise Computed(name)
    return lambda text: text, {"text": inputs[one]}


def _leads_elsewhere(name: str) -> bool:
    return any(word in name.lower() for word in NOT_TEXT)


def _replaced(text: str, find: str, by: str) -> str:
    if text.count(find) * len(by) > LONGEST:
        raise Computed(f"StringReplace, in more than {LONGEST} characters")
    return text.replace(find, by)
