"""How large and how fast the verifiers are whose published weights are not in this pack: their true layouts, with random numbers in them.

make bench ARGS=true_sizes            needs 4 GB of disk for a moment, and 12 GB of memory
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from verifiers import IMAGES, milliseconds, shown  # the first: it finds ComfyUI

from _true_judges import clip, image_reward, pick_score, tower

from noisesearch.verifiers.judges.aesthetic import Aesthetic
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import FID_INCEPTION
from noisesearch.verifiers.networks.features import DinoFeatures
from noisesearch.verifiers.networks.inception import FidInception
from noisesearch.verifiers.judges.preference import HumanPreference
from noisesearch.verifiers.judges.reference import ReferenceSimilarity

PROMPT = "an astronaut in front of a flag and a model of a space shuttle"


def main():
    batch = Batch(shown(512), PROMPT)
    print(f"\n### True sizes: {IMAGES} images of 512 x 512 at once, one CPU core\n")
    print("| verifier | network | million weights | ms per image |\n|---|---|---:|---:|")
    for make in (
        image_reward,
        clip("MobileCLIP2-S0"),
        clip("ViT-B-32-openai"),
        clip("ViT-L-14-openai"),
        aesthetic,
        pick_score,
        human_preference,
        dino,
        fid,
    ):
        with tempfile.TemporaryDirectory() as folder:
            judge, label, network = make(Path(folder), batch)
            weights = sum(parameter.numel() for parameter in network.parameters()) / 1e6
            print(
                f"| {judge.name} | {label} | {weights:.0f} | {milliseconds(judge, batch):.0f} |", flush=True
            )
            del judge, network


def aesthetic(folder, batch):
    sizes = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    torch.save(
        {
            **{f"layers.{i}.weight": torch.randn(size) for i, size in sizes.items()},
            **{f"layers.{i}.bias": torch.randn(size[0]) for i, size in sizes.items()},
        },
        folder / "head.pth",
    )
    judge = Aesthetic(tower(folder, "ViT-L-14-openai"), folder / "head.pth")
    return judge, "ViT-L-14-openai", judge.features.model.network


def human_preference(folder, batch):
    judge = HumanPreference(tower(folder, "HPS_v2.1_compressed"))
    return judge, "ViT-H-14", judge.tower.model.network


def dino(folder, batch):
    import timm

    torch.save(
        timm.create_model("vit_base_patch14_dinov2", num_classes=0).state_dict(),
        folder / "vit_base_patch14_dinov2.pth",
    )
    features = DinoFeatures(folder / "vit_base_patch14_dinov2.pth")
    return ReferenceSimilarity(features, batch.images[:1]), "DINOv2-B", features.model.network


def fid(folder, batch):
    from torchvision.models import inception_v3

    torch.save(
        inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict(),
        folder / FID_INCEPTION.name,
    )
    features = FidInception(folder / FID_INCEPTION.name)
    return ReferenceSimilarity(features, batch.images[:1]), "FID's Inception", features.model.network


if __name__ == "__main__":
    main()
