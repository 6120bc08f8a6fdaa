"""What saved workflows give: the winner of every search, its score, what it cost and a hash of every picture.

    .venv/bin/python tools/winners.py > winners.json                        of the workflows in tests/fixtures/workflows
    .venv/bin/python tools/winners.py --pack FOLDER > before.json           the same by another checkout of the pack
    .venv/bin/python tools/winners.py --compare before.json winners.json    what differs, one line each

Widget values are stored by position and prompts by name: both are a contract with everybody who saved one. The frozen copies are of
commit 94f8060, and so is tests/fixtures/winners.json. Workflows that need models which the pack does not have are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory
from PIL import Image
from workflow import to_api

sys.path.insert(0, str(ROOT / "tests"))
import photos  # noqa: E402

FROZEN = ROOT / "tests" / "fixtures" / "workflows"
COSTS = (
    "nfe",
    "search_nfe",
    "final_nfe",
    "network_rows",
    "verifier_calls",
)  # decodes: a slow machine shows more previews
TEXT = 200  # a longer one is a report or a recipe, which are here already


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=Path, default=ROOT, help="the checkout that the server loads")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    options = parser.parse_args(arguments)
    if options.compare:
        before, after = (json.loads(path.read_text("utf-8")) for path in options.compare)
        lines = differences(before, after)
        print("\n".join(lines) or f"{len(before['workflows'])} workflows give the same.")
        return 1 if lines else 0
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base", options.pack, journal=False)  # each pays for itself
        photos.fill(base / "input")
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            info = server.object_info()
            graphs = {path.stem: outcome(server, to_api(graph, info)) for path, graph in runnable(FROZEN)}
            prompts = {path.stem: outcome(server, prompt) for path, prompt in runnable(FROZEN / "api")}
            found = {"machine": machine(server), "workflows": prompts}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    lines = differences({**found, "workflows": graphs}, found)
    print("\n".join(lines), file=sys.stderr)  # a graph gives what its prompt gives
    return 1 if lines else 0


def runnable(folder: Path) -> list[tuple[Path, dict]]:
    """(file, content) of the workflows or prompts in a folder that need no model but the pack's own."""
    found = [(path, json.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.json"))]
    return [(path, content) for path, content in found if not _needs_files(content)]


def _needs_files(content: dict) -> bool:
    """Whether a workflow or a prompt names a diffusion model's file."""
    return any(f"{kind}Loader" in str(content) for kind in ("Checkpoint", "UNET"))


def machine(server: ComfyServer) -> dict:
    """What the last digits depend on. Pictures are compared to the bit only where it is the same."""
    system = server.get("/system_stats")["system"]
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    return {
        "processor": processor,
        "comfyui": system["comfyui_version"],
        "torch": system["pytorch_version"],
        "python": platform.python_version(),
    }


def outcome(server: ComfyServer, prompt: dict) -> dict:
    """{node: what it showed} after a run of a prompt in API format."""
    entry = server.run(prompt)
    pictures = server.images(entry)
    shown = {}
    for node, output in sorted(entry["outputs"].items(), key=lambda item: int(item[0])):
        about = {"node": prompt[node]["class_type"]}
        if "noise_search" in output:
            about |= essentials(output["noise_search"][0])
        if node in pictures:
            about["pictures"] = [_hash(data) for data in pictures[node]]
        texts = [text for text in output.get("text", ()) if isinstance(text, str) and len(text) < TEXT]
        if texts:
            about["text"] = texts
        shown[node] = about
    return shown


def _hash(data: bytes) -> str:
    """Of the pixels: a PNG carries the workflow too."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return f"{picture.width}x{picture.height} {hashlib.sha256(picture.tobytes()).hexdigest()}"


def essentials(report: dict) -> dict:
    """What of a report is the same on every run: no seconds, no words."""
    totals = report.get("totals", {})
    return {
        **{
            name: report[name]
            for name in ("verifiers", "weights", "method", "held_out", "prompt", "seed")
            if name in report
        },
        "search": report.get("search", {}).get("name"),
        "totals": {name: totals[name] for name in COSTS if name in totals},
        "images": [_image(image) for image in report["images"]],
    }


def _image(image: dict) -> dict:
    """Of a search: its winner and costs, and every candidate. Of Score and Sort Images: a row as it is."""
    if "winner" not in image:
        return image
    return {
        "winner": image["winner"],
        "search_nfe": image["search_nfe"],
        "final_nfe": image["final_nfe"],
        "stopped": image["stopped"],
        "candidates": [[one["nfe"], one["scores"]] for one in image["candidates"]],
    }


def differences(before: dict, after: dict, scores: float = 1e-4) -> list[str]:
    """Where `after` is not as `before`: numbers to `scores` of a large one, all else exactly; pictures if the machine is the same.

    A judge's last digits change with how many images it sees at once, which a slow machine may change: CLIP's by 4e-5.
    What `after` has besides (a new key of a report, a new workflow) is no difference.
    """
    same_machine = before["machine"] == after["machine"]
    return list(_differences(before["workflows"], after["workflows"], "", scores, same_machine))


def _differences(before, after, where, scores, same_machine):
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key == "pictures" and not same_machine:
                continue
            if key in after:
                yield from _differences(value, after[key], f"{where}/{key}", scores, same_machine)
            else:
                yield f"{where}/{key} is gone"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after)):
            yield from _differences(*pair, f"{where}/{i}", scores, same_machine)
    elif isinstance(before, float) and isinstance(after, (int, float)) and "/recipe/" not in where:
        if abs(before - after) > scores * max(1.0, abs(before)):
            yield f"{where}: {before} was, {after} is"
    elif type(before) is not type(after) or before != after:
        yield f"{where}: {before!r} was, {after!r} is"


if __name__ == "__main__":
    sys.exit(main())
