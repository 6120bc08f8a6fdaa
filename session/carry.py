"""The picture carries its winner: what a search found, beside the workflow in every picture that is saved.

ComfyUI writes each entry of `extra_pnginfo` into its pictures. A search puts its record there under "noise_search", and into the
workflow's own `extra`, which travels with the graph. A node that ComfyUI answers from its cache does not run again; so the record of
its last run is put back when such a prompt is queued (`on_prompt`).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch

from ..compat import COMFYUI
from ..search.rollout import Recipe
from ..untrusted import excerpt
from .found import Found, FoundOne
from .provenance import files_among, nodes_above
from .report import clean

KEY = "noise_search"
NODES = ("NoiseSearchKSampler", "NoiseSearchSampler")
REMEMBERED = 64  # records of cached nodes
DRAFTED = ("draft_steps", "draft_cfg", "verify_top")  # the widgets, as they were resolved
LARGEST = 200_000  # characters of a record; the last of the runner-ups are left out of a longer one

_records: OrderedDict[str, dict] = OrderedDict()


def record_of(found: Found, made: dict[str, Any]) -> dict[str, Any]:
    """What a picture must know. made: facts about the graph that made it (`facts_of`)."""
    report = found.report
    record = {
        KEY: 1,
        "comfyui": COMFYUI,
        "search": report["search"],
        "verifiers": report["verifiers"],
        "method": report["method"],
        "prompt": report["prompt"],
        "made": made,
        "winners": [_winner(one) for one in found.found],
        "top": [entry for one in found.found for entry in _top(one)],
    }
    record = clean(record)
    top = record.pop("top")
    room = LARGEST - len(json.dumps({**record, "top": []}))
    sizes = accumulate(len(json.dumps(entry)) + len(", ") for entry in top)
    return {**record, "top": [entry for entry, size in zip(top, sizes) if size - len(", ") <= room]}


def _winner(one: FoundOne) -> dict[str, Any]:
    drafted = {"drafts": {name: one.drafts[name] for name in DRAFTED}} if one.drafts else {}
    return {"recipe": _dated(one.recipe), "scores": one.scores, "held_out": one.held_out, **drafted}


def _top(one: FoundOne) -> list[dict[str, Any]]:
    """The best few, each known by its pixels: a saved runner-up is told from the winner."""
    return [
        {"recipe": _dated(recipe), "scores": score, "pixels": pixels(image)}
        for recipe, score, image in zip(one.top_recipes, one.top_scores, one.images)
    ]


def _dated(recipe: Recipe) -> dict[str, Any]:
    """With the ComfyUI that it was written under, so that a pick under another one can say so."""
    return replace(recipe, comfyui=recipe.comfyui or COMFYUI).to_dict()


def pixels(image: torch.Tensor) -> str:
    """sha256 of the size and the 8-bit pixels that ComfyUI saves of an image [1, H, W, C]; of a video, of its first frame."""
    frame = image.reshape(-1, *image.shape[-3:])[0]
    # as ComfyUI's own savers round it
    saved = (255.0 * frame.float().cpu()).clamp(0, 255).to(torch.uint8).numpy()
    return hashlib.sha256(repr(saved.shape).encode() + saved.tobytes()).hexdigest()


def facts_of(
    guider: Any, sampler: str, sigmas: torch.Tensor, latent: torch.Tensor, files: Sequence[str]
) -> dict:
    """What must be the same for a recipe to give the same picture; of a sort that a person can compare."""
    facts = {
        "model": type(guider.model_patcher.model).__name__,
        "files": sorted(set(files)),
        "size": list(latent.shape[1:]),
        "sampler": sampler,
        "steps": len(sigmas) - 1,
        "sigmas": hashlib.sha256(sigmas.float().cpu().numpy().tobytes()).hexdigest()[:16],
        "guider": type(guider).__name__,
        "cfg": getattr(guider, "cfg", None),
    }
    return clean(facts)


WORDS = {"files": "model files", "size": "latent size", "sigmas": "noise schedule"}


def differences(then: Any, now: dict[str, Any]) -> list[str]:
    """One sentence for each fact that differs from those of the record; [] for a record without facts."""
    if not isinstance(then, dict):
        return []
    told = "steps" in then and then["steps"] != now["steps"]
    return [
        f"The picked image was made with another {WORDS.get(name, name)}: {excerpt(then[name], 80)} then, {excerpt(value, 80)} now."
        for name, value in now.items()
        if name in then and then[name] != value and not (name == "sigmas" and told)
    ]


# -- into pictures ---------------------------------------------------------------------------------------------------------


def attach(extra: Any, node_id: str | None, record: dict[str, Any], graph: Any = None) -> None:
    """Put a record into a prompt's `extra_pnginfo`; graph: the prompt, to remember the record by."""
    if not isinstance(extra, dict) or node_id is None:
        return
    for place in (extra, _workflow_extra(extra)):
        if isinstance(place, dict):
            entry = place.setdefault(KEY, {})
            if isinstance(entry, dict):
                entry[str(node_id)] = record
    key = graph_key(graph, str(node_id))
    if key:
        _records[key] = record
        _records.move_to_end(key)
        while len(_records) > REMEMBERED:
            _records.popitem(last=False)


def _workflow_extra(extra: dict) -> Any:
    workflow = extra.get("workflow")
    return workflow.setdefault("extra", {}) if isinstance(workflow, dict) else None


def on_prompt(data: Any) -> Any:
    """ComfyUI's hook for a prompt that is queued: give its search nodes the records of their last run, should they be cached."""
    prompt = data.get("prompt") if isinstance(data, dict) else None
    if not isinstance(prompt, dict):
        return data
    ours = [id for id, node in prompt.items() if isinstance(node, dict) and node.get("class_type") in NODES]
    if not ours:
        return data
    extra_data = data.setdefault("extra_data", {})
    if not isinstance(extra_data, dict):
        return data
    extra = extra_data.get("extra_pnginfo")
    if extra is None:  # clients without a browser; their pictures carry the winner too
        extra = extra_data["extra_pnginfo"] = {}
    for id in ours:
        record = _records.get(graph_key(prompt, id) or "")
        if record is not None:
            attach(extra, id, record)
    return data


def graph_key(prompt: Any, node_id: str) -> str | None:
    """sha256 of a node and all that it is made of; None for a graph that cannot be read."""
    if not isinstance(prompt, dict):
        return None
    nodes = nodes_above(prompt.get, node_id)
    seen = {id: [node.get("class_type"), node["inputs"]] for id, node in nodes.items()}
    try:
        return hashlib.sha256(json.dumps([node_id, seen], sort_keys=True).encode()).hexdigest()
    except (TypeError, ValueError, RecursionError):
        return None


def files_behind(prompt: Any, node_id: str | None) -> list[str]:
    """The names of files that a node is made of, each once; [] for a graph that cannot be read."""
    return files_among(nodes_above(prompt.get, str(node_id))) if isinstance(prompt, dict) else []
