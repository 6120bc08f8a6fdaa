"""Verifiers in their true layouts, with random numbers in them. Imported once ComfyUI is on the path."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from noisesearch.verifiers.catalogue import IMAGE_REWARD
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.judges.image_reward import ImageReward
from noisesearch.verifiers.judges.preference import PickScore
from noisesearch.verifiers.networks.clip_models import by_file
from noisesearch.verifiers.networks.clip_tower import load_tower

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from reward_weights import published_shapes  # noqa: E402


def image_reward(folder, batch):
    shapes = json.loads((ROOT / "tests" / "fixtures" / "image_reward.json").read_text(encoding="utf-8"))[
        "values"
    ]["shapes"]
    torch.save(
        {name: torch.randn(shape) * 0.02 for name, shape in published_shapes(shapes).items()},
        folder / IMAGE_REWARD.name,
    )
    judge = ImageReward(folder / IMAGE_REWARD.name)
    return judge, "BLIP, ViT-L/16", judge.model.network


def tower(folder, name):
    import open_clip

    torch.save(open_clip.create_model(by_file(name).architecture).state_dict(), folder / f"{name}.pt")
    return load_tower(folder / f"{name}.pt")


def clip(name):
    def make(folder, batch):
        judge = ClipScore(tower(folder, name))
        return judge, name, judge.tower.model.network

    return make


def pick_score(folder, batch):
    judge = PickScore(tower(folder, "PickScore_v1"))
    return judge, "ViT-H-14", judge.tower.model.network
