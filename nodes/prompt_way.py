"""The way back through the graph, from where a conditioning is used to the nodes that make it."""

from __future__ import annotations

from typing import NamedTuple

from .prompt_fields import is_negative, text_fields
from .prompt_graph import ANY, PromptGraph

CONDITIONING, GUIDER = "CONDITIONING", "GUIDER"
LEADS = ("positive", "cond1")  # of a guider's conditionings the one that says what to make
WIPES = {"ConditioningZeroOut"}  # nothing is left of its text
UNUSED = "empty"  # in the name of an input that takes no prompt
PIPES = ("PIPE", "CONTEXT", "BUS")  # in the type of a link that brings many things at once


class Output(NamedTuple):
    """An output of a node; slot None: the part of this name in the pipe that the node gives."""

    node: str
    slot: int | None
    name: str


class Way:
    """The way back from a link.

    encoders: the outputs on it that are made of text. unknown: classes of nodes that make theirs of nobody knows what.
    negatives: links to the guiders on the way that say what to avoid.
    """

    def __init__(self, graph: PromptGraph, link: list):
        self.encoders, self.unknown, self.negatives = [], [], []
        waiting, seen = [_output(graph, link)], set()
        while waiting:  # no recursion: chains may be long, and even lead back to themselves
            here = waiting.pop()
            kind = graph.kind(here.node)
            if here in seen or graph.class_type(here.node) in WIPES:
                continue
            seen.add(here)
            if kind and (back := _back(graph, here)):
                waiting += reversed(back)
                if here.slot is not None and kind.type_of(here.slot) == GUIDER:
                    links = graph.links(here.node).items()
                    self.negatives += [link for name, (link, _) in links if is_negative(name)]
            elif kind and text_fields(graph, here.node):
                self.encoders.append(here)
            elif not kind or kind.foreign:
                self.unknown.append(graph.class_type(here.node))


def _output(graph: PromptGraph, link: list) -> Output:
    kind = graph.kind(link[0])
    return Output(*link, kind.name_of(link[1]) if kind else "")


def _back(graph: PromptGraph, here: Output) -> list[Output]:
    """Where what an output gives comes into its node; [] where it is made."""
    links = graph.links(here.node)
    typed = {name: link for name, (link, type_) in links.items() if type_ in (CONDITIONING, GUIDER)}
    any_ = {name: link for name, (link, type_) in links.items() if type_ == ANY}
    gives = ANY if here.slot is None else graph.kind(here.node).type_of(here.slot)
    carried = {**typed, **any_} if gives == ANY or not typed else typed
    chosen, same = graph.chosen(here.node), {name.lower(): name for name in carried}.get(here.name.lower())
    pipes = [link for link, type_ in links.values() if any(word in type_.upper() for word in PIPES)]
    if chosen in carried:
        names = [chosen]
    elif same is not None:  # nodes with a positive and a negative way keep them apart
        names = [same]
    elif pipes:
        return [Output(link[0], None, here.name) for link in pipes]
    else:
        names = _ways(graph, here, list(carried))
    return [_output(graph, carried[name]) for name in names]


def _ways(graph: PromptGraph, here: Output, names: list[str]) -> list[str]:
    """Those of a node's conditioning inputs that an output passes on."""
    kind, inputs = graph.kind(here.node), graph.inputs(here.node)
    outs = [slot for slot, type_ in enumerate(kind.outputs) if type_ == CONDITIONING]
    ins = [name for name in kind.inputs if kind.takes(name) == CONDITIONING]
    told_apart = len({kind.name_of(slot) for slot in outs}) > 1 and any(map(is_negative, ins))
    if here.slot in outs and len(outs) == len(ins) > 1 and not told_apart:  # then by their order
        name = ins[outs.index(here.slot)]
        return [name] if name in names else []
    if here.slot is not None and kind.type_of(here.slot) == GUIDER:
        for name in LEADS:
            if name in names:
                return [name]
    if graph.class_type(here.node) == "ConditioningAverage":
        share = inputs.get("conditioning_to_strength")
        if share in (0, 1):
            return ["conditioning_to" if share else "conditioning_from"]
    alike = [
        name for name in names if is_negative(name) == is_negative(here.name) and UNUSED not in name.lower()
    ]
    return alike or ([] if "positive" in here.name.lower() else names)
