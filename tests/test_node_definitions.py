"""Every node: a prefixed id, a tooltip on every input, a help page, and nothing that ComfyUI 0.3.64 would refuse."""

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
from comfy_api.latest import io

from noisesearch.nodes import NODES

ROOT = Path(__file__).resolve().parent.parent

# The constructors of 0.3.64, by hand: that version is not here to be asked.
INPUT = {"id", "display_name", "optional", "tooltip", "lazy"}
WIDGET = INPUT | {"default", "socketless", "force_input"}
ARGUMENTS = {
    "Input": INPUT | {"extra_dict"},
    "MultiType.Input": INPUT | {"types", "extra_dict"},
    "Boolean.Input": WIDGET | {"label_on", "label_off"},
    "Int.Input": WIDGET | {"min", "max", "step", "control_after_generate", "display_mode"},
    "Float.Input": WIDGET | {"min", "max", "step", "round", "display_mode"},
    "String.Input": WIDGET | {"multiline", "placeholder", "dynamic_prompts"},
    "Combo.Input": WIDGET - {"force_input"}
    | {"options", "control_after_generate", "upload", "image_folder", "remote"},
    "Output": {"id", "display_name", "tooltip", "is_output_list"},
}
NODE_OUTPUT = {"ui", "expand", "block_execution"}
TYPES = {
    "AnyType",
    "Boolean",
    "Clip",
    "ClipVision",
    "Combo",
    "ComfyNode",
    "Conditioning",
    "Custom",
    "Float",
    "Guider",
    "Hidden",
    "Image",
    "Int",
    "Latent",
    "Mask",
    "Model",
    "MultiType",
    "NodeOutput",
    "Noise",
    "Sampler",
    "Sigmas",
    "String",
    "Vae",
    "Video",
}


def _id(node):
    return node.GET_SCHEMA().node_id


def test_there_are_nodes_and_their_ids_are_ours_alone():
    ids = Counter(_id(node) for node in NODES)
    assert ids and max(ids.values()) == 1
    assert all(name.startswith("NoiseSearch") and name.isalnum() for name in ids)


def test_the_server_has_them_all(object_info):
    assert {_id(node) for node in NODES} == {name for name in object_info if name.startswith("NoiseSearch")}


@pytest.mark.parametrize("node", NODES, ids=_id)
def test_a_node_explains_itself(node):
    schema = node.GET_SCHEMA()
    assert (
        schema.display_name
        and schema.category.split("/")[0] == "NoiseSearch"
        and len(schema.description) > 20
    )
    assert [widget.id for widget in schema.inputs if not widget.tooltip] == []
    assert [name for name in node.RETURN_NAMES if not name] == []


@pytest.mark.parametrize("node", NODES, ids=_id)
def test_a_node_has_a_help_page_that_names_every_input_and_output(node):
    page = ROOT / "web" / "docs" / f"{_id(node)}.md"
    assert page.is_file()
    text = page.read_text("utf-8")
    names = [
        widget.id.rstrip("_12345678") if widget.id[-1].isdigit() else widget.id
        for widget in node.GET_SCHEMA().inputs
    ] + node.RETURN_NAMES
    assert [name for name in names if name not in text] == []


NARROW = 260  # pixels: the pane that shows a help page
LETTER = 7.3  # pixels, of a code span at 12 px


@pytest.mark.parametrize("page", sorted((ROOT / "web" / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_a_help_page_fits_a_narrow_pane(page):
    """No table, and nothing that cannot be broken but file names, which the pane breaks at their dots and hyphens."""
    text = page.read_text("utf-8")
    assert not re.search(r"^\|.*\|$", text, re.MULTILINE), "a table: make a list of it"
    unbroken = [part for span in re.findall(r"`([^`\n]+)`", text) for part in re.split(r"[ ./_+-]", span)]
    assert [part for part in unbroken if len(part) * LETTER > NARROW] == []
    assert text.startswith("# ") and len(text) < 11_000, "long tables belong into docs/benchmarks"


def test_there_is_no_help_page_without_a_node():
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == {_id(node) for node in NODES}


def _constructors():
    """{class: its name} of all that defines a constructor for an input or an output."""
    found = {io.Input: "Input", io.Output: "Output"}
    for name, kind in vars(io).items():
        for part in ("Input", "Output"):
            inner = getattr(kind, part, None)
            if (
                isinstance(inner, type)
                and issubclass(inner, io.Input | io.Output)
                and "__init__" in vars(inner)
            ):
                found.setdefault(inner, f"{name}.{part}")
    return found


@pytest.fixture
def constructed(monkeypatch):
    """(class, argument names) of every input and output that is constructed while a test runs."""
    calls = []

    def spied(kind, name):
        original = kind.__init__
        signature = inspect.signature(original)

        def spy(self, *args, **kwargs):
            if type(self).__init__ is spy:  # not a call from a subclass
                calls.append((name, set(signature.bind(self, *args, **kwargs).arguments) - {"self"}))
            original(self, *args, **kwargs)

        return spy

    for kind, name in _constructors().items():
        monkeypatch.setattr(kind, "__init__", spied(kind, name))
    return calls


def _too_new(calls):
    return [
        (kind, names - ARGUMENTS.get(kind, set()))
        for kind, names in calls
        if not names <= ARGUMENTS.get(kind, set())
    ]


@pytest.mark.parametrize("node", NODES, ids=_id)
def test_a_schema_stays_within_the_oldest_constructors(node, constructed):
    schema = node.define_schema()
    assert len(constructed) >= len(schema.inputs) + len(schema.outputs) > 0
    assert _too_new(constructed) == []


def test_a_newer_constructor_is_seen(constructed):
    io.Combo.Input("a", options=["x"], lazy=True)
    io.Custom("T").Input("b", extra_dict={})
    io.Combo.Output("c", options=["x"])
    io.MultiCombo.Input("d", options=["x"])
    assert [kind for kind, _ in _too_new(constructed)] == ["Combo.Output", "MultiCombo.Input"]


def _calls_and_types(source):
    """What a file of nodes uses of `io`, and the keywords of its NodeOutputs."""
    tree = ast.parse(source)
    types = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "io"
    }
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "io.NodeOutput"
    ]
    return types, {keyword.arg for call in calls for keyword in call.keywords}


def test_only_old_types_are_used():
    used = [_calls_and_types(file.read_text("utf-8")) for file in sorted((ROOT / "nodes").glob("*.py"))]
    types = set().union(*(types for types, _ in used))
    assert (
        {"ComfyNode", "NodeOutput"} <= types <= TYPES
    )  # io.Schema too is missing on purpose: compat.schema leaves out what a version lacks
    assert set().union(*(keywords for _, keywords in used)) <= NODE_OUTPUT
