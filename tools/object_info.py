"""Facts about ComfyUI's own nodes in one version, for tests/fixtures/object_info: those of our examples, and all that a prompt can pass.

    NOISESEARCH_COMFYUI=PATH .venv/bin/python tools/object_info.py > tests/fixtures/object_info/VERSION.json

One line a node: what it takes and gives, no descriptions, no files of this machine.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory

FROZEN = ROOT / "tests" / "fixtures" / "workflows"
GRAPHS = [*(ROOT / "example_workflows").glob("*.json"), *FROZEN.glob("*.json")]
PROMPTS = list((FROZEN / "api").glob("*.json"))
WALKED = {"CONDITIONING", "GUIDER"}  # a prompt is looked for behind links of these types
OPTIONS = {
    "control_after_generate",
    "default",
    "dynamicPrompts",
    "forceInput",
    "image_upload",
    "max",
    "min",
    "multiline",
    "options",
}


def facts(object_info: dict) -> dict:
    """The trimmed definitions, by name."""
    used = {node["type"] for path in GRAPHS for node in json.loads(path.read_text("utf-8"))["nodes"]}
    used |= {node["class_type"] for path in PROMPTS for node in json.loads(path.read_text("utf-8")).values()}
    stock = {name: one for name, one in object_info.items() if not name.startswith("NoiseSearch")}
    return {
        name: trimmed(one)
        for name, one in sorted(stock.items())
        if name in used or WALKED & {kind for kind in one["output"] if isinstance(kind, str)}
    }


def trimmed(definition: dict) -> dict:
    groups = {
        group: {name: _input(entry) for name, entry in inputs.items()}
        for group, inputs in definition["input"].items()
        if group in ("required", "optional")
    }
    order = {group: definition["input_order"].get(group, []) for group in groups}
    return {
        "input": groups,
        "input_order": order,
        "output": definition["output"],
        "output_name": definition["output_name"],
    }


def _input(entry):
    kind, *rest = entry
    options = {name: value for name, value in (rest[0] if rest else {}).items() if name in OPTIONS}
    return [kind, options] if options else [kind]


def main() -> int:
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base")
        (base / "input" / "example.png").touch()  # every ComfyUI comes with it
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            found = facts(server.object_info())
            version = server.get("/system_stats")["system"]["comfyui_version"]
    lines = [f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in found.items()]
    print("{\n" + json.dumps("comfyui") + f": {json.dumps(version)},\n" + ",\n".join(lines) + "\n}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
