"""The words a picture was made from: found in the graph when the user did not say."""

from __future__ import annotations

from ..untrusted import excerpt, listed
from .prompt_fields import Several, is_negative, text_of
from .prompt_graph import PromptGraph, is_link
from .prompt_literals import Computed
from .prompt_syntax import plain
from .prompt_way import Way

TELL = "Type the prompt into this node's prompt input, or connect the text there."


def find_prompt(nodes: dict, node_id: str, entrance: str) -> str:
    """The text behind the conditioning or guider input `entrance` of a node, without its syntax.

    nodes: the hidden prompt, {id: {"class_type", "inputs"}}. Raises ValueError when there is no text, several with different words, or
    one that is computed while the graph runs.
    """
    graph = PromptGraph(nodes)
    links = {name: link for name, link in graph.inputs(str(node_id)).items() if is_link(link)}
    if entrance not in links:
        raise _untold(f"none could be found from the input {entrance}")
    way = Way(graph, links[entrance])
    try:
        texts = list(dict.fromkeys(plain(text_of(graph, one.node, one.name)) for one in way.encoders))
    except Computed as error:
        what = f"the text of the text-encode node is computed while the graph runs, by {excerpt(str(error))}"
        raise _untold(what) from None
    except Several as error:
        raise _untold(str(error)) from None
    full = [text for text in texts if text]
    if way.unknown:
        raise _untold(
            f"no text-encode node was found behind the input {entrance}, but {listed(way.unknown, 5)}, whose text cannot be read"
        )
    if not way.encoders:
        raise _untold(f"no text-encode node was found behind the input {entrance}")
    if not full:
        raise _untold(
            f"the text of {listed([graph.class_type(one.node) for one in way.encoders], 5)} is empty"
        )
    if len(full) > 1:
        avoided = [link for name, link in links.items() if is_negative(name) and name != entrance]
        full = _without(graph, full, avoided + way.negatives) or full
    if len(full) > 1:
        shown = ", ".join(excerpt(text, 40) for text in full[:5]) + (", ..." if len(full) > 5 else "")
        raise _untold(f"{len(full)} different texts lead to the input {entrance}: {shown}")
    return full[0]


def _without(graph: PromptGraph, texts: list[str], avoided: list) -> list[str]:
    """The texts but those that also say what to avoid."""
    known = set()
    for link in avoided:
        for one in Way(graph, link).encoders:
            try:
                known.add(plain(text_of(graph, one.node, one.name)))
            except (Computed, Several):  # whatever it is going to be, it is none of these
                continue
    return [text for text in texts if text not in known]


def _untold(what: str) -> ValueError:
    return ValueError(f"No prompt was given, and {what}. {TELL}")
