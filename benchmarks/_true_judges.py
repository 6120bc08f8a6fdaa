"""Verifiers of the catalogue in their true layouts, with random numbers in them. Imported once ComfyUI is on the path.

Which there are, which file each reads and how it becomes a judge is the catalogue's to say (verifiers/catalogue.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import torch
from safetensors.torch import save_file

from noisesearch.verifiers.catalogue import (
    AESTHETIC_HEAD,
    CYCLE_REWARD,
    FEATURES,
    FID_INCEPTION,
    IMAGE_REWARD,
    SCORERS,
    load_features,
    load_verifier,
)
from noisesearch.verifiers.files import AUTO, CLIPS, VERIFIERS
from noisesearch.verifiers.networks.clip_models import by_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from reward_weights import published_shapes  # noqa: E402

SAME_NETWORKS = ("CLIP cosine", "ImageReward (package)", "CLIP")  # as others of the catalogue


def needing_files() -> Iterator[str]:
    """The scorers and feature networks whose files are not in this pack, one for each network."""
    for name, entry in {**SCORERS, **FEATURES}.items():
        packaged = not entry.files or entry.files[0].page == "comes with this pack"
        if not packaged and name not in SAME_NETWORKS:
            yield name


def loaded(name: str, folder: Path, file: str = AUTO):
    """(a verifier or a feature network, its torch network) out of files that are written into a folder. file: a CLIP's name, where there are many."""
    entry = {**SCORERS, **FEATURES}[name]
    for kind in (VERIFIERS, CLIPS):
        (folder / kind).mkdir(exist_ok=True)
        endings = folder_paths.folder_names_and_paths[kind][1]
        folder_paths.folder_names_and_paths[kind] = ([str(folder / kind)], endings)
    folder_paths.filename_list_cache.clear()
    chosen = entry.files[0].name if file == AUTO else file
    write(folder / entry.folder / chosen)
    for clip in entry.also[:1]:
        write(folder / CLIPS / clip.name)
    made = load_verifier(name, chosen) if name in SCORERS else load_features(name, chosen)
    holder = next((getattr(made, part) for part in ("tower", "features") if part in vars(made)), made)
    return made, holder.model.network


def write(path: Path) -> None:
    """Random weights of the layout that a published file of this name has."""
    layouts = {
        IMAGE_REWARD.name: lambda: reward("image_reward"),
        CYCLE_REWARD[0].name: lambda: reward("cycle_reward"),
        AESTHETIC_HEAD.name: aesthetic_head,
        FID_INCEPTION.name: inception,
    }
    if path.name in layouts:
        state = layouts[path.name]()
    else:
        state = dino(path.name) if "dino" in path.name else clip(path.name)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def reward(fixture: str) -> dict:
    found = json.loads((ROOT / "tests" / "fixtures" / f"{fixture}.json").read_text(encoding="utf-8"))
    shapes = published_shapes(found["values"]["shapes"])
    return {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}


def aesthetic_head() -> dict:
    sizes = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    return {
        **{f"layers.{i}.weight": torch.randn(size) for i, size in sizes.items()},
        **{f"layers.{i}.bias": torch.randn(size[0]) for i, size in sizes.items()},
    }


def clip(name: str) -> dict:
    import open_clip

    return open_clip.create_model(by_file(name).architecture).state_dict()


def dino(name: str) -> dict:
    import timm

    return timm.create_model(name.split(".")[0], num_classes=0).state_dict()


def inception() -> dict:
    from torchvision.models import inception_v3

    return inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict()
