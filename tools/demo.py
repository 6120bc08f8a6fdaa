"""Search on a real ComfyUI server, with pictures: `make demo`.

Queues example_workflows/demo.json (scenes) and demo_digits.json over the server's HTTP API, for several prompts: without a search,
with random search and with zero-order search at the same NFE. Writes output/demo/ and prints what came of it. A judge that no
search ever sees has the last word.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comfy_server import ROOT, ComfyServer, ServerError, base_directory
from demo_pictures import contact_sheet, picture, score_plot
from pack import load_pack, use_comfyui
from workflow import to_api

OUTPUT = ROOT / "output" / "demo"
FIRST, RANDOM, ZERO_ORDER = "first sample", "random search", "zero-order search"
MODES = (FIRST, RANDOM, ZERO_ORDER)
CANDIDATES = 7  # the place of that widget among the values of KSampler (Best of N Search)
WORLDS = {"scenes": "demo.json", "digits": "demo_digits.json"}


@dataclass
class Run:
    """One queued workflow. right: what the judge says of the winner."""

    world: str
    prompt: str
    mode: str
    report: dict
    png: bytes
    seconds: float
    right: bool = False

    @property
    def winner(self) -> dict:
        return self.report["images"][0]["winner"]

    @property
    def candidates(self) -> list[dict]:
        return self.report["images"][0]["candidates"]

    @property
    def nfe(self) -> int:
        return self.report["totals"]["nfe"]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=10, help="how many prompts of each world")
    parser.add_argument("--seed", type=int, default=2026, help="which prompts and which noises")
    options = parser.parse_args(arguments)
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    print("Starting ComfyUI ...", flush=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(
            comfyui,
            base_directory(Path(folder) / "base", journal=False),  # every mode pays for itself
            log=Path(folder) / "server.log",
        ) as server,
    ):
        print(f"It answers after {time.monotonic() - began:.0f} s.", flush=True)
        runs = [run for world in WORLDS for run in run_world(server, world, options.prompts, options.seed)]
    use_comfyui(comfyui)
    for run in runs:
        run.right = judge(run)
    write(runs)
    print(table(runs))
    print(f"\nPictures, plot and reports are in {OUTPUT}: begin with before_after_scenes.png")
    return 0


def run_world(server: ComfyServer, world: str, count: int, seed: int) -> list[Run]:
    """Every prompt of a world in every mode. The graph is the shipped workflow; only prompt, seed and search are set."""
    load_pack()
    prompts = importlib.import_module("noisesearch.demo.worlds").held_out_prompts(world, count, seed)
    shipped = json.loads((ROOT / "example_workflows" / WORLDS[world]).read_text("utf-8"))
    object_info, runs = server.object_info(), []
    for i, prompt in enumerate(prompts):
        for mode in MODES:
            workflow = variant(shipped, prompt, seed + 1000 * i, mode)
            began = time.monotonic()
            entry = server.run(
                to_api(workflow, object_info), workflow
            )  # the images embed the very graph that made them
            report = entry["outputs"][str(node_of(workflow, "NoiseSearchKSampler")["id"])]["noise_search"][0]
            png = server.images(entry)[str(node_of(workflow, "After")["id"])][0]
            runs.append(Run(world, prompt, mode, report, png, time.monotonic() - began))
        print(f"  {world} {i + 1}/{count}: {prompt}", flush=True)
    return runs


def variant(shipped: dict, prompt: str, seed: int, mode: str) -> dict:
    """The shipped graph with this prompt, seed and search."""
    graph = copy.deepcopy(shipped)
    search = node_of(graph, "NoiseSearchKSampler")
    node_of(graph, "Prompt")["widgets_values"][0] = prompt
    search["widgets_values"][0] = node_of(graph, "The same seed without a search")["widgets_values"][0] = seed
    if mode == FIRST:
        search["widgets_values"][CANDIDATES] = 1
    if mode == ZERO_ORDER:
        number = next(slot["link"] for slot in search["inputs"] if slot["name"] == "search")
        link, other = (
            next(link for link in graph["links"] if link[0] == number),
            node_of(graph, "NoiseSearchZeroOrder"),
        )
        node_of(graph, "NoiseSearchRandom")["outputs"][0]["links"], other["outputs"][0]["links"] = (
            None,
            [number],
        )
        link[1] = other["id"]
    return graph


def node_of(graph: dict, name: str) -> dict:
    """The node of that title, or else type."""
    return next(node for key in ("title", "type") for node in graph["nodes"] if node.get(key) == name)


def judge(run: Run) -> bool:
    """Whether the independent judge finds everything in the winner that the prompt asked for."""
    kind = (
        importlib.import_module("noisesearch.demo.attributes").SceneAttributes
        if run.world == "scenes"
        else importlib.import_module("noisesearch.demo.digits").DigitClassifier
    )
    batch = importlib.import_module("noisesearch.verifiers.base").Batch
    weights = ROOT / "models" / "demo" / "verifiers" / f"{run.world}_judge.safetensors"
    return bool(kind(str(weights)).correct(batch(picture(run.png)[None], run.prompt))[0])


def write(runs: list[Run]) -> None:
    (OUTPUT / "images").mkdir(parents=True, exist_ok=True)
    for run in runs:
        name = f"{run.world}_{run.prompt}_{run.mode}".replace(" ", "_")
        (OUTPUT / "images" / f"{name}.png").write_bytes(run.png)
    entries = [
        {
            "world": r.world,
            "prompt": r.prompt,
            "mode": r.mode,
            "judge_says_right": r.right,
            "seconds": round(r.seconds, 2),
            "report": r.report,
        }
        for r in runs
    ]
    (OUTPUT / "report.json").write_text(json.dumps(entries, indent=1), "utf-8")
    for world in WORLDS:
        contact_sheet(
            [run for run in runs if run.world == world], MODES, OUTPUT / f"before_after_{world}.png"
        )
    score_plot(runs, list(WORLDS), (RANDOM, ZERO_ORDER), OUTPUT / "score_against_nfe.png")


def table(runs: list[Run]) -> str:
    """Means per world and mode: the score of the search's own verifier, the judge's verdict, what it cost."""
    lines = [f"\n{'':24}{'verifier score':>16}{'judge: all right':>18}{'NFE':>8}{'seconds':>10}"]
    for world in WORLDS:
        for mode in MODES:
            some = [run for run in runs if (run.world, run.mode) == (world, mode)]
            score, right, nfe, seconds = (
                sum(values) / len(some)
                for values in zip(*((r.winner["scores"][0], r.right, r.nfe, r.seconds) for r in some))
            )
            lines.append(f"{world + ', ' + mode:<24}{score:>16.3f}{right:>17.0%} {nfe:>8.0f}{seconds:>10.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
