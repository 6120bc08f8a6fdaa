"""What the frozen prompts, one search with other samplers, and the examples give on one ComfyUI; tools/versions.py compares versions by it.

    NOISESEARCH_COMFYUI=PATH .venv/bin/python tools/scenarios.py > found.json

`workflows`: what each scenario gave, as tools/winners.py describes it. `left_out` and `examples`: why one did not run, "" for an example that did.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
from pathlib import Path

import winners
import workflow
from comfy_server import ROOT, ComfyServer, ServerError, base_directory

VARIED = "demo_digits"
SAMPLERS = (  # families of solvers and all schedulers; the last four draw noise on the way
    ("dpmpp_2m", "karras"),
    ("heun", "beta"),
    ("lms", "normal"),
    ("uni_pc", "sgm_uniform"),
    ("deis", "exponential"),
    ("ddim", "ddim_uniform"),
    ("dpmpp_sde", "linear_quadratic"),
    ("lcm", "kl_optimal"),
    ("sa_solver", "simple"),
    ("er_sde", "simple"),
)


def scenarios() -> dict[str, dict]:
    """{name: prompt in API format}."""
    found = {path.stem: prompt for path, prompt in winners.runnable(winners.FROZEN / "api")}
    for sampler, scheduler in SAMPLERS:
        prompt = copy.deepcopy(found[VARIED])
        for node in prompt.values():
            if "sampler_name" in node["inputs"]:
                node["inputs"] |= {"sampler_name": sampler, "scheduler": scheduler}
        found[f"{VARIED} with {sampler}, {scheduler}"] = prompt
    return found


def lacking(types, info: dict) -> str:
    """Which node types this ComfyUI does not know, as a reason; "" for none."""
    unknown = sorted(set(types) - set(info))
    return f"this ComfyUI has no {', '.join(unknown)}" if unknown else ""


def try_example(server: ComfyServer, graph: dict, info: dict) -> str:
    """Why an example does not run; "" when it ran. One for a large model is opened only: the model is not there."""
    types = [node["type"] for node in graph["nodes"] if node["type"] not in workflow.NOTES]
    if why := lacking(types, info):
        return why
    if wrong := workflow.problems(graph, info):
        return "; ".join(wrong)
    if models := [model["name"] for node in graph["nodes"] for model in node["properties"].get("models", ())]:
        return f"opens; to run, it needs {models[0]}"
    try:
        server.run(workflow.to_api(graph, info), workflow=graph)
    except ServerError as error:
        return str(error).splitlines()[0]
    return ""


def measure(server: ComfyServer) -> dict:
    info, given, left_out = server.object_info(), {}, {}
    for name, prompt in scenarios().items():
        if why := lacking((node["class_type"] for node in prompt.values()), info):
            left_out[name] = why
            continue
        try:
            given[name] = winners.outcome(server, prompt)
        except ServerError as error:
            left_out[name] = str(error).splitlines()[0]
    examples = sorted((ROOT / "example_workflows").glob("*.json"))
    tried = {path.stem: try_example(server, json.loads(path.read_text("utf-8")), info) for path in examples}
    return {
        "machine": winners.machine(server),
        "workflows": given,
        "left_out": left_out,
        "examples": tried,
    }


def main() -> int:
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base", journal=False)  # each pays for itself
        winners.photos.fill(base / "input")
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            print(json.dumps(measure(server), indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
