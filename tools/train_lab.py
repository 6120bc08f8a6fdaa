"""Train the laboratory's networks. Every run goes on where it was stopped; the state lies in .cache/lab.

    python tools/train_lab.py features      the ruler: features of real digits (made once; kept in the repository)
    python tools/train_lab.py teacher       the digits' generator with a smooth time embedding, tuned
    python tools/train_lab.py student [SEED ...]     its two-step students

Data: `python tools/train_demo.py data` first. One thread; seeds are fixed.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import use_comfyui  # noqa: E402

use_comfyui(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
import torch  # noqa: E402

from noisesearch.lab import demo_world, digits, features  # noqa: E402


def make_features():
    images, classes = demo_world.read_digits()
    chosen = torch.cat([torch.from_numpy((classes == c).nonzero()[0][::5]) for c in range(10)])
    pixels = torch.from_numpy(images)[chosen].float().div(255)[..., None].expand(-1, -1, -1, 3)
    features.make_reference(demo_world.judge_features(pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("features", "teacher", "student"))
    parser.add_argument("seeds", nargs="*", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "features":
        make_features()
    else:
        teacher = digits.tune_teacher()
        if options.command == "student":
            for seed in options.seeds:
                digits.distil(teacher, seed)


if __name__ == "__main__":
    main()
