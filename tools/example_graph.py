"""A workflow in the UI format, built node by node: what is not said is a widget's default, and places follow from columns."""

from __future__ import annotations

import uuid

from workflow import _default, _has_control, _inputs, _is_widget, _positions

SLOT, WIDGET, TITLE, GAP = 20, 26, 30, 40
TALL = {"multiline": 90, "SaveImage": 420, "PreviewImage": 300, "NoiseSearchReport": 260, "PreviewAny": 120}
PACK = "noise-search"


class Graph:
    """nodes stand in columns from left to right, and below each other in a column, in the order they are added.

    title, description: for the template browser. object_info: the server's. widths: of the columns, in pixels.
    """

    def __init__(self, name: str, title: str, description: str, object_info: dict, widths: tuple[int, ...]):
        self.object_info, self.widths = object_info, widths
        self.nodes, self.links = [], []
        self.info = {"name": title, "description": description}
        self.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"noise-search/{name}"))
        self._tops = [0] * len(widths)

    def note(self, column: int, title: str, text: str, height: int) -> None:
        self._place(column, height, {"type": "MarkdownNote", "title": title, "widgets_values": [text]})

    def node(self, kind: str, column: int, title: str = "", models=(), links=None, **widgets) -> int:
        """Its id. links: {input: (node id, name of its output)}. models: (name, url, folder) of files it needs."""
        definition = self.object_info[kind]
        declared, _ = _positions(definition)
        unknown = set(widgets) - {name for name, *_ in declared} - {"control"}
        if unknown:
            raise ValueError(f"{kind} has no widget {', '.join(sorted(unknown))}")
        values = []
        for name, type_, options, _ in declared:
            values.append(widgets.get(name, _default(type_, options)))
            values += [widgets.get("control", "fixed")] if _has_control(name, type_, options) else []
        sockets = [one for one in _inputs(definition) if not _is_widget(one[1], one[2])]
        inputs = [
            {"name": name, "type": _type(type_), "link": None, **({} if required else {"shape": 7})}
            for name, type_, _, required in sockets
        ]
        lists = definition.get("output_is_list") or [False] * len(definition["output"])
        outputs = [
            {"name": name, "type": _type(type_), "links": None, **({"shape": 6} if is_list else {})}
            for name, type_, is_list in zip(definition["output_name"], definition["output"], lists)
        ]
        shown = [(options, name) for name, _, options, _ in declared]
        height = max(len(inputs), len(outputs)) * SLOT + len(values) * WIDGET + 10
        height += TALL["multiline"] * sum(bool(options.get("multiline")) for options, _ in shown)
        height += TALL.get(kind, 0)
        properties = {"Node name for S&R": kind}
        if models:
            properties["models"] = [{"name": n, "url": u, "directory": d} for n, u, d in models]
        node = {"type": kind, "inputs": inputs, "outputs": outputs, "properties": properties}
        number = self._place(
            column, height, node | ({"title": title} if title else {}) | {"widgets_values": values}
        )
        for name, (origin, output) in (links or {}).items():
            self.link(origin, output, number, name)
        return number

    def value(self, node: dict, widget: str):
        """What a node of this graph has in a widget."""
        declared, _ = _positions(self.object_info[node["type"]])
        return next(node["widgets_values"][place] for name, *_, place in declared if name == widget)

    def unlink(self, target: int, name: str) -> None:
        """Take away what is connected to an input; the numbers of the other links stay."""
        slot = next(slot for slot in self.nodes[target - 1]["inputs"] if slot["name"] == name)
        number, slot["link"] = slot["link"], None
        self.links = [link for link in self.links if link[0] != number]
        for node in self.nodes:
            for output in node["outputs"]:
                if number in (output["links"] or []):
                    output["links"] = [other for other in output["links"] if other != number] or None

    def to_json(self) -> dict:
        """The workflow; where the page looks at is left to the page, which then shows all of it."""
        return {
            "id": self.id,
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": max((link[0] for link in self.links), default=0),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {"info": self.info},
            "version": 0.4,
        }

    def _place(self, column: int, height: int, node: dict) -> int:
        number, left = len(self.nodes) + 1, sum(self.widths[:column]) + GAP * column
        whole = {
            "id": number,
            "type": node["type"],
            "pos": [left, self._tops[column]],
            "size": [self.widths[column], height],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "properties": {},
        }
        self.nodes.append(whole | node)
        self._tops[column] += height + TITLE + GAP
        return number

    def link(self, origin: int, output: str, target: int, name: str) -> None:
        start, end = self.nodes[origin - 1], self.nodes[target - 1]
        place = next(i for i, slot in enumerate(start["outputs"]) if slot["name"] == output)
        slot = next((slot for slot in end["inputs"] if slot["name"] == name), None)
        if slot is None:  # a widget that takes its value from a link
            kind = next(kind for known, kind, *_ in _inputs(self.object_info[end["type"]]) if known == name)
            slot = {"name": name, "type": _type(kind), "widget": {"name": name}, "link": None}
            end["inputs"].append(slot)
        number = max((link[0] for link in self.links), default=0) + 1
        slot["link"] = number
        kind = start["outputs"][place]["type"]
        start["outputs"][place]["links"] = [*(start["outputs"][place]["links"] or []), number]
        self.links.append([number, origin, place, target, end["inputs"].index(slot), kind])


def _type(kind) -> str:
    return "COMBO" if isinstance(kind, list) else kind
