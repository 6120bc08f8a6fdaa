"""The pictures that ComfyUI shows beside the example workflows: what each one that runs on the embedded models makes.

    .venv/bin/python tools/workflow_pictures.py [NAME ...]      writes example_workflows/NAME.jpg

Those of demo and demo_digits are contact sheets of `make demo`.
"""

import io
import os
import json
import sys
import tempfile
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory
from PIL import Image
from workflow import to_api

sys.path.insert(0, str(ROOT / "tests"))
import photos  # noqa: E402

FOLDER = ROOT / "example_workflows"
SIZE, MARGIN, BACKGROUND = (512, 340), 8, "#202020"


def main(names):
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base")
        photos.fill(base / "input")
        with ComfyServer(comfyui, base) as server:
            for path in sorted(FOLDER.glob("*.json")):
                graph = photos.judged(json.loads(path.read_text(encoding="utf-8")))
                if (
                    (names and path.stem not in names)
                    or path.stem.startswith("demo")
                    or any("models" in node.get("properties", {}) for node in graph["nodes"])
                ):
                    continue
                found = server.images(server.run(to_api(graph, server.object_info()), workflow=graph))
                pictures = [
                    Image.open(io.BytesIO(png)).convert("RGB") for images in found.values() for png in images
                ]
                sheet(pictures).save(path.with_suffix(".jpg"), quality=88)
                print(path.stem, len(pictures), flush=True)


def sheet(pictures):
    """All pictures in one row or two, as large as they go."""
    rows = 1 if len(pictures) < 4 else 2
    columns = -(-len(pictures) // rows)
    side = min((SIZE[0] - MARGIN) // columns, (SIZE[1] - MARGIN) // rows) - MARGIN
    canvas = Image.new("RGB", SIZE, BACKGROUND)
    left, top = (
        (SIZE[0] - columns * (side + MARGIN) + MARGIN) // 2,
        (SIZE[1] - rows * (side + MARGIN) + MARGIN) // 2,
    )
    for i, picture in enumerate(pictures):
        shown = picture.resize(
            (side, side), Image.Resampling.NEAREST if picture.width < side else Image.Resampling.LANCZOS
        )
        canvas.paste(shown, (left + i % columns * (side + MARGIN), top + i // columns * (side + MARGIN)))
    return canvas


if __name__ == "__main__":
    main(sys.argv[1:])
