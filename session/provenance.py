"""Where a model comes from: the nodes above it in the graph, with all that decides what they make.

What is too large to be read (a MODEL, a VAE, a ControlNet) is told from others by this. Two graphs that give the same answer here make the
same thing; two that differ may do so too, and are taken to be different.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import folder_paths

from .. import compat
from ..untrusted import excerpt

LONGEST_NAME = 400  # of a file
MOST_FILES = 5000  # of a pack
BESIDE_CODE = {"node_modules", "venv", "env"}


class Untraceable(Exception):
    """It cannot be said where something comes from. Its words say why."""


class Origin:
    """A node in the graph that runs. graph: ComfyUI's dynamic prompt, which knows the nodes that nodes have put in their own place."""

    def __init__(self, graph: Any, node_id: str) -> None:
        self.graph, self.node_id = graph, node_id
        self._above: dict[tuple[str, ...], list] = {}

    def above(self, *inputs: str) -> list:
        """All that these inputs of the node come from, in JSON. Those that it does not have are left out. Untraceable says what stands in the way."""
        if inputs not in self._above:
            given = self._node(self.node_id)["inputs"]
            walk = _Walk(self)
            links = {name: walk.value(given[name]) for name in inputs if name in given}
            # one node id may run many times, each with other things from a list
            self._above[inputs] = [links, walk.signatures(), compat.list_index()]
        return self._above[inputs]

    def files(self) -> list[str]:
        """The names of files that the node is made of, in order, each once."""
        return files_among(nodes_above(self._known, self.node_id))

    def is_link(self, value: Any) -> bool:
        return is_link(value) and self.graph.has_node(value[0])

    def _known(self, node_id: str) -> Any:
        return self.graph.get_node(node_id) if self.graph.has_node(node_id) else None

    def _node(self, node_id: str) -> Mapping[str, Any]:
        if not self.graph.has_node(node_id):
            raise Untraceable(f"the graph has no node {excerpt(node_id, 40)}")
        return self.graph.get_node(node_id)


def nodes_above(node_of: Callable[[str], Any], node_id: str) -> dict[str, Any]:
    """A node and all that it is made of, by id. node_of: gives a node of a prompt, None for one that there is not."""
    found: dict[str, Any] = {}
    waiting = [node_id]
    while waiting:
        id = waiting.pop()
        node = None if id in found else node_of(id)
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping):
            found[id] = node
            waiting += [value[0] for value in node["inputs"].values() if is_link(value)]
    return found


def files_among(nodes: Mapping[str, Any]) -> list[str]:
    """The names of files that nodes are given: the values of inputs called ..._name, in order, each once."""
    given = [pair for node in nodes.values() for pair in node["inputs"].items()]
    return sorted(
        {value for name, value in given if isinstance(value, str) and name.endswith("_name") and "." in value}
    )


def is_link(value: Any) -> bool:
    """Whether a node's input looks like one that comes from another node."""
    two = isinstance(value, list) and len(value) == 2
    return two and isinstance(value[0], str) and isinstance(value[1], (int, float))


class _Walk:
    """The nodes above some links, numbered as they are met."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._numbers: dict[str, int] = {}
        self._waiting: list[str] = []

    def value(self, value: Any) -> list:
        """A node's input: a link to a numbered node, or a constant."""
        if not self.origin.is_link(value):
            return ["is", _plain(value), _files_of(value)]
        node_id, socket = value
        if node_id not in self._numbers:
            self._numbers[node_id] = len(self._numbers)
            self._waiting.append(node_id)
        return ["from", self._numbers[node_id], socket]

    def signatures(self) -> list:
        """Of every node, in the order of the numbers."""
        found = []
        for node_id in self._waiting:  # grows meanwhile
            node = self.origin._node(node_id)
            kind = node["class_type"]
            inputs = {name: self.value(node["inputs"][name]) for name in sorted(node["inputs"])}
            try:
                changed = _plain(node.get("is_changed", False))
            except Untraceable:
                raise Untraceable(
                    f"{excerpt(kind, 60)} (node {excerpt(node_id, 40)}) says that it gives something new whenever it runs"
                ) from None
            found.append([kind, changed, inputs, _pack_of(kind)])
        return found


def _plain(value: Any) -> Any:
    """A value as JSON. Untraceable for what equals nothing, or has no words that mean the same in another process."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise Untraceable("it is NaN")
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    raise Untraceable(f"it is a {type(value).__name__}")


# -- files -------------------------------------------------------------------------------------------------------------


def _files_of(value: Any) -> list:
    """[folder list, size, time written] of every file that a constant may name."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not value.isprintable():
        return []
    if "." not in value:  # no file, but some models are folders
        return [] if os.path.isabs(value) else _folder_marks(value)
    found = [(folder, folder_paths.get_full_path(folder, value)) for folder in _folder_lists()]
    found.append(("", folder_paths.get_annotated_filepath(value)))
    return [[folder, *_mark(path)] for folder, path in found if path and os.path.isfile(path)]


def _folder_lists() -> list[str]:
    return sorted(folder_paths.folder_names_and_paths)


def _folder_marks(name: str) -> list:
    """Of the files of a model that is a folder."""
    roots = [Path(root) / name for root in folder_paths.folder_names_and_paths.get("diffusers", ([],))[0]]
    return [
        ["diffusers", str(file.relative_to(root)), *_mark(file)]
        for root in roots
        if os.path.isdir(root)
        for file in _walk(root)
    ]


def _mark(path: str | Path) -> list[int]:
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def _walk(root: Path, ending: str = "") -> list[Path]:
    """The files below a folder in order, at most MOST_FILES of them."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__")) and name not in BESIDE_CODE
        )
        found += [Path(folder) / name for name in sorted(files) if name.endswith(ending)]
        if len(found) >= MOST_FILES:
            break
    return found[:MOST_FILES]


# -- the packs that nodes are from ------------------------------------------------------------------------------------


def _pack_of(kind: str) -> str:
    """The version of the pack that a node is from, as a hash of when its code was written; "" for ComfyUI's own."""
    registry = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})
    node = registry.get(kind)
    if not str(getattr(node, "RELATIVE_PYTHON_MODULE", "")).startswith("custom_nodes."):
        return ""
    file = getattr(sys.modules.get(node.__module__), "__file__", None)
    return "" if file is None else _code_mark(str(_root_of(Path(file))))


def _root_of(file: Path) -> Path:
    """The folder of a pack, or the file that is one."""
    roots = {
        os.path.realpath(root) for root in folder_paths.folder_names_and_paths.get("custom_nodes", ([],))[0]
    }
    for path in (file, *file.parents):
        if os.path.realpath(path.parent) in roots:
            return path
    return file


@cache
def _code_mark(root: str) -> str:
    path = Path(root)
    files = [path] if path.is_file() else _walk(path, ".py")
    marks = [f"{file.relative_to(path.parent)} {_mark(file)}" for file in files]
    return hashlib.sha256("\n".join(marks).encode("utf-8", "backslashreplace")).hexdigest()[:32]


@cache
def own_version() -> str:
    """Of this pack."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    found = re.search(r'^version\s*=\s*"([^"]+)"', project.read_text("utf-8"), re.MULTILINE)
    return found.group(1) if found else ""
