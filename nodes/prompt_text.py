"""The words a picture was made from: found in the graph when the user did not say."""

from __future__ import annotations

import re

TELL = "Type the prompt into this node's prompt input, or connect the text there."


def find_prompt(graph: dict, node_id: str, entrance: str) -> str:
    """The text of the one text-encode node that conditioning input `entrance` of a node comes from.

    graph: the hidden prompt, {id: {"class_type", "inputs"}}. Raises ValueError when there is no such node, several with
    different texts, or the text is computed while the graph runs.
    """
    node = graph.get(str(node_id))
    link = node and node["inputs"].get(entrance)
    if not _is_link(link):
        raise ValueError(f"No prompt was given, and none could be found from the input {entrance}. {TELL}")
    texts = sorted(set(_texts(graph, link, set())))
    if not texts:
        raise ValueError(
            f"No prompt was given, and no text-encode node was found behind the input {entrance}. {TELL}"
        )
    if len(texts) > 1:
        raise ValueError(
            f"No prompt was given, and {len(texts)} different texts lead to the input {entrance}: {', '.join(repr(t[:40]) for t in texts)}. {TELL}"
        )
    return plain(texts[0])


def plain(text: str) -> str:
    """The text without weights, embeddings and brackets of the prompt syntax: "a (red:1.2) cat, embedding:x" -> "a red cat"."""
    text = re.sub(r"<(?:lora|lyco|hypernet)[^>]*>", "", text)
    text = re.sub(r"embedding:[^\s,()]+", "", text)
    text = re.sub(r":\s*[-+]?\d*\.?\d+\s*\)", ")", text)
    text = re.sub(r"\\([()])|[()]", lambda m: m.group(1) or "", text)
    text = re.sub(r"\s*,[\s,]*", ", ", text)
    return re.sub(r"\s+", " ", text).strip(" ,")


def _is_link(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _texts(graph: dict, link: list, seen: set) -> list[str]:
    node_id, slot = link
    node = graph.get(node_id)
    if node is None or (node_id, slot) in seen:
        return []
    seen.add((node_id, slot))
    inputs = node["inputs"]
    if "clip" in inputs:
        return [_text_of(graph, node)]
    found = []
    for name in _ways_up(graph, node, slot):
        found += _texts(graph, inputs[name], seen)
    return found


def _ways_up(graph: dict, node: dict, slot: int) -> list[str]:
    """The inputs that output `slot` of a conditioning or guider node passes on."""
    links = [
        name
        for name, value in node["inputs"].items()
        if _is_link(value) and _gives(graph, value) == "CONDITIONING"
    ]
    names = _names(node["class_type"])
    if slot < len(names) and names[slot] in links:  # nodes with a positive and a negative way keep them apart
        return [names[slot]]
    return [name for name in links if "negative" not in name]


def _text_of(graph: dict, node: dict) -> str:
    texts = []
    for name, value in node["inputs"].items():
        if _is_text(node["class_type"], name):
            texts.append(_literal(graph, value, name) if _is_link(value) else str(value))
    texts = [text for text in dict.fromkeys(texts) if text.strip()]
    if not texts:
        raise ValueError(f"No prompt was given, and the text of {node['class_type']} is empty. {TELL}")
    return max(texts, key=len)  # encoders with several texts (SDXL, FLUX) get the fullest wording


def _literal(graph: dict, link: list, name: str) -> str:
    source = graph.get(link[0], {"class_type": "a missing node", "inputs": {}})
    values = [value for value in source["inputs"].values() if not _is_link(value)]
    if len(source["inputs"]) == 1 and len(values) == 1 and isinstance(values[0], str):  # a plain text node
        return values[0]
    raise ValueError(
        f"No prompt was given, and the {name} of the text-encode node is computed while the graph runs, by {source['class_type']}. {TELL}"
    )


def _definition(class_type: str):
    import nodes

    return nodes.NODE_CLASS_MAPPINGS.get(class_type)


def _names(class_type: str) -> list[str]:
    kind = _definition(class_type)
    return list(getattr(kind, "RETURN_NAMES", None) or ())


def _gives(graph: dict, link: list) -> str | None:
    source = graph.get(link[0])
    kind = source and _definition(source["class_type"])
    types = list(getattr(kind, "RETURN_TYPES", ()) or ())
    return str(types[link[1]]) if link[1] < len(types) else None


def _is_text(class_type: str, name: str) -> bool:
    """Whether an input is free text (a multi-line STRING), not a choice or a file name."""
    kind = _definition(class_type)
    declared = kind.INPUT_TYPES() if kind else {}
    for group in ("required", "optional"):
        if name in declared.get(group, {}):
            entry = declared[group][name]
            return entry[0] == "STRING" and len(entry) > 1 and bool(entry[1].get("multiline"))
    return False
