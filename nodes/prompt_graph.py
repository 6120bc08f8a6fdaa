"""The graph that is being run, as far as it must be read: what each node gives, and what each of its inputs takes."""

from __future__ import annotations

ANY = "*"


class PromptGraph:
    """nodes: the hidden prompt, {id: {"class_type", "inputs"}}."""

    def __init__(self, nodes: dict):
        self.nodes = nodes
        self._kinds: dict = {}

    def inputs(self, node_id: str) -> dict:
        return (self.nodes.get(node_id) or {}).get("inputs") or {}

    def class_type(self, node_id: str) -> str:
        return (self.nodes.get(node_id) or {}).get("class_type", "a missing node")

    def kind(self, node_id: str) -> Kind | None:
        """What a node declares; None for one that this ComfyUI does not know."""
        name = self.class_type(node_id)
        if name not in self._kinds:
            import nodes

            defined = nodes.NODE_CLASS_MAPPINGS.get(name)
            self._kinds[name] = Kind(defined) if defined else None
        return self._kinds[name]

    def links(self, node_id: str) -> dict[str, tuple[list, str]]:
        """{input: (link, type of what it brings)}."""
        kind, found = self.kind(node_id), {}
        for name, link in self.inputs(node_id).items():
            if is_link(link):
                source = self.kind(link[0])
                type_ = source.type_of(link[1]) if source else ANY
                if type_ == ANY and kind:  # a reroute or a switch: what it brings is what it is brought to
                    type_ = kind.takes(name)
                found[name] = link, type_
        return found

    def chosen(self, node_id: str) -> str | None:
        """The input that a switch set by hand hands on; None for other nodes, and for switches that are set while the graph runs."""
        inputs = self.inputs(node_id)
        way, number = inputs.get("switch"), inputs.get("select")
        name = None
        if isinstance(way, bool):  # ComfyUI's
            name = "on_true" if way else "on_false"
        elif isinstance(number, int):  # the Impact Pack's
            name = f"input{number}"
        return name if name in inputs else None


class Kind:
    """What a node class declares, whichever generation of nodes it is of."""

    def __init__(self, defined):
        self.outputs = [_type(given) for given in getattr(defined, "RETURN_TYPES", None) or ()]
        self.names = [str(name) for name in getattr(defined, "RETURN_NAMES", None) or ()]
        declared = defined.INPUT_TYPES()
        self.inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        self.foreign = str(getattr(defined, "RELATIVE_PYTHON_MODULE", "")).startswith("custom_nodes")

    def type_of(self, slot: int) -> str:
        return self.outputs[slot] if slot < len(self.outputs) else ANY

    def name_of(self, slot: int) -> str:
        """The name of an output; its type where it has none."""
        return self.names[slot] if slot < len(self.names) else self.type_of(slot)

    def takes(self, name: str) -> str:
        entry = self.inputs.get(name)
        return _type(entry[0]) if entry else ANY

    def options(self, name: str) -> dict:
        entry = self.inputs.get(name, ())
        return entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}


def is_link(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and value[1] >= 0
    )


def _type(given) -> str:
    return "COMBO" if isinstance(given, (list, tuple)) else str(given)
