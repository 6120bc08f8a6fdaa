"""How large and how fast the verifiers are whose published weights are not in this pack: their true layouts, with random numbers in them.

make bench ARGS=true_sizes            needs 4 GB of disk for a moment, and 12 GB of memory; after `--`, the names of some of them
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from verifiers import IMAGES, milliseconds, shown

from noisesearch.verifiers.base import Batch, ImageVerifier
from noisesearch.verifiers.files import AUTO
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from _true_judges import loaded, needing_files

PROMPT = "an astronaut in front of a flag and a model of a space shuttle"
CLIPS = {
    "CLIPScore": ("MobileCLIP2-S0.pt", "ViT-B-32-openai.pt", "ViT-L-14-openai.pt")
}  # of the many there are


def main(names: list[str]) -> None:
    batch = Batch(shown(512), PROMPT)
    print(f"\n### True sizes: {IMAGES} images of 512 x 512 at once, one CPU core\n")
    print("| verifier | of | million weights | ms per image |\n|---|---|---:|---:|")
    for name in names or needing_files():
        for file in CLIPS.get(name, (AUTO,)):
            with tempfile.TemporaryDirectory() as folder:
                made, network = loaded(name, Path(folder), file)
                judge = (
                    made if isinstance(made, ImageVerifier) else ReferenceSimilarity(made, batch.images[:1])
                )
                weights = sum(parameter.numel() for parameter in network.parameters()) / 1e6
                of = name if file == AUTO else Path(file).stem
                print(
                    f"| {judge.name} | {of} | {weights:.0f} | {milliseconds(judge, batch):.0f} |", flush=True
                )
                del made, judge, network


if __name__ == "__main__":
    main(sys.argv[1:])
