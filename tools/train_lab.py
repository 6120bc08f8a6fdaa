"""Train the laboratory's networks. Every run goes on where it was stopped; the state lies in .cache/lab.

    python tools/train_lab.py data          latents and prompts of the digits, as the shipped generator saw them
    python tools/train_lab.py features      the ruler: features of real digits (made once; kept in the repository)
    python tools/train_lab.py teacher       the digits' generator with a smooth time embedding, tuned
    python tools/train_lab.py student [SEED ...]     its two-step students
    python tools/train_lab.py ship RUN      that run, student_1_at_700 say, as models/demo/digits/two_step.safetensors
    python tools/train_lab.py widths        five generators that differ in width only
    python tools/train_lab.py toy           the 2-D mixture: every stabiliser, discrete against continuous time

Data: `python tools/train_demo.py data` first. One thread; seeds are fixed.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import load_pack, use_comfyui  # noqa: E402

load_pack()  # training needs no ComfyUI
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from demo_training import digits as archive_of  # noqa: E402

from noisesearch.lab import demo_world, digits, features, scaling, team, toy  # noqa: E402
from noisesearch.lab.results import Table  # noqa: E402


def read():
    archive = ROOT / ".cache" / "demo" / archive_of.ARCHIVE
    if not archive.is_file():
        raise SystemExit("The digits are missing: run `python tools/train_demo.py data` first.")
    return archive_of.read(archive)


def make_data():
    images, classes = read()
    demo_world.make_data(images, archive_of.misread(classes, share=0.15))


def make_features():
    """From every fifth of the real digits."""
    use_comfyui(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))  # the judge runs in it
    images, classes = read()
    chosen = torch.cat([torch.from_numpy((classes == c).nonzero()[0][::5]) for c in range(10)])
    pixels = torch.from_numpy(images)[chosen].float().div(255)[..., None].expand(-1, -1, -1, 3)
    features.make_reference(demo_world.judge_features(pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)))


def ship(name):
    """The run's averaged weights as a generator of the demo models: half precision, the stock layout."""
    state = load_file(digits.CACHE / f"{name}.safetensors")
    path = demo_world.FOLDER / "digits" / "two_step.safetensors"
    save_file(
        {key: value.half().contiguous() for key, value in state.items()}, path, metadata={"format": "pt"}
    )
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "command", choices=("data", "features", "teacher", "student", "ship", "toy", "widths")
    )
    parser.add_argument(
        "names", nargs="*", default=["1", "2", "3"], help="seeds of students, or the run to ship"
    )
    parser.add_argument("--team", type=int, default=1, help="processes that share a student's batch")
    parser.add_argument("--place", type=int, default=0, help="which of them this is, from 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "data":
        make_data()
    elif options.command == "features":
        make_features()
    elif options.command == "ship":
        ship(options.names[0])
    elif options.command == "toy":
        toy.fill(Table("toy"))
    elif options.command == "widths":
        for width in scaling.WIDTHS:
            scaling.train(width)
    else:
        teacher = digits.tune_teacher()
        if options.command == "student":
            together = team.join(options.place, options.team, digits.CACHE / "meeting")
            for seed in options.names:
                digits.distil(teacher, int(seed), team=together)


if __name__ == "__main__":
    main()
