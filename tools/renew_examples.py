"""Give the nodes in example_workflows what they have gained since: widgets at their defaults, optional inputs, outputs.

    .venv/bin/python tools/renew_examples.py

Only our own nodes, and only at the end of what is stored: everything else stays where it was.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory
from workflow import outdated, renew

FOLDER = ROOT / "example_workflows"


def main() -> int:
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base")
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            object_info = server.object_info()
    for path in sorted(FOLDER.glob("*.json")):
        text = path.read_text("utf-8")
        graph, indent = json.loads(text), len(re.match(r"{\n( *)", text).group(1))
        before = json.dumps(graph)
        for node in graph["nodes"]:
            if node["type"].startswith("NoiseSearch"):
                renew(node, object_info[node["type"]])
        if json.dumps(graph) != before:
            path.write_text(json.dumps(graph, indent=indent, ensure_ascii=False) + "\n", "utf-8")
            print(path.name)
        left = [line for line in outdated(graph, object_info) if "(NoiseSearch" in line]
        print(*left, sep="\n", end="\n" if left else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
